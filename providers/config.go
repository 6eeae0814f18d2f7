package providers

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"gleitzeit/protocols"
)

// This file answers what a configuration means, without opening anything.

// Info is what the others know of a provider: enough to choose one and to
// count its calls.
type Info struct {
	Name     string `json:"name"`
	Protocol string `json:"protocol"` // that it speaks, e.g. "llm/v1"
	Kind     string `json:"kind"`
	Slots    int    `json:"slots"` // calls at once, at least 1
	// Spare tells that nobody configured it: it serves when no other provider
	// speaks its protocol.
	Spare bool `json:"spare,omitempty"`
	// ByName tells that only tasks that name it use it.
	ByName bool     `json:"by_name,omitempty"`
	Model  string   `json:"model,omitempty"`  // used when a task names none
	Models []string `json:"models,omitempty"` // that it has; empty: any
	// Mock says what makes its answers up, "" if they are real: the file of a
	// script, or the kind mock.
	Mock string `json:"mock,omitempty"`
	Bounds
}

// DefaultConfig is what there is without any configuration.
func DefaultConfig() Config {
	return Config{Providers: map[string]ProviderConfig{
		"echo":   {Kind: "echo"},
		"python": {Kind: "python"},
		"mcp":    {Kind: "mcp"},
		"ollama": {Kind: "ollama"},
		"http":   {Kind: "http"},
		"data":   {Kind: "data"},
	}}
}

// Complete returns c with the default providers that it doesn't override, and
// with each key by one name.
func (c Config) Complete() Config {
	all := DefaultConfig().Providers
	maps.Copy(all, c.Providers)
	for name, p := range all {
		if p.Model == "" {
			p.Model = p.DefaultModel
		}
		p.DefaultModel = ""
		all[name] = p
	}
	c.Providers = all
	return c
}

// Canonical returns the JSON form of the completed configuration: equal
// configurations have equal bytes.
func (c Config) Canonical() []byte {
	b, err := json.Marshal(c.Complete())
	if err != nil {
		panic(fmt.Sprintf("configuration: %v", err)) // it holds strings and numbers only
	}
	return b
}

// Identity names a provider beyond this configuration: providers of the same
// name that are configured alike are the same, wherever they are configured.
func (c Config) Identity(name string) string {
	p := c.Complete().Providers[name]
	p.Prices = nil // they change and it doesn't
	var of any = p
	if server, is := c.MCPServers[name]; is {
		of = server
	}
	if c.mocked(name) {
		of = []any{of, c.Mocks}
	}
	b, err := json.Marshal(of)
	if err != nil {
		panic(fmt.Sprintf("configuration of %s: %v", name, err)) // as Canonical
	}
	return fmt.Sprintf("%s-%x", name, sha256.Sum256(b))[:len(name)+1+12]
}

// List returns the providers in the order in which they are preferred: those
// that were configured, then untouched defaults, then each MCP server as a
// provider of its own, and by name within each of the three.
func (c Config) List() []Info {
	c = c.Complete()
	defaults := DefaultConfig().Providers
	table := kindTable()
	var configured, untouched []Info
	for _, name := range slices.Sorted(maps.Keys(c.Providers)) {
		p := c.Providers[name]
		if reflect.DeepEqual(p, defaults[name]) {
			untouched = append(untouched, p.infos(name, table[p.Kind], true)...)
		} else {
			configured = append(configured, p.infos(name, table[p.Kind], false)...)
		}
	}
	infos := append(configured, untouched...)
	for _, name := range slices.Sorted(maps.Keys(c.MCPServers)) {
		if _, taken := c.Providers[name]; !taken {
			breaker := DefaultBreaker
			infos = append(infos, Info{Name: name, Protocol: "mcp/v1", Kind: "mcp", Slots: orElse(c.MCPServers[name].Slots, table["mcp"].slots), ByName: true,
				Bounds: Bounds{Breaker: &breaker}})
		}
	}
	if c.Mocks != nil {
		return c.Mocks.over(infos)
	}
	return infos
}

// infos are what the others know of a provider of that kind: one for each
// protocol that it speaks.
func (p ProviderConfig) infos(name string, k kind, spare bool) (infos []Info) {
	for _, protocol := range p.speaks(k) {
		info := Info{Name: name, Protocol: protocol, Kind: p.Kind, Slots: p.Slots, Spare: spare, Model: p.ModelByDefault(), Models: p.Models}
		info.ByName = k.byName != nil && k.byName(p)
		if info.Slots <= 0 {
			info.Slots = max(k.slots, 1)
		}
		if info.Bounds, _ = p.bounds(info.Protocol == "llm/v1" || info.ByName); info.Pool != nil {
			info.Slots = info.Pool.Max
		}
		if p.Kind == "mock" {
			info.Mock = p.mockedBy()
		}
		infos = append(infos, info)
	}
	return infos
}

// Route chooses the provider for a task of the protocol: the one named wanted,
// or without a name the first of List that speaks the protocol. An MCP
// server's name will do for mcp/v1. The error has PROVIDER_NOT_FOUND or
// PROTOCOL_NOT_FOUND.
func (c Config) Route(protocol, wanted string) (string, error) {
	return Route(c.List(), protocol, wanted)
}

// Route is Config.Route for a list that one has already.
func Route(infos []Info, protocol, wanted string) (string, error) {
	var fit, spoken, other []string
	for _, info := range infos {
		if !slices.Contains(spoken, info.Protocol) {
			spoken = append(spoken, info.Protocol)
		}
		if info.Protocol != protocol {
			if info.Name == wanted {
				other = append(other, info.Protocol)
			}
			continue
		}
		if wanted == "" || wanted == info.Name {
			return info.Name, nil
		}
		fit = append(fit, info.Name)
	}
	if len(other) > 0 {
		return "", protocols.Errorf(protocols.ProviderNotFound,
			"provider %q speaks %s, not %s", wanted, strings.Join(other, ", "), protocol)
	}
	if len(fit) == 0 {
		return "", protocols.Errorf(protocols.ProtocolNotFound,
			"no provider speaks %s%s", protocol, unspoken(protocol, spoken))
	}
	return "", protocols.Errorf(protocols.ProviderNotFound,
		"no provider %q speaks %s%s", wanted, protocol, choices(wanted, fit))
}

// Variables lists the environment variables that the providers of this
// configuration look at: a caller elsewhere sends their values along.
func (c Config) Variables() []string {
	names := slices.Clone(baseVariables)
	table := kindTable()
	for _, p := range c.Complete().Providers {
		if variables := table[p.Kind].variables; variables != nil {
			names = append(names, variables(p)...)
		}
		if p.KeyEnv != "" {
			names = append(names, p.KeyEnv)
		}
		names = append(names, p.PassEnv...)
	}
	for _, m := range c.MCPServers {
		if m.URL != "" {
			names = append(names, proxyVariables...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

var configName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

// Validate names every problem, each with the key's path in the file, or
// returns nil. Whether a server answers or a program exists is Check's.
func (c Config) Validate() error {
	var problems []error
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	for _, name := range slices.Sorted(maps.Keys(c.Providers)) {
		at := "providers." + name
		if !configName.MatchString(name) {
			report("%s: a name has letters, digits, '_', '-' and '.' only", at)
		}
		for _, text := range c.Providers[name].problems(name) {
			report("%s.%s", at, text)
		}
	}
	for _, text := range priceProblems(c.Prices) {
		report("%s", text)
	}
	for _, name := range slices.Sorted(maps.Keys(c.MCPServers)) {
		at := "mcpServers." + name
		if !configName.MatchString(name) {
			report("%s: a name has letters, digits, '_', '-' and '.' only", at)
		}
		for _, text := range c.MCPServers[name].problems() {
			report("%s.%s", at, text)
		}
		if _, err := c.sampler(c.MCPServers[name]); err != nil {
			report("%s.%v", at, err)
		}
		if p, taken := c.Complete().Providers[name]; taken {
			report("%s: the name is taken by the provider of kind %s; rename the server", at, p.Kind)
		}
	}
	return errors.Join(problems...)
}

func (p ProviderConfig) problems(name string) []string {
	table := kindTable()
	kind, known := table[p.Kind]
	if !known {
		names := slices.Sorted(maps.Keys(table))
		return []string{fmt.Sprintf("kind: unknown kind %q%s", p.Kind, choices(p.Kind, names))}
	}
	var problems []string
	for _, key := range p.keys() {
		if !slices.Contains(boundKeys, key) && !slices.Contains(kind.keys, key) {
			problems = append(problems, fmt.Sprintf("%s: means nothing for kind %s", key, p.Kind))
		}
	}
	if p.Slots < 0 {
		problems = append(problems, fmt.Sprintf("slots: %d: must be at least 1", p.Slots))
	}
	_, wrong := p.bounds(true)
	problems = append(problems, wrong...)
	if kind.check != nil {
		problems = append(problems, kind.check(name, p)...)
	}
	for _, one := range [][2]string{{"timeout", p.Timeout}, {"first_token_timeout", p.FirstTokenTimeout}, {"idle_timeout", p.IdleTimeout}} {
		if d, err := time.ParseDuration(one[1]); one[1] != "" && (err != nil || d <= 0) {
			problems = append(problems, fmt.Sprintf("%s: %q: must be a duration such as 90s or 2m", one[0], one[1]))
		}
	}
	if p.Model != "" && p.DefaultModel != "" && p.Model != p.DefaultModel {
		problems = append(problems, fmt.Sprintf("default_model: %q, but model is %q; one of them is enough", p.DefaultModel, p.Model))
	}
	return append(problems, priceProblems(p.Prices)...)
}

// maxPrice bounds prices, so that no sum of them overflows.
const maxPrice = 1e6

// priceProblems: a pattern that is none, a price that is no number or below nothing.
func priceProblems(prices map[string]Price) (problems []string) {
	for _, pattern := range slices.Sorted(maps.Keys(prices)) {
		if _, err := path.Match(pattern, ""); err != nil {
			problems = append(problems, fmt.Sprintf("prices.%s: not a pattern; * and ? stand for any letters", pattern))
		}
		for _, price := range []float64{prices[pattern].Input, prices[pattern].Output} {
			if !(price >= 0 && price <= maxPrice) { // NaN is neither
				problems = append(problems, fmt.Sprintf("prices.%s: a price must be a number from 0 to 1000000, not %v", pattern, price))
			}
		}
	}
	return problems
}

// keys lists the keys that are set, but for kind.
func (p ProviderConfig) keys() []string {
	var keys []string
	v := reflect.ValueOf(p)
	for i := range v.NumField() {
		key := v.Type().Field(i).Tag.Get("yaml")
		if key != "kind" && key != "-" && !v.Field(i).IsZero() {
			keys = append(keys, key)
		}
	}
	return keys
}

// checkServer says what is wrong with the configuration of a server.
func checkServer(_ string, c ProviderConfig) []string {
	if err := checkURL(c.URL); err != nil {
		return []string{fmt.Sprintf("url: %v", err)} // not the URL: it may hold a password
	}
	return nil
}

// checkURL accepts an address of a server.
func checkURL(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New("must be of the form http://host:port or https://host/path")
	}
	return nil
}
