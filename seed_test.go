package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
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

// alone keeps the real Ollama to this script until its end:
//
//	alone
func alone(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: alone")
	}
	release, err := llmtest.Alone()
	ts.Check(err)
	ts.Defer(release)
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

// serveModels starts a model server with scripted answers and puts its address
// for MODELS_URL into the files. Of each request a line gets into the file
// requests:
//
//	models gleitzeit.yaml
func serveModels(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: models FILE...")
	}
	log := ts.MkAbs("requests")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
			fmt.Fprintln(f, r.Method, r.URL)
			f.Close()
		}
		models(ts).ServeHTTP(w, r)
	}))
	ts.Defer(func() {
		server.CloseClientConnections() // a client that was killed may have left one
		server.Close()
	})
	for _, name := range args {
		text := strings.ReplaceAll(ts.ReadFile(name), "MODELS_URL", server.URL)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

// answerWith has the model server give these answers, one after the other; one
// that begins with "call " calls the tool of that name with the rest:
//
//	answer '{"n": 1}' 'call get_weather {"city": "Wien"}'
func answerWith(ts *testscript.TestScript, neg bool, args []string) {
	for _, text := range args {
		reply := llmtest.Reply{Text: text}
		if call, is := strings.CutPrefix(text, "call "); is {
			name, arguments, _ := strings.Cut(call, " ")
			reply = llmtest.Reply{ToolCalls: []llmtest.ToolCall{{Name: name, Arguments: arguments}}}
		}
		models(ts).Say(reply)
	}
}

// failWith has the model server fail at the next request: refuse it with a
// status, perhaps saying when to come again, or send some pieces of the answer
// and then nothing, or break off:
//
//	fault status 503 0.1
//	fault hang 3
//	fault cut 3
func failWith(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fault status|hang|cut NUMBER [RETRY-AFTER]")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	fault := llmtest.Fault{After: n, Hang: args[0] == "hang", Cut: args[0] == "cut"}
	if args[0] == "status" {
		fault = llmtest.Fault{Status: n, Header: http.Header{}}
	}
	if len(args) > 2 {
		fault.Header.Set("Retry-After", args[2])
	}
	models(ts).Fail(fault)
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
