package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// This file makes the scenarios run on the backend that GLEITZEIT_BACKEND
// names.
//
// On redis each scenario has a store of its own in one server that we start;
// those are left out that have several stores, or damage one.
//
// Of memory nothing outlives a command, so that only scenarios are left in which
// no command needs what another one did.

// onBackend returns what prepares a scenario.
func onBackend(t *testing.T) func(*testscript.Env) error {
	switch backend := os.Getenv("GLEITZEIT_BACKEND"); backend {
	case "memory":
		return func(env *testscript.Env) error {
			env.Setenv("GLEITZEIT_BACKEND", backend)
			return skipIf(env, needsPast, "its commands need a store that outlives them")
		}
	case "redis":
		socket := startRedis(t)
		return func(env *testscript.Env) error {
			env.Setenv("GLEITZEIT_BACKEND", backend)
			env.Setenv("GLEITZEIT_REDIS_URL", "unix://"+socket+"?store="+nameOf(env))
			return skipIf(env, needsFolders, "it has several stores, or a damaged one")
		}
	default:
		return func(env *testscript.Env) error {
			env.Setenv("GLEITZEIT_BACKEND", backend)
			return nil
		}
	}
}

func nameOf(env *testscript.Env) string {
	return strings.TrimPrefix(filepath.Base(env.WorkDir), "script-")
}

// skipIf skips the scenario if one of its lines is of that kind.
func skipIf(env *testscript.Env, line *regexp.Regexp, why string) error {
	text, err := os.ReadFile(filepath.Join("testdata", "script", nameOf(env)+".txtar"))
	if lines, _, _ := bytes.Cut(text, []byte("\n-- ")); err == nil && line.Match(lines) {
		env.T().Skip(why)
	}
	return err
}

// needsFolders finds scenarios with several stores.
var needsFolders = regexp.MustCompile(`(?m)^[^#\n]*--store (good|data)\b`)

// needsPast finds commands about what another command did, second runs, and
// stores on disk.
var needsPast = regexp.MustCompile(`(?m)^[^#\n]*((exits \d+|gleitzeit)( -\S+)* (resume|history|workflow|system|schedule|server|dev|token|signal|approve|reject)\b|\w-[2-9]\b|--store|--key|GLEITZEIT_STORE|@last|\bfmt --check|^crash|^signal (KILL|TERM))|^exec python3 (check|look)`)

// startRedis starts a server that ends with the test, and returns its socket.
func startRedis(t *testing.T) string {
	dir, err := os.MkdirTemp("", "r") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	server := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--logfile", filepath.Join(dir, "log"))
	if err := server.Start(); err != nil {
		t.Fatal(fmt.Errorf("the backend redis is tested with a real server: %w", err))
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		os.RemoveAll(dir)
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return socket
		}
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not start")
		}
	}
}
