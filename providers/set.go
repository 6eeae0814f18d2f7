package providers

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"gleitzeit/protocols"
)

// Options carries what comes from the machine and not from a file. The zero
// value is an empty environment.
type Options struct {
	// Env looks up an environment variable. Nothing in this package looks at
	// the environment in any other way. It is called from many goroutines.
	Env func(name string) string
	// Self is the command that runs ServeFilters: this program, in most cases.
	// Without it there is no data/jq.
	Self []string
	// Tokens keeps logins to MCP servers; nil: they are good for this Set.
	Tokens Tokens
	// Login is a person who logs in where a server wants it; nil: nobody is
	// there, and such a call fails with AUTHENTICATION_FAILED.
	Login *Login
	// Workers carry out the calls of remote providers; nil: none can connect.
	Workers *Workers
}

// Set holds the providers of one configuration. They are opened when they are
// first used: a run of echo tasks starts no interpreter and no server.
type Set struct {
	config Config
	list   []Info
	deps   deps

	mu     sync.Mutex
	open   map[string]Provider
	closed bool
}

// deps is what constructors are given besides a configuration.
type deps struct {
	env      func(string) string
	self     []string // Options.Self
	roots    []string // of the configuration
	children *children
	servers  *mcpServers
	prices   map[string]Price // of everybody
	workers  *Workers
}

// kind is a row of the table of kinds.
type kind struct {
	protocol string   // that it speaks; "": those of ProviderConfig.Protocols
	slots    int      // when the configuration doesn't say
	keys     []string // of ProviderConfig that mean something, besides boundKeys
	open     func(name string, c ProviderConfig, d deps) (Provider, error)

	// The rest may be nil.

	// check says what else is wrong with a configuration; each problem begins
	// with its key.
	check func(name string, c ProviderConfig) []string
	// variables lists those of the environment that it looks at.
	variables func(c ProviderConfig) []string
	// byName tells that only tasks that name it use it, as one server of many.
	byName func(c ProviderConfig) bool
}

// kindTable is the table of all there are.
func kindTable() map[string]kind {
	return map[string]kind{
		"echo": {protocol: "echo/v1", slots: 1024, open: plain(newEcho)},
		"python": {protocol: "python/v1", slots: 4, open: newPython, variables: pythonVariables, check: checkPython,
			keys: []string{"command", "pass_env", "timeout", "warm", "sandbox", "python", "requirements"}},
		"ollama":    {protocol: "llm/v1", slots: 2, open: newOllama, keys: llmKeys, variables: llmVariables("OLLAMA_HOST"), check: checkOllama},
		"openai":    {protocol: "llm/v1", slots: 8, open: newOpenAI, keys: append([]string{"api_version"}, llmKeys...), variables: llmVariables("OPENAI_API_KEY"), check: checkServer},
		"anthropic": {protocol: "llm/v1", slots: 8, open: newAnthropic, keys: llmKeys, variables: llmVariables("ANTHROPIC_API_KEY"), check: checkServer},
		"mcp":       {protocol: "mcp/v1", slots: 8, open: newMCP, keys: []string{"timeout"}},
		"http": {protocol: "http/v1", slots: 16, open: newHTTP, variables: httpVariables, check: checkHTTP, byName: ofOneServer,
			keys: []string{"url", "key_env", "key_header", "headers", "timeout", "allow", "proxy", "max_request", "max_response", "max_file"}},
		"data":   {protocol: "data/v1", slots: 4, open: newData, keys: []string{"timeout"}},
		"mock":   {slots: 64, open: newMock, keys: mockKeys, check: checkMock},
		"remote": {slots: 1024, open: newRemote, keys: []string{"protocols", "grace"}, check: checkRemote},
		"shell":  {protocol: "shell/v1", slots: 4, open: newShell, keys: []string{"pass_env", "timeout", "sandbox"}, check: checkShell},
	}
}

// llmKeys mean something to every kind of LLM server.
var llmKeys = []string{"url", "key_env", "key_header", "headers", "model", "default_model", "models", "prices",
	"timeout", "first_token_timeout", "idle_timeout", "token_rate", "model_slots"}

func plain(open func(string, ProviderConfig, func(string) string) (Provider, error)) func(string, ProviderConfig, deps) (Provider, error) {
	return func(name string, c ProviderConfig, d deps) (Provider, error) { return open(name, c, d.env) }
}

// Open makes the set of the providers in c and the default ones. It starts
// and connects nothing. The error is CONFIGURATION_ERROR and names every
// problem.
func Open(c Config, o Options) (*Set, error) {
	if err := c.Validate(); err != nil {
		return nil, protocols.Errorf(protocols.ConfigurationError, "%v", err)
	}
	if o.Env == nil {
		o.Env = func(string) string { return "" }
	}
	c = c.Complete()
	kids := &children{}
	return &Set{
		config: c,
		list:   c.List(),
		deps:   deps{env: o.Env, self: o.Self, roots: c.Roots, children: kids, servers: newMCPServers(c, o, kids), prices: c.Prices, workers: o.Workers},
		open:   map[string]Provider{},
	}, nil
}

// List returns the providers in the order of Config.List.
func (s *Set) List() []Info { return slices.Clone(s.list) }

// Call has the provider of that name carry out one call. The folders of
// Config.Roots are added to the call's. Any error is a
// *protocols.Error, or a *Lost.
func (s *Set) Call(ctx context.Context, name string, call Call, host Host) (json.RawMessage, error) {
	p, err := s.provider(name)
	if err != nil {
		return nil, err
	}
	if host == nil {
		host = silent{}
	}
	if len(s.config.Roots) > 0 {
		call.Roots = append(slices.Clone(call.Roots), s.config.Roots...)
	}
	result, err := kept(ctx, p, call, host)
	if lost, is := errors.AsType[*Lost](err); is {
		return nil, lost
	}
	if err != nil {
		return nil, asError(err)
	}
	return result, nil
}

// Models lists the models that the provider of that name has now. The error
// is METHOD_NOT_SUPPORTED if it is of a kind that has none.
func (s *Set) Models(ctx context.Context, name string) ([]Model, error) {
	p, err := s.provider(name)
	if err != nil {
		return nil, err
	}
	lister, is := p.(interface {
		Models(ctx context.Context) ([]Model, error)
	})
	if !is {
		return nil, protocols.Errorf(protocols.MethodNotSupported, "provider %q has no models", name)
	}
	return lister.Models(ctx)
}

// Login has a person log in to an MCP server, whatever is kept of an earlier
// time. It reports false for a server that doesn't ask for that.
func (s *Set) Login(ctx context.Context, server string) (bool, error) {
	m, err := s.deps.servers.get(server)
	if err != nil {
		return false, err
	}
	asked, err := m.loginAfresh(ctx)
	if err != nil {
		return false, asError(err)
	}
	return asked, nil
}

// Check asks the provider of that name whether it could work now; an MCP
// server is started for it.
func (s *Set) Check(ctx context.Context, name string) Health {
	p, err := s.provider(name)
	if err != nil {
		return Health{Status: "unhealthy", Message: err.Error()}
	}
	return p.Check(ctx)
}

// Close closes every provider that was opened and ends every process that
// they started. Call it after the last Call has returned; a second one does
// nothing.
func (s *Set) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	var problems []error
	for _, p := range s.open {
		problems = append(problems, p.Close())
	}
	s.deps.servers.close()
	s.deps.children.close()
	return errors.Join(problems...)
}

// provider returns the provider of that name, opened.
func (s *Set) provider(name string) (Provider, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, protocols.Errorf(protocols.SystemShutdown, "the providers are closed")
	}
	if p := s.open[name]; p != nil {
		return p, nil
	}
	p, err := s.make(name)
	if err != nil {
		return nil, asError(err)
	}
	s.open[name] = p
	return p, nil
}

func (s *Set) make(name string) (Provider, error) {
	if !s.config.mocked(name) {
		return s.actual(name)
	}
	open := func() (Provider, error) { return s.actual(name) }
	if !s.config.has(name) {
		open = nil
	}
	return mockOver(name, s.config.Providers[name], s.config.Mocks, s.config.Prices, open)
}

// actual opens the provider that is configured.
func (s *Set) actual(name string) (Provider, error) {
	if c, ok := s.config.Providers[name]; ok {
		return kindTable()[c.Kind].open(name, c, s.deps)
	}
	if m, ok := s.config.MCPServers[name]; ok {
		p := &mcpProvider{servers: s.deps.servers, only: name}
		p.timeout, _ = time.ParseDuration(m.Timeout) // Validate has looked at it
		return p, nil
	}
	var names []string
	for _, info := range s.list {
		names = append(names, info.Name)
	}
	return nil, protocols.Errorf(protocols.ProviderNotFound, "no provider %q%s", name, choices(name, names))
}

// asError makes any error one that may cross a border.
func asError(err error) *protocols.Error {
	var e *protocols.Error
	if errors.As(err, &e) {
		return e
	}
	return protocols.Errorf(protocols.TaskExecutionFailed, "%v", err)
}

// silent is a host that nobody watches.
type silent struct{}

func (silent) Progress(Progress) {}

func (silent) Ask(context.Context, Question) (Answer, error) { return Answer{Action: Cancel}, nil }

func (silent) Sample(context.Context, Sample) (json.RawMessage, error) {
	return nil, protocols.Errorf(protocols.MethodNotSupported, "nobody is there who would pay for a model's answer")
}
