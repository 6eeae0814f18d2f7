package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// This file is a web server for the scripts that speak HTTP.

// web starts one, whose address is $WEB from then on:
//
//	GET  /items?q=    a list as JSON
//	any  /mirror      the method, the body and the header Authorization
//	any  /busy        503 with Retry-After the first time, then "at last"
//	any  /hang/FILE   makes FILE, and answers only when it is called again
//	any  /trace       the place in a trace that the caller says it is at
//	any  /keys        the idempotency keys that /hang got, one a line
func web(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: web")
	}
	s := &site{file: func(name string) string { return ts.MkAbs(name) }}
	server := httptest.NewServer(s)
	ts.Defer(server.Close)
	ts.Setenv("WEB", server.URL)
}

// site is what the server has.
type site struct {
	file func(string) string

	mu   sync.Mutex
	busy int
	keys []string
}

// ServeHTTP answers by the path's first word.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	word, rest, _ := strings.Cut(r.URL.Path[1:], "/")
	switch word {
	case "items":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"items":[{"name":"whale","legs":0},{"name":"ant","legs":6}],"asked":%q}`, r.URL.Query().Get("q"))
	case "mirror":
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"method": r.Method, "body": string(body), "authorization": r.Header.Get("Authorization")})
	case "busy":
		if s.times() == 1 {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too much to do", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "at last")
	case "hang":
		if s.key(r.Header.Get("Idempotency-Key")) == 1 {
			_, _ = io.Copy(io.Discard, r.Body)
			_ = os.WriteFile(s.file(rest), nil, 0o666)
			<-r.Context().Done()
		}
		fmt.Fprint(w, "charged")
	case "trace":
		fmt.Fprint(w, r.Header.Get("Traceparent"))
	case "keys":
		s.mu.Lock()
		defer s.mu.Unlock()
		fmt.Fprint(w, strings.Join(s.keys, "\n"))
	default:
		http.NotFound(w, r)
	}
}

func (s *site) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy++
	return s.busy
}

// key notes an idempotency key and counts them.
func (s *site) key(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append(s.keys, key)
	return len(s.keys)
}
