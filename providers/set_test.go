package providers

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gleitzeit/protocols"
)

func TestConfigList(t *testing.T) {
	tests := []struct {
		config Config
		want   string
	}{
		{Config{}, "data/data/v1/4 echo/echo/v1/1024 http/http/v1/16 mcp/mcp/v1/8 ollama/llm/v1/2 python/python/v1/4"},
		{DefaultConfig(), "data/data/v1/4 echo/echo/v1/1024 http/http/v1/16 mcp/mcp/v1/8 ollama/llm/v1/2 python/python/v1/4"},
		{
			Config{Providers: map[string]ProviderConfig{
				"z": {Kind: "openai"}, "python": {Kind: "python", Slots: 1}, "echo": {Kind: "echo"},
			}, MCPServers: map[string]MCPServer{"files": {Command: "x"}, "db": {Command: "y"}}},
			"python/python/v1/1 z/llm/v1/8 data/data/v1/4 echo/echo/v1/1024 http/http/v1/16 mcp/mcp/v1/8 ollama/llm/v1/2 db/mcp/v1/8 files/mcp/v1/8",
		},
	}
	for _, test := range tests {
		for _, c := range []Config{test.config, test.config.Complete()} {
			var got []string
			for _, info := range c.List() {
				got = append(got, fmt.Sprintf("%s/%s/%d", info.Name, info.Protocol, info.Slots))
			}
			if s := strings.Join(got, " "); s != test.want {
				t.Errorf("list %s, want %s", s, test.want)
			}
		}
	}
}

func TestConfigRoute(t *testing.T) {
	c := Config{
		Providers:  map[string]ProviderConfig{"zeta": {Kind: "openai"}, "work": {Kind: "openai"}},
		MCPServers: map[string]MCPServer{"files": {Command: "x"}},
	}
	tests := []struct{ protocol, wanted, want string }{
		{"llm/v1", "", "work"}, {"llm/v1", "zeta", "zeta"}, {"llm/v1", "ollama", "ollama"},
		{"echo/v1", "", "echo"}, {"python/v1", "", "python"},
		{"mcp/v1", "", "mcp"}, {"mcp/v1", "files", "files"},
		{"llm/v1", "zet", "-30002|did you mean zeta?"},
		{"llm/v1", "python", "-30002|speaks python/v1, not llm/v1"},
		{"python/v1", "files", "-30002|speaks mcp/v1"},
		{"lm/v1", "", "-30001|did you mean llm/v1?"},
		{"", "", "-30001|no provider speaks"},
	}
	for _, test := range tests {
		got, err := c.Route(test.protocol, test.wanted)
		if err != nil {
			got = fmt.Sprintf("%d|%v", int(err.(*protocols.Error).Code), err)
		}
		for _, part := range strings.Split(test.want, "|") {
			if !strings.Contains(got, part) {
				t.Errorf("%s by %q: %s, want %s", test.protocol, test.wanted, got, test.want)
			}
		}
	}
}

func TestConfigValidate(t *testing.T) {
	bad := Config{
		Providers: map[string]ProviderConfig{
			"a":     {Kind: "olama"},
			"b":     {},
			"c":     {Kind: "echo", URL: "http://x", PassEnv: []string{"X"}},
			"d":     {Kind: "openai", URL: "user:secret@host", Slots: -1, Timeout: "soon"},
			"e":     {Kind: "ollama", URL: "ftp://x"},
			"f":     {Kind: "python", Timeout: "-1s", Model: "x"},
			"g h":   {Kind: "echo"},
			"h":     {Kind: "ollama", Model: "a", DefaultModel: "b", FirstTokenTimeout: "x", APIVersion: "1", Prices: map[string]Price{"[": {}, "m": {Input: -1}}},
			"i":     {Kind: "ollama", Scope: "world"},
			"j":     {Kind: "echo", Scope: "cluster", Pool: &PoolConfig{}},
			"fine3": {Kind: "anthropic", Model: "a", DefaultModel: "a", IdleTimeout: "1m", KeyHeader: "x-key", Prices: map[string]Price{"m*": {Output: 1}}},
			"fine":  {Kind: "ollama", URL: "localhost:1234", Slots: 3, Timeout: "90s", Headers: map[string]string{"A": "b"}},
			"fine2": {Kind: "openai", URL: "https://example.com/v1", KeyEnv: "KEY"},
			"fine4": {Kind: "echo", Slots: 2, Scope: "cluster"},
			"fine5": {Kind: "echo", Scope: "partition"},
		},
		Prices:     map[string]Price{"x": {Output: -1}},
		MCPServers: map[string]MCPServer{"python": {Command: "x"}, "empty": {}, "ok": {Command: "npx"}},
	}
	want := []string{
		"providers.a.kind: unknown kind \"olama\"; did you mean ollama? There is ",
		"providers.b.kind: unknown kind \"\"",
		"providers.c.url: means nothing for kind echo",
		"providers.c.pass_env: means nothing for kind echo",
		"providers.d.slots: -1",
		"providers.d.url: must be of the form",
		"providers.d.timeout: \"soon\"",
		"providers.e.url: ",
		"providers.f.model: means nothing for kind python",
		"providers.f.timeout: \"-1s\"",
		"providers.g h: a name has",
		"providers.h.default_model: \"b\", but model is \"a\"",
		"providers.h.first_token_timeout: \"x\"",
		"providers.h.api_version: means nothing for kind ollama",
		"providers.i.scope: \"world\": must be cluster or partition",
		"providers.j.scope: cluster doesn't go with a pool",
		"providers.h.prices.[: not a pattern",
		"providers.h.prices.m: a price",
		"prices.x: a price",
		"mcpServers.empty.command: missing",
		"mcpServers.python: the name is taken",
	}
	got := strings.Split(bad.Validate().Error(), "\n")
	if len(got) != len(want) {
		t.Errorf("%d problems, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	for _, w := range want {
		if !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, w) }) {
			t.Errorf("no problem begins with %q in:\n%s", w, strings.Join(got, "\n"))
		}
	}
	if strings.Contains(bad.Validate().Error(), "secret") {
		t.Error("a password is shown")
	}
	_, err := Open(bad, Options{})
	wantError(t, err, protocols.ConfigurationError)
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

func TestConfigCanonical(t *testing.T) {
	a := Config{Providers: map[string]ProviderConfig{"x": {Kind: "openai"}, "echo": {Kind: "echo"}}}
	b := Config{Providers: map[string]ProviderConfig{"x": {Kind: "openai"}}}
	if string(a.Canonical()) != string(b.Canonical()) || string(a.Canonical()) != string(a.Complete().Canonical()) {
		t.Errorf("%s\n%s", a.Canonical(), b.Canonical())
	}
	b.Roots = []string{"/data"}
	if string(a.Canonical()) == string(b.Canonical()) {
		t.Error("different configurations look the same")
	}
	if len(b.Providers) != 1 {
		t.Error("Complete changed its receiver")
	}
}

func TestConfigVariables(t *testing.T) {
	c := Config{Providers: map[string]ProviderConfig{
		"x":      {Kind: "openai", KeyEnv: "MY_KEY"},
		"python": {Kind: "python", PassEnv: []string{"TOKEN"}},
	}}
	names := c.Variables()
	for _, name := range []string{"PATH", "HOME", "OLLAMA_HOST", "MY_KEY", "TOKEN", "PYENV_VERSION"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not in %v", name, names)
		}
	}
	if !slices.IsSorted(names) {
		t.Errorf("not sorted: %v", names)
	}
}

// A set looks at nothing of the machine but through its options.
func TestSetReadsOnlyItsVariables(t *testing.T) {
	c := Config{Providers: map[string]ProviderConfig{"x": {Kind: "openai", KeyEnv: "MY_KEY"}}}
	known := c.Variables()
	s, err := Open(c, Options{Env: func(name string) string {
		if !slices.Contains(known, name) {
			t.Errorf("%s was looked at and is not in Variables", name)
		}
		return ""
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, info := range s.List() {
		_ = s.Check(patience(t, 1), info.Name)
	}
}

func TestSetUnknownProvider(t *testing.T) {
	s := openSet(t, Config{})
	_, err := s.Call(t.Context(), "pyton", Call{}, nil)
	if e := wantError(t, err, protocols.ProviderNotFound); !strings.Contains(e.Message, "did you mean python?") {
		t.Errorf("%s", e.Message)
	}
	if h := s.Check(t.Context(), "pyton"); h.Status != "unhealthy" {
		t.Errorf("%+v", h)
	}
}

// Opening a set, and a run of echo tasks, starts no process.
func TestSetIsLazy(t *testing.T) {
	s := openSet(t, Config{MCPServers: map[string]MCPServer{"s": {Command: "/no/such/thing"}}})
	if _, err := s.Call(t.Context(), "echo", Call{Method: "echo/ping"}, nil); err != nil {
		t.Fatal(err)
	}
	if len(s.open) != 1 || s.deps.children.work != nil {
		t.Errorf("open: %v", s.open)
	}
}

func BenchmarkOpen(b *testing.B) {
	for b.Loop() {
		s, err := Open(Config{}, Options{})
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}
