package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"gleitzeit/providers/llmtest"
)

// ollama tells whether there is a server to test with. Where one is required
// (GLEITZEIT_TEST_OLLAMA=required, as in CI) the scripts run in any case, and
// fail without it.
func ollama() bool {
	if os.Getenv("GLEITZEIT_TEST_OLLAMA") == "required" {
		return true
	}
	host := os.Getenv("OLLAMA_HOST")
	if host == "" {
		return false
	}
	if !strings.Contains(host, "://") {
		host = "http://" + host
	}
	answer, err := (&http.Client{Timeout: 2 * time.Second}).Get(host + "/api/version")
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// openai starts a model server with scripted answers and a gleitzeit.yaml that
// names it:
//
//	openai
func openai(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: openai")
	}
	server := httptest.NewServer(models(ts))
	ts.Defer(server.Close)
	ts.Check(os.WriteFile(ts.MkAbs("gleitzeit.yaml"), []byte("providers:\n  models: {kind: openai, url: '"+server.URL+"'}\n"), 0o600))
}

// models is the script's own model server.
func models(ts *testscript.TestScript) *llmtest.Server { return ts.Value("models").(*llmtest.Server) }

// wasAsked wants that some request to the model server matches:
//
//	asked 'Write about: .*'
func wasAsked(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: asked REGEXP")
	}
	want := regexp.MustCompile("(?s)" + args[0])
	for _, r := range models(ts).Requests() {
		if want.Match(r.Body) {
			return
		}
	}
	ts.Fatalf("no request matches %s", args[0])
}
