package main

import (
	"net/http/httptest"
	"regexp"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"gleitzeit/cli/server/servertest"
)

// This file is a collector of OpenTelemetry for the scripts.

// collect starts one, which the commands that follow tell what happens.
func collect(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: collector")
	}
	server := httptest.NewServer(collector(ts))
	ts.Defer(server.Close)
	ts.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
}

// collector is the script's.
func collector(ts *testscript.TestScript) *servertest.Collector {
	return ts.Value("collector").(*servertest.Collector)
}

// spans waits until what the collector was told matches, a span in each line:
//
//	spans 'greet trace=0af7.* status=STATUS_CODE_UNSET'
//
// With ! it must not match by now.
func spans(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: spans PATTERN")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	c := collector(ts)
	if neg {
		if lines := c.Lines(); pattern.MatchString(lines) {
			ts.Fatalf("unwanted match for %s in\n%s", args[0], lines)
		}
		return
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if pattern.MatchString(c.Lines()) {
			return
		}
	}
	ts.Fatalf("no match for %s within %v in\n%s", args[0], patience, c.Lines())
}
