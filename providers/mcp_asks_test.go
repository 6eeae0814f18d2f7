//lint:file-ignore SA1019 servers of earlier revisions ask for samples and roots, and go on doing so

package providers

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// adviser is a host with somebody who answers, and a model.
type adviser struct {
	silent
	asked  chan Question
	answer func(context.Context, Question) (Answer, error)
	model  func(Sample) (json.RawMessage, error)
}

func (p *adviser) Ask(ctx context.Context, q Question) (Answer, error) {
	p.asked <- q
	return p.answer(ctx, q)
}

func (p *adviser) Sample(_ context.Context, s Sample) (json.RawMessage, error) { return p.model(s) }

// TestMCPAsks: the reference server asks a person and a model, and is told of
// folders, over each line.
func TestMCPAsks(t *testing.T) {
	for name, open := range map[string]func() MCPServer{
		"stdio": func() MCPServer { return npmServer(t, "server-everything") },
		"http":  func() MCPServer { return MCPServer{URL: everythingAt(t, "streamableHttp", "/mcp")} },
		"sse":   func() MCPServer { return MCPServer{URL: everythingAt(t, "sse", "/sse")} },
	} {
		t.Run(name, func(t *testing.T) { everythingAsks(t, open()) })
	}
}

func everythingAsks(t *testing.T, server MCPServer) {
	dir := t.TempDir()
	server.Sampling, server.MaxTokens, server.Roots = "near", 50, []string{dir}
	s := openSet(t, Config{MCPServers: map[string]MCPServer{"everything": server},
		Providers: map[string]ProviderConfig{"near": {Kind: "openai", URL: "http://localhost:1", Model: "m"}}})
	p := &adviser{asked: make(chan Question, 10)}
	call := func(ctx context.Context, tool, parameters string) (string, error) {
		raw, err := s.Call(ctx, "everything", Call{Method: "mcp/tool." + tool, Parameters: json.RawMessage(parameters)}, p)
		return string(raw), err
	}
	p.answer = func(context.Context, Question) (Answer, error) {
		return Answer{Action: Accept, Content: json.RawMessage(`{"name":"Ada Lovelace","integer":36}`)}, nil
	}
	got, err := call(patience(t, time.Minute), "trigger-elicitation-request", `{}`)
	if err != nil || !strings.Contains(got, "Ada Lovelace") {
		t.Errorf("elicitation: %s %v", got, err)
	}
	q := <-p.asked
	if q.From != "MCP server everything" || !strings.HasPrefix(q.Message, "Please provide inputs") || !strings.Contains(string(q.Schema), `"birthdate"`) {
		t.Errorf("%+v %s", q, q.Schema)
	}
	for _, action := range []Action{Decline, Cancel} {
		p.answer = func(context.Context, Question) (Answer, error) { return Answer{Action: action}, nil }
		if got, err := call(patience(t, time.Minute), "trigger-elicitation-request", `{}`); err != nil || !strings.Contains(got, string(action)) {
			t.Errorf("%s: %s %v", action, got, err)
		}
		<-p.asked
	}
	p.model = func(s Sample) (json.RawMessage, error) {
		if s.Provider != "near" {
			t.Errorf("%s is asked", s.Provider)
		}
		return json.RawMessage(`{"response":"the answer to ` + strings.ReplaceAll(string(s.Parameters), `"`, `'`) + `","model":"m","finish_reason":"length"}`), nil
	}
	got, err = call(patience(t, time.Minute), "trigger-sampling-request", `{"prompt":"why?","maxTokens":99}`)
	for _, want := range []string{"'max_tokens':50", "why?", "'role':'user'", "'system':'You are a helpful test server.'", "'temperature':0.7", "maxTokens"} {
		if err != nil || !strings.Contains(got, want) {
			t.Errorf("sampling without %s: %s %v", want, got, err)
		}
	}
	p.model = func(Sample) (json.RawMessage, error) { return nil, errors.New("no money") }
	if got, err := call(patience(t, time.Minute), "trigger-sampling-request", `{"prompt":"why?"}`); !strings.Contains(got+wrongText(err), "no money") {
		t.Errorf("a model that fails: %s %v", got, err)
	}
	if got, err := call(patience(t, time.Minute), "get-roots-list", `{}`); err != nil || !strings.Contains(got, "file://"+filepath.ToSlash(dir)) {
		t.Errorf("roots: %s %v", got, err)
	}
	askedWhileCancelled(t, s, p, call)
}

func wrongText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// askedWhileCancelled: the end of the call is the end of its question, and other
// calls go on meanwhile.
func askedWhileCancelled(t *testing.T, s *Set, p *adviser, call func(ctx context.Context, tool, parameters string) (string, error)) {
	why := errors.New("enough")
	ended := make(chan error, 1)
	p.answer = func(ctx context.Context, _ Question) (Answer, error) {
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return Answer{}, context.Cause(ctx)
	}
	ctx, cancel := context.WithCancelCause(patience(t, time.Minute))
	over := make(chan error, 1)
	go func() {
		_, err := call(ctx, "trigger-elicitation-request", `{}`)
		over <- err
	}()
	<-p.asked
	if got, err := call(patience(t, time.Minute), "get-sum", `{"a":2,"b":3}`); err != nil || !strings.Contains(got, "is 5") {
		t.Errorf("while another asks: %s %v", got, err)
	}
	cancel(why)
	if err := <-ended; err != why {
		t.Errorf("the question ends with %v", err)
	}
	if err := <-over; err == nil {
		t.Error("the call that was cancelled succeeds")
	}
}

// TestMCPAsksNothing: what isn't allowed isn't claimed, and a server that asks
// without a call finds nobody.
func TestMCPAsksNothing(t *testing.T) {
	no := false
	server := npmServer(t, "server-everything")
	server.Elicitation = &no
	s := openSet(t, Config{MCPServers: map[string]MCPServer{"everything": server}})
	raw, err := s.Call(patience(t, time.Minute), "everything", Call{Method: "mcp/tools/list"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"trigger-elicitation-request", "trigger-sampling-request", "get-roots-list"} {
		if strings.Contains(string(raw), tool) {
			t.Errorf("the server has %s: it was claimed that it may", tool)
		}
	}
	l := &mcpLink{calls: map[string]*mcpCall{}}
	if r, err := l.elicit(t.Context(), &mcp.ElicitRequest{Params: &mcp.ElicitParams{Message: "x"}}); err != nil || r.Action != "cancel" {
		t.Errorf("%+v %v", r, err)
	}
	if r, err := l.elicit(t.Context(), &mcp.ElicitRequest{Params: &mcp.ElicitParams{Mode: "url", URL: "https://x"}}); err != nil || r.Action != "decline" {
		t.Errorf("%+v %v", r, err)
	}
	if _, err := l.sample(t.Context(), &mcpServer{}, &mcp.CreateMessageRequest{Params: &mcp.CreateMessageParams{}}); err == nil {
		t.Error("a model is asked for nobody")
	}
}

func TestMCPSampleParameters(t *testing.T) {
	s := &mcpServer{sampler: sampler{"near", []string{"small", "claude-sonnet-5"}}}
	raw, err := s.sampleParameters(&mcp.CreateMessageParams{StopSequences: []string{"END"},
		ModelPreferences: &mcp.ModelPreferences{Hints: []*mcp.ModelHint{{}, {Name: "gpt"}, {Name: "sonnet"}}},
		Messages:         []*mcp.SamplingMessage{{Role: "user", Content: &mcp.TextContent{Text: "what is it?"}}, {Role: "user", Content: &mcp.ImageContent{Data: []byte("x"), MIMEType: "image/png"}}}})
	if want := `{"max_tokens":4096,"messages":[{"role":"user","content":"what is it?"},{"role":"user","content":"","images":["eA=="]}],"model":"claude-sonnet-5","stop":["END"]}`; string(raw) != want || err != nil {
		t.Errorf("%s %v", raw, err)
	}
	if _, err := s.sampleParameters(&mcp.CreateMessageParams{Messages: []*mcp.SamplingMessage{{Role: "user", Content: &mcp.AudioContent{}}}}); err == nil {
		t.Error("sound is given to a model")
	}
}

func TestMCPAsksConfig(t *testing.T) {
	server := func(m MCPServer) Config {
		m.Command = "x"
		return Config{MCPServers: map[string]MCPServer{"x": m}, Providers: map[string]ProviderConfig{"near": {Kind: "openai", URL: "http://x"}}}
	}
	for _, test := range []struct {
		m     MCPServer
		wrong string
	}{
		{MCPServer{}, ""}, {MCPServer{Sampling: true}, ""}, {MCPServer{Sampling: "near", MaxTokens: 3}, ""}, {MCPServer{Sampling: false}, ""},
		{MCPServer{Sampling: "neer"}, `mcpServers.x.sampling: no provider "neer" of a language model`},
		{MCPServer{Sampling: "echo"}, `no provider "echo" of a language model`},
		{MCPServer{Sampling: 3}, "sampling: must be true, or the name"},
		{MCPServer{MaxTokens: 3}, "goes with sampling"}, {MCPServer{Sampling: true, MaxTokens: -3}, "at least 1"},
	} {
		err := server(test.m).Validate()
		if (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("%+v: %v", test.m, err)
		}
	}
	if got, _ := server(MCPServer{}).sampler(MCPServer{Sampling: true}); got.provider != "near" {
		t.Errorf("%s comes first", got.provider)
	}
	if uris := (MCPServer{Roots: []string{"/a b/c", "D:/x"}}).roots(); !slices.Equal([]string{uris[0].URI, uris[1].URI}, []string{"file:///a%20b/c", "file:///D:/x"}) {
		t.Errorf("%s %s", uris[0].URI, uris[1].URI)
	}
}
