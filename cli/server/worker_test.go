package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/eventlog"
	"gleitzeit/providers"
)

// makeToken makes a token of a role, which is its name, too.
func makeToken(t *testing.T, tokens *server.Tokens, role server.Role) string {
	t.Helper()
	secret, err := tokens.Create(server.Token{Name: string(role), Role: role})
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// Whatever workers say that they offer, the log can note it, or they are refused.
func TestWorkersOfferTooMuch(t *testing.T) {
	tokens := server.NewTokens(t.TempDir())
	far, writer := makeToken(t, tokens, server.Worker), makeToken(t, tokens, server.Submit)
	w, _ := office(t, tokens)
	long := strings.Repeat("a", 70_000)
	offers := func(from, n int) (all []providers.WorkerOffer) {
		for i := range n {
			all = append(all, providers.WorkerOffer{Provider: fmt.Sprintf("%s%d", long[:90], from+i), Protocol: "echo/v1"})
		}
		return all
	}
	instance := 0
	register := func(all []providers.WorkerOffer) string {
		instance++
		return w.socketIO(t, far).emit(server.ProviderRegister, server.RegisterParams{Registration: providers.Registration{Worker: "w", Instance: fmt.Sprint(instance), Slots: 9, Offers: all}})
	}
	if got := w.socketIO(t, far).emit("register_protocol", map[string]any{"protocol": map[string]any{"name": "x", "description": strings.Repeat(long, 16)}}); !strings.Contains(got, "KiB of protocols") {
		t.Error(got)
	}
	if got := register([]providers.WorkerOffer{{Provider: "x", Protocol: long + "/v1"}}); !strings.Contains(got, "at most 100 bytes") {
		t.Error(got)
	}
	refused := 0
	for i := range 10 {
		if got := register(offers(64*i, 64)); strings.Contains(got, "too many different providers") {
			refused++
		} else if !strings.Contains(got, "heartbeat") {
			t.Error(got)
		}
	}
	if refused != 6 {
		t.Errorf("%d of 10 were refused", refused)
	}
	if got := w.socketIO(t, writer).emit("provider_request", map[string]any{"protocol": "wait/v1", "method": "timer", "params": map[string]any{"duration": 0}}); !strings.Contains(got, `{"result":`) {
		t.Errorf("the server: %s", got)
	}
}

// A worker whose token was revoked is given nothing more to carry out.
func TestRevokedWorker(t *testing.T) {
	tokens := server.NewTokens(t.TempDir())
	secret := makeToken(t, tokens, server.Worker)
	w, set := office(t, tokens)
	far := w.socketIO(t, secret)
	if got := far.emit("register_provider", map[string]any{"provider_id": "p", "protocol_id": "words/v1", "supported_methods": []string{"count"}}); !strings.Contains(got, "registered") {
		t.Fatal(got)
	}
	far.until(`42["provider_registered"`)
	told := make(chan string, 1)
	go func() { told <- far.hear() }()
	if err := tokens.Revoke("worker"); err != nil {
		t.Fatal(err)
	}
	_, err := set.Call(context.Background(), "far", providers.Call{Method: "words/count", Parameters: json.RawMessage(`{"secret":"s3cret"}`), Key: "k"}, nil)
	if err == nil || !strings.Contains(err.Error(), "the worker p was lost") {
		t.Error(err)
	}
	if got := <-told; strings.Contains(got, "s3cret") {
		t.Errorf("it was told %s", got)
	}
}

// What a worker shows of a call comes in pieces that followers can hold.
func TestWorkerProgress(t *testing.T) {
	tokens := server.NewTokens(t.TempDir())
	secret := makeToken(t, tokens, server.Worker)
	w, set := office(t, tokens)
	far := w.socketIO(t, secret)
	far.emit("register_provider", map[string]any{"provider_id": "p", "protocol_id": "words/v1", "supported_methods": []string{"count"}})
	shown, ended := make(shows, 9), make(chan error, 1)
	go func() {
		_, err := set.Call(context.Background(), "far", providers.Call{Method: "words/count", Parameters: json.RawMessage(`{}`), Key: "k"}, shown)
		ended <- err
	}()
	id, _, _ := strings.Cut(far.until("42"), "[")
	for !isNumber(id) {
		id, _, _ = strings.Cut(far.until("42"), "[")
	}
	if got := far.emit(server.ProviderProgress, map[string]any{"id": "k.0", "stream": "tokens", "message": strings.Repeat("x", 300<<10)}); !strings.Contains(got, "say it in pieces") {
		t.Error(got)
	}
	if got := far.emit(server.ProviderProgress, map[string]any{"id": "k.0", "message": "half"}); !strings.Contains(got, "result") {
		t.Error(got)
	}
	far.say("43" + id + `[{"result":1}]`)
	if err := <-ended; err != nil || len(shown) != 1 || (<-shown).Message != "half" {
		t.Errorf("%v, and %d were shown", err, len(shown))
	}
}

func isNumber(text string) bool { return text != "" && strings.Trim(text, "0123456789") == "" }

// shows is a host that keeps what is shown.
type shows chan providers.Progress

func (s shows) Progress(p providers.Progress) { s <- p }

func (shows) Ask(context.Context, providers.Question) (providers.Answer, error) {
	return providers.Answer{}, nil
}

func (shows) Sample(context.Context, providers.Sample) (json.RawMessage, error) { return nil, nil }

// visited says whom MCP was served for.
type visited struct{ names []string }

func (v *visited) ServeMCP(_ http.ResponseWriter, _ *http.Request, who *server.Visitor) {
	v.names = append(v.names, who.Name())
}

func (*visited) Watch(<-chan struct{}) {}

// A worker finds no tools at /mcp, not even their names.
func TestWorkerHasNoTools(t *testing.T) {
	tokens, desk := server.NewTokens(t.TempDir()), &visited{}
	far, reader := makeToken(t, tokens, server.Worker), makeToken(t, tokens, server.Read)
	w := listenWith(t, eventlog.OpenMemory(eventlog.Options{}), options(&servertest.Fake{}), func(o *server.HTTPOptions) {
		o.Tokens, o.TokenRequired, o.MCP = tokens, true, desk
	})
	if status, answer := w.do("POST", "/mcp", `{}`, "Authorization: Bearer "+far); status != http.StatusForbidden || !strings.Contains(answer, "/mcp needs the role read") {
		t.Errorf("%d %s", status, answer)
	}
	if status, _ := w.do("POST", "/mcp", `{}`, "Authorization: Bearer "+reader); status != http.StatusOK || fmt.Sprint(desk.names) != "[token read]" {
		t.Errorf("%d %v", status, desk.names)
	}
}
