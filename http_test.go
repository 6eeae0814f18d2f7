package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// callHTTP makes a request to the server whose ready line (of -o json) the file
// holds, and prints the answer. A word "Name: value" is a header, "@FILE" the
// body, and anything else the body itself:
//
//	http ready 200 POST /workflow/submit @flow.yaml
//	http ready 401 POST /rpc '{...}' 'Authorization: Bearer x'
func callHTTP(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: http READY STATUS METHOD PATH [HEADER|@FILE|BODY]...")
	}
	var ready struct{ URL string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &ready))
	body, header := "", http.Header{}
	for _, word := range args[4:] {
		name, value, isHeader := strings.Cut(word, ": ")
		file, isFile := strings.CutPrefix(word, "@")
		switch {
		case isFile && filepath.IsAbs(file):
			text, err := os.ReadFile(file)
			ts.Check(err)
			body = string(text)
		case isFile:
			body = ts.ReadFile(file)
		case isHeader && !strings.ContainsAny(name, `{" `):
			header.Set(name, os.Expand(value, ts.Getenv))
		default:
			body = word
		}
	}
	r, err := http.NewRequest(args[2], ready.URL+args[3], strings.NewReader(body))
	ts.Check(err)
	r.Header = header
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	ts.Check(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%s", text)
	if fmt.Sprint(answer.StatusCode) != args[1] {
		ts.Fatalf("%s %s: %s, want %s\n%s", args[2], args[3], answer.Status, args[1], text)
	}
}

// useRemote has the commands that follow use the server whose address and token
// the files hold:
//
//	remote url token
func useRemote(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: remote URLFILE TOKENFILE")
	}
	ts.Setenv("GLEITZEIT_SERVER", strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Setenv("GLEITZEIT_TOKEN", strings.TrimSpace(ts.ReadFile(args[1])))
}
