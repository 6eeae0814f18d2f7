package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// heard notes the parameters and environment of calls, and quotes them.
type heard struct {
	mu    sync.Mutex
	calls []string
}

func (h *heard) call(_ context.Context, c providers.Call) (json.RawMessage, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	env, _ := json.Marshal(c.Env)
	h.calls = append(h.calls, fmt.Sprintf("%s %s", c.Parameters, env))
	return c.Parameters, nil
}

func (h *heard) all() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.calls, "\n")
}

const oneSecret = "name: one\nsecrets: {S: 'env:S'}\ntasks:\n- {id: a, method: echo/echo, env: {K: '<${secrets.S}>'}, parameters: {s: '${secrets.S}'}}\n"

// TestSecretOfEachRun: what one run was given no other has, and of two runs
// with the same document each calls with its own.
func TestSecretOfEachRun(t *testing.T) {
	h := &heard{}
	log, s := open(t, Options{}, h.call)
	for _, value := range []string{"first-secret", "second-secret"} {
		id := submit(t, s, Submission{Workflow: compile(t, oneSecret), Secrets: map[string]string{"env:S": value}})
		if v := view(t, log, id); v.Status != replay.Completed || string(v.Tasks[0].Result) != `{"s":"***"}` {
			t.Errorf("%s: %s", v.Status, v.Tasks[0].Result)
		}
		if want := fmt.Sprintf(`{"s":%q} {"K":"\u003c%s\u003e"}`, value, value); !strings.HasSuffix(h.all(), want) {
			t.Errorf("called with %s, want %s", h.all(), want)
		}
	}
	id := submit(t, s, Submission{Workflow: compile(t, oneSecret)})
	number, _ := replay.NumberOf(id)
	waitFor(t, s, number, "secret")
	if err := s.Offer(soon(t), number, map[string]string{"env:OTHER": "other-secret"}); err != nil {
		t.Error(err)
	}
	waitFor(t, s, number, "secret")
	if err := s.Offer(soon(t), number, map[string]string{"env:S": "abc"}); err == nil || strings.Contains(err.Error(), "abc") {
		t.Errorf("too short: %v", err)
	}
	if err := s.Offer(soon(t), number, map[string]string{"env:S": "third-secret"}); err != nil {
		t.Error(err)
	}
	v := view(t, log, id)
	if v.Status != replay.Completed || v.Tasks[0].Attempts != 2 || !strings.Contains(h.all(), "third-secret") {
		t.Errorf("%s after %d attempts; called with %s", v.Status, v.Tasks[0].Attempts, h.all())
	}
	if err := s.Offer(soon(t), number, map[string]string{"env:S": "fourth-secret"}); err == nil || len(s.vault.runs) > 0 {
		t.Errorf("a run that has ended: %v, %d runs have secrets", err, len(s.vault.runs))
	}
}

// waitFor waits until the run waits for something of that kind.
func waitFor(t *testing.T, s *Scheduler, run uint64, kind string) {
	t.Helper()
	got := ""
	for ctx := soon(t); ctx.Err() == nil && got != kind; {
		if err := s.Query(ctx, func(state *replay.State) { _, got, _ = state.Run(run).Stand() }); err != nil {
			t.Fatal(err)
		}
	}
	if got != kind {
		t.Fatalf("run %d waits for %q, not for %s", run, got, kind)
	}
}

// TestSecretsUndeclared: a secret that is nowhere is refused at once.
func TestSecretsUndeclared(t *testing.T) {
	_, s := open(t, Options{}, answer)
	sub := Submission{Setup: echoSetup, Workflow: compile(t, "name: x\ntasks:\n- {id: a, method: echo/echo, parameters: {s: '${secrets.S}'}}\n")}
	_, err := s.Submit(soon(t), sub)
	if want := `the secret "S" is declared nowhere: say where it is under secrets, in the workflow or in gleitzeit.yaml`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
	sub.Setup.Secrets = map[string]string{"S": "env:S"}
	if _, err := s.Submit(soon(t), sub); err != nil {
		t.Error(err)
	}
}

// TestSecretRecorded: what would be kept in the log must not hold a secret.
func TestSecretRecorded(t *testing.T) {
	_, s := open(t, Options{}, answer)
	for _, sub := range []Submission{
		{Env: map[string]string{"OTHER": "user:s3cret/\"x\"@host"}},
		{Inputs: map[string]json.RawMessage{"url": json.RawMessage(`{"at":"user:s3cret/\"x\"@host"}`)}},
	} {
		sub.Setup, sub.Workflow, sub.Secrets = echoSetup, compile(t, oneSecret), map[string]string{"env:S": `s3cret/"x"`}
		_, err := s.Submit(soon(t), sub)
		if err == nil || !strings.Contains(err.Error(), "holds the secret env:S itself") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("got %v", err)
		}
	}
}

// TestSecretParameters: what doesn't fit is not quoted, not even in part.
func TestSecretParameters(t *testing.T) {
	log, s := open(t, Options{}, answer)
	id := submit(t, s, Submission{Workflow: compile(t, "name: x\nsecrets: {S: 'env:S'}\ntasks:\n- {id: a, method: echo/delay, parameters: {seconds: '${secrets.S}'}}\n"),
		Secrets: map[string]string{"env:S": strings.Repeat("long-secret ", 40)}})
	v := view(t, log, id)
	e := v.Tasks[0].Error
	if v.Status != replay.Failed || !strings.Contains(e.Message, `seconds must be a number, not the text "***"`) || strings.Contains(e.Message+string(e.Data), "long") {
		t.Errorf("%s: %v %s", v.Status, e, e.Data)
	}
}

// TestSecretCache: a call is named by where its secret is.
func TestSecretCache(t *testing.T) {
	h := &heard{}
	log, s := open(t, Options{}, h.call)
	for i, text := range []string{"env:S", "env:S", "env:OTHER"} {
		id := submit(t, s, Submission{Workflow: compile(t, "name: x\nsecrets: {S: '"+text+"'}\ntasks:\n- {id: a, method: echo/echo, cache: true, parameters: {s: '${secrets.S}'}}\n"),
			Secrets: map[string]string{text: fmt.Sprintf("secret-%d", i)}})
		view(t, log, id)
	}
	if want := "{\"s\":\"secret-0\"} null\n{\"s\":\"secret-2\"} null"; h.all() != want {
		t.Errorf("called with %s", h.all())
	}
}

// TestConfiguredSecrets: a provider is opened with the secrets of the run, once
// for each that they are, and the log has only their names.
func TestConfiguredSecrets(t *testing.T) {
	var mu sync.Mutex
	var configs []string
	log, s := open(t, Options{Open: func(config []byte) (Providers, error) {
		mu.Lock()
		defer mu.Unlock()
		configs = append(configs, string(config))
		return provided(answer), nil
	}}, nil)
	setup := replay.Setup{Config: json.RawMessage(`{"header":"Bearer ${secrets.K}","other":"${ secrets.NONE }"}`), Secrets: map[string]string{"K": "env:K", "NONE": "env:NONE"},
		Providers: []replay.ProviderSlots{{Name: "echo", Protocol: "echo/v1", Slots: 1, Secrets: []string{"K"}}}}
	for _, value := range []string{`quo"ted`, `quo"ted`, "another"} {
		view(t, log, submit(t, s, Submission{Workflow: compile(t, oneTask), Setup: setup, Secrets: map[string]string{"env:K": value}}))
	}
	if want := []string{`{"header":"Bearer quo\"ted","other":"${ secrets.NONE }"}`, `{"header":"Bearer another","other":"${ secrets.NONE }"}`}; fmt.Sprint(configs) != fmt.Sprint(want) {
		t.Errorf("opened %v", configs)
	}
	number, _ := replay.NumberOf(submit(t, s, Submission{Workflow: compile(t, oneTask), Setup: setup}))
	waitFor(t, s, number, "secret")
	for _, rec := range allRecords(t, log) {
		for _, h := range rec.Refs {
			if raw, _ := log.Value(h); strings.Contains(string(raw), "another") || strings.Contains(string(raw), "quo") {
				t.Errorf("record %d: %s", rec.Seq, raw)
			}
		}
	}
}

// TestSecretOfChild: a child's secret is what the workflow says, by a name of
// its own or literally; it is never computed.
func TestSecretOfChild(t *testing.T) {
	child := Child{Dir: "/child", Workflow: compile(t, "name: child\ninputs: {key: {secret: true, default: 'file:own'}}\ntasks:\n- {id: k, method: echo/echo, parameters: {k: '${inputs.key}'}}\n")}
	secrets := map[string]string{"env:S": "of-S", "file:/parent/p": "of-file", "file:/child/own": "of-child"}
	for inputs, want := range map[string]string{
		"{key: '${secrets.S}'}":        "of-S",
		"{key: '${secrets.P}'}":        "of-file",
		"{key: 'file:p'}":              "of-file",
		"{}":                           "of-child",
		"{key: \"${'en' + 'v:S'}\"}":   "",
		"{key: '${a.text}'}":           "",
		"{key: '${inputs.plain}'}":     "",
		"{key: 'x${secrets.S}'}":       "",
		"{key: \"${inputs['pin']}\"}":  "of-S",
		"'${inputs.all ?? {\"a\":1}}'": "",
	} {
		h := &heard{}
		log, s := open(t, Options{}, h.call)
		text := "name: x\nsecrets: {S: 'env:S', P: 'file:p'}\ninputs: {plain: {default: 'env:S'}, pin: {secret: true, default: 'env:S'}, all: {}}\ntasks:\n" +
			"- {id: a, method: echo/echo, parameters: {text: 'env:S'}}\n- {id: c, method: workflow/run, dependencies: [a], parameters: {file: c.yaml, inputs: " + inputs + "}}\n"
		id := submit(t, s, Submission{Workflow: compile(t, text), Dir: "/parent", Inputs: map[string]json.RawMessage{"plain": json.RawMessage(`"env:S"`), "pin": json.RawMessage(`"env:S"`)},
			Children: map[string]Child{"/c.yaml": child}, Names: map[string]string{"c.yaml": "/c.yaml"}, Secrets: secrets})
		v := view(t, log, id)
		switch {
		case want == "" && (v.Status != replay.Failed || strings.Contains(h.all(), "of-")):
			t.Errorf("%s: %s, called with %s", inputs, v.Status, h.all())
		case want != "" && !strings.Contains(h.all(), fmt.Sprintf(`{"k":%q}`, want)):
			t.Errorf("%s: %s %v, called with %s", inputs, v.Status, v.Error, h.all())
		}
	}
}

// TestReferences lists what a run may need, with what it runs.
func TestReferences(t *testing.T) {
	plan := func(text string) *replay.Plan {
		setup := echoSetup
		setup.Secrets = map[string]string{"CONF": "age:/conf", "KEY": "env:KEY"}
		setup.Providers = append([]replay.ProviderSlots{}, setup.Providers...)
		setup.Providers[0].Secrets = []string{"KEY"}
		p, err := replay.NewPlan(eventlog.Hash{}, compile(t, text), eventlog.Hash{}, &setup)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	child := "name: c\nsecrets: {C: 'file:c'}\ninputs: {key: {secret: true, default: 'age:d'}}\ntasks:\n- {id: a, method: echo/echo, parameters: {c: '${secrets.C}', k: '${inputs.key}', conf: '${secrets.CONF}'}}\n"
	p := plan("name: p\nsecrets: {A: 'env:A', UNUSED: 'env:U', F: 'file:~/f'}\ninputs: {pin: {secret: true}, none: {secret: true}}\ntasks:\n" +
		"- {id: a, method: echo/echo, parameters: {a: '${secrets.A}', f: '${secrets.F}', p: '${inputs.pin}', n: '${inputs.none}'}}\n" +
		"- {id: c, method: workflow/run, parameters: {file: c.yaml, inputs: {key: 'file:../x'}}}\n")
	c := replay.Context{Dir: "/p/q", Inputs: map[string]json.RawMessage{"pin": json.RawMessage(`"file:/pin"`)},
		Children: map[string]replay.Child{"c": {Dir: "/c"}}}
	refs, err := References(p, c, func(replay.Child) (*protocols.Workflow, error) { return compile(t, child), nil })
	if got := strings.Join(refs, " "); err != nil || got != "age:/c/d age:/conf env:A env:KEY file:/c/c file:/p/x file:/pin file:~/f" {
		t.Errorf("%v %v", got, err)
	}
	if _, err := References(p, c, func(replay.Child) (*protocols.Workflow, error) { return nil, errors.New("unreadable") }); err == nil {
		t.Error("no error")
	}
}

// TestSecretKilled: a scheduler that has lost its secrets waits for them.
func TestSecretKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := eventlog.OpenMemory(eventlog.Options{})
		defer log.Close()
		h := &heard{}
		for life := range 3 {
			s, err := New(log, Options{Open: provide(h.call)})
			if err != nil {
				t.Fatal(err)
			}
			switch life {
			case 0:
				if _, err := s.Submit(t.Context(), Submission{Workflow: compile(t, oneSecret), Setup: echoSetup}); err != nil {
					t.Fatal(err)
				}
			case 1:
				if _, err := s.ResumeAll(t.Context(), false, ""); err != nil {
					t.Fatal(err)
				}
			default:
				if err := s.OfferAll(t.Context(), map[string]string{"env:S": "at last"}); err != nil {
					t.Fatal(err)
				}
				if _, err := s.ResumeAll(t.Context(), false, ""); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			runs := 0
			s.Query(t.Context(), func(state *replay.State) { runs = state.Runs() })
			if want := 1 - life/2; runs != want {
				t.Errorf("life %d: %d runs live, want %d", life, runs, want)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if !strings.Contains(h.all(), "at last") {
			t.Errorf("called with %s", h.all())
		}
	})
}
