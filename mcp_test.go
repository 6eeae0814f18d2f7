package main

import (
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// This file gives scripts the MCP servers that others have written.

// npmServers is the folder into which npm installs them, once.
var npmServers = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("GLEITZEIT_MCP_SERVERS"); dir != "" {
		return dir, nil
	}
	out, err := exec.Command(".ci/mcp").Output()
	return strings.TrimSpace(string(out)), err
})

// mcpThere is the condition [mcp].
func mcpThere() (bool, error) {
	_, err := npmServers()
	if err != nil && os.Getenv("GLEITZEIT_TEST_MCP") == "required" {
		return false, err
	}
	return err == nil, nil
}

// mcpServers puts the folder of the servers for MCP_SERVERS into the files:
//
//	mcp gleitzeit.yaml
func mcpServers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: mcp FILE...")
	}
	dir, err := npmServers()
	ts.Check(err)
	for _, name := range args {
		text := strings.ReplaceAll(ts.ReadFile(name), "MCP_SERVERS", dir+"/node_modules/@modelcontextprotocol")
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}
