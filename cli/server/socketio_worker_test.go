package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/eventlog"
	"gleitzeit/providers"
)

// office is a server to which workers may come, and a provider that they carry
// out.
func office(t *testing.T, tokens *server.Tokens) (*web, *providers.Set) {
	so := options(&servertest.Fake{})
	so.Workers = providers.NewWorkers()
	w := listenWith(t, eventlog.OpenMemory(eventlog.Options{}), so, func(o *server.HTTPOptions) {
		o.Tokens, o.TokenRequired = tokens, true
	})
	set, err := providers.Open(providers.Config{Providers: map[string]providers.ProviderConfig{
		"far": {Kind: "remote", Protocols: []string{"words/v1"}, Grace: "1ms"}}}, providers.Options{Workers: so.Workers})
	if err != nil {
		t.Fatal(err)
	}
	return w, set
}

// client is a client of Socket.IO in "/".
type client struct {
	t     *testing.T
	say   func(string)
	hear  func() string
	heard string // and not yet asked for
	asked int
}

func (w *web) socketIO(t *testing.T, secret string) *client {
	c := &client{t: t}
	c.say, c.hear = w.enterSocketIO(secret)
	return c
}

// until returns the next packet that begins so, without that.
func (c *client) until(prefix string) string {
	c.t.Helper()
	for {
		for c.heard != "" {
			var one string
			one, c.heard, _ = strings.Cut(c.heard, "\x1e")
			if rest, found := strings.CutPrefix(one, prefix); found {
				return rest
			}
		}
		if c.heard = c.hear(); c.heard == "" || c.heard[0] == '{' {
			c.t.Fatalf("%s instead of %s", c.heard, prefix)
		}
	}
}

// emit emits an event and returns what acknowledges it.
func (c *client) emit(event string, params any) string {
	c.t.Helper()
	c.asked++
	raw, _ := json.Marshal([]any{event, params})
	c.say(fmt.Sprintf("42%d%s", c.asked, raw))
	return c.until(fmt.Sprintf("43%d", c.asked))
}

// A provider of the first gleitzeit registers, is asked, and answers by
// acknowledging; who may look hears that it is there.
func TestSocketIOProvider(t *testing.T) {
	tokens := server.NewTokens(t.TempDir())
	secrets := map[server.Role]string{}
	for _, role := range []server.Role{server.Read, server.Submit, server.Worker} {
		secret, err := tokens.Create(server.Token{Name: string(role), Role: role})
		if err != nil {
			t.Fatal(err)
		}
		secrets[role] = secret
	}
	w, set := office(t, tokens)
	reader, writer, far := w.socketIO(t, secrets[server.Read]), w.socketIO(t, secrets[server.Submit]), w.socketIO(t, secrets[server.Worker])
	words := map[string]any{"protocol": map[string]any{"name": "words", "version": "v1", "methods": map[string]any{
		"count": map[string]any{"parameters": map[string]any{"required": []string{"text"}}}, "words/spell": map[string]any{}}}}
	provider := map[string]any{"provider_id": "typewriter", "protocol_id": "words/v1"}
	for _, test := range []struct {
		of     *client
		event  string
		params any
		want   string
	}{
		{writer, "register_protocol", words, "register_protocol needs the role worker"},
		{writer, "register_provider", provider, "provider/register needs the role worker"},
		{writer, "register_engine", map[string]any{}, "there are no engines"},
		{far, "provider_request", map[string]any{"method": "echo/ping"}, "workflow/run needs the role submit"},
		{far, "register_protocol", map[string]any{"protocol": map[string]any{"name": "Words"}}, `must be of the form name/v1`},
		{far, "register_provider", provider, "methods: missing"},
		{far, "register_protocol", words, `"protocol_id":"words/v1"`},
		{far, "register_provider", map[string]any{"provider_id": "typewriter", "protocols_id": "words/v1"}, "protocols_id"},
		{far, "register_provider", provider, `"provider_id":"typewriter"`},
		{far, "register_provider", provider, "is a worker's already"},
		{writer, "provider_request", map[string]any{"protocol": "wait/v1", "method": "timer", "params": map[string]any{"duration": 0}}, `{"result":`},
		{writer, "provider_request", map[string]any{"method": "wait/nothing"}, "wait/nothing"},
		{writer, "provider_request", map[string]any{"method": "wait/signal", "params": map[string]any{"name": "x"}, "timeout": 0.001}, "goes on: it is"},
	} {
		if got := test.of.emit(test.event, test.params); !strings.Contains(got, test.want) {
			t.Errorf("%s: %s, want %s", test.event, got, test.want)
		}
	}
	if got := reader.until(`42["provider_available",`); !strings.Contains(got, `"provider_id":"typewriter"`) {
		t.Error(got)
	}

	asked := func() string { // the news that it is registered may come as late
		for {
			if got := far.until("42"); !strings.HasPrefix(got, `["provider_registered"`) {
				return got
			}
		}
	}
	call := func(method, params string) chan string {
		ended := make(chan string, 1)
		go func() {
			result, err := set.Call(context.Background(), "far", providers.Call{Method: method, Parameters: json.RawMessage(params), Key: "k-" + method}, nil)
			ended <- fmt.Sprint(string(result), err, " ", code(err))
		}()
		return ended
	}
	if got := <-call("words/count", `{}`); !strings.Contains(got, "text") {
		t.Errorf("parameters that don't fit: %s", got)
	}
	for answer, want := range map[string]string{
		`[{"result":{"words":2}}]`:                     `{"words":2}<nil>`,
		`[{"result":null}]`:                            `null<nil>`,
		`[{"error":"no paper"}]`:                       `no paper TASK_EXECUTION_FAILED`,
		`[{"error":{"code":-26002,"message":"full"}}]`: `full PERSISTENCE_WRITE_FAILED`,
		`[{"error":{"code":1,"message":"no ribbon"}}]`: `no ribbon TASK_EXECUTION_FAILED`,
		`[]`:                         `with neither {result} nor {error}`,
		`[1]`:                        `with neither {result} nor {error}`,
		`[{"result":1,"error":"x"}]`: `with neither {result} nor {error}`,
		`[{}]`:                       `with neither {result} nor {error}`,
	} {
		ended := call("words/count", `{"text":"a b"}`)
		id, asked, _ := strings.Cut(asked(), "[")
		if !strings.HasPrefix(asked, `"execute_method",{`) || !strings.Contains(asked, `"method":"count"`) || !strings.Contains(asked, `"params":{"text":"a b"}`) {
			t.Errorf("it was asked %s", asked)
		}
		far.say("43" + id + answer)
		if got := <-ended; !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", answer, got, want)
		}
	}

	// What a provider says whose token is worth nothing any more isn't taken.
	ended := call("words/spell", `{}`)
	id, _, _ := strings.Cut(asked(), "[")
	if err := tokens.Revoke("worker"); err != nil {
		t.Fatal(err)
	}
	far.say("43" + id + `[{"result":1}]`)
	if got := <-ended; !strings.Contains(got, "the worker typewriter was lost") {
		t.Error(got)
	}
}
