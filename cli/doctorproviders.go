package cli

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"gleitzeit/cli/server"
	"gleitzeit/providers"
)

// This file asks the providers. One that nobody configured need not work.

func (d *diagnosis) providers(ctx context.Context, s *session, c *config, patience time.Duration) {
	infos := map[string]providers.Info{}
	for _, info := range c.providers().List() {
		infos[info.Name+" "+info.Protocol] = info
	}
	results, err := s.check(ctx, c, nil, patience)
	if err != nil {
		d.add(finding{State: bad, About: "providers", Text: err.Error(), Remedy: "see: gleitzeit provider list", code: exitUnreachable})
	}
	for _, r := range results {
		d.add(c.providerFinding(r, infos[r.Name+" "+r.Protocol]))
	}
}

// providerFinding says how a provider is.
func (c *config) providerFinding(r server.ProviderHealth, info providers.Info) finding {
	f := finding{State: good, About: r.Name, Text: firstOf(r.Message, r.Protocol+" works"), Details: r.Details}
	switch {
	case r.Status == "unhealthy" && info.Spare:
		f.State, f.Remedy = note, "nothing to do unless tasks use "+r.Protocol+": "+remedyOf(r)
	case r.Status == "unhealthy":
		f.State, f.Remedy, f.code = bad, c.remedyOfProvider(r), exitUnreachable
	case r.Status != "healthy":
		f.State, f.Remedy = warning, "see: gleitzeit provider check "+r.Name
	}
	details, _ := r.Details.(map[string]any)
	if lacking, _ := details["not_enforced"].([]string); len(lacking) > 0 && f.State == good {
		f.State, f.Remedy = warning, "code of tasks can do these things: use a newer kernel, or give it a container of its own"
	}
	return f
}

// remedyOfProvider also looks whether an MCP server's command is there.
func (c *config) remedyOfProvider(r server.ProviderHealth) string {
	m, ok := c.MCPServers[r.Name]
	if !ok || m.Command == "" {
		return remedyOf(r)
	}
	if _, err := exec.LookPath(m.Command); err != nil && !filepath.IsAbs(m.Command) {
		return fmt.Sprintf("install %s, or write its whole path: it is not in the PATH of this command", m.Command)
	}
	return "see what it says: gleitzeit provider check " + r.Name
}

// remedyOf is what to try by the kind of a provider.
func remedyOf(r server.ProviderHealth) string {
	switch r.Kind {
	case "ollama":
		return "start it with: ollama serve; or say where it is: OLLAMA_HOST, or url of the provider"
	case "python":
		return "install Python 3.8 or newer, or say which to use: python of the provider"
	}
	return "look at its settings, and that it runs: gleitzeit config show"
}
