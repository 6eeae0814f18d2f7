package providers

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// This file reads the configuration of an MCP server, in the form that other
// programs have it.

// transport is how the server is reached: "stdio", "http", "sse", or "" for
// http and, where that isn't understood, sse.
func (m MCPServer) transport() string {
	switch strings.ToLower(m.Type) {
	case "":
		if m.Command != "" {
			return "stdio"
		}
		return ""
	case "http", "streamable-http", "streamablehttp", "streamable_http":
		return "http"
	}
	return strings.ToLower(m.Type)
}

// problems names every problem, each with its key.
func (m MCPServer) problems() (problems []string) {
	report := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	kind := m.transport()
	if !slices.Contains([]string{"", "stdio", "http", "sse"}, kind) {
		report("type: %q: must be stdio, http or sse", m.Type)
		return problems
	}
	switch {
	case m.Command == "" && m.URL == "":
		report("command: missing: the program that is the server, or its url")
	case m.Command != "" && m.URL != "":
		report("url: there is a command, too; a server is either started or reached at its url")
	case kind == "stdio" && m.Command == "":
		report("command: missing: the program that is the server")
	case (kind == "http" || kind == "sse") && m.URL == "":
		report("url: missing: where the server is")
	}
	if err := checkURL(m.URL); err != nil {
		report("url: %v", err) // not the URL: it may hold a password
	}
	if m.URL != "" && (len(m.Args) > 0 || len(m.Env) > 0 || m.Cwd != "") {
		report("url: args, env and cwd mean nothing for a server that isn't started")
	}
	if m.Command != "" && len(m.Headers) > 0 {
		report("headers: mean nothing for a server that is started; use env")
	}
	if d, err := time.ParseDuration(m.Timeout); m.Timeout != "" && (err != nil || d <= 0) {
		report("timeout: %q: must be a duration such as 90s or 2m", m.Timeout)
	}
	if o := m.OAuth; o != nil {
		if kind == "stdio" || kind == "sse" {
			report("oauth: only servers of type http know logins")
		}
		if o.RedirectPort < 0 || o.RedirectPort > 65535 {
			report("oauth.redirect_port: %d must be 0 to 65535", o.RedirectPort)
		}
		if u, err := url.Parse(o.ClientMetadata); o.ClientMetadata != "" && (err != nil || u.Scheme != "https" || len(u.Path) < 2) {
			report("oauth.client_metadata: must be of the form https://host/path")
		}
		if o.ClientSecret != "" && o.ClientID == "" {
			report("oauth.client_secret: needs client_id")
		}
	}
	if m.Slots < 0 {
		report("slots: %d: must be at least 1", m.Slots)
	}
	return append(problems, m.asksProblems()...)
}
