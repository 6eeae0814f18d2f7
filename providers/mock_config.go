package providers

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"gleitzeit/protocols"
)

// This file says which providers there are when some are mocks.
//
//	kind: mock       a provider like others, which is configured by name; nothing
//	                 real has its protocols, or it is asked by name
//	Config.Mocks     stand in for every provider of the protocols that they cover,
//	                 under its own name, and with its own slots, rates and models

// mockKeys mean something to kind mock; most of them to what it stands in for.
var mockKeys = []string{"protocols", "script", "model", "default_model", "models", "prices", "token_rate", "model_slots"}

// mockProtocols are what a provider of kind mock speaks unless told otherwise.
var mockProtocols = []string{"mock/v1", "text-processing/v1", "web-search/v1"}

// speaks lists the protocols of a provider of that kind.
func (p ProviderConfig) speaks(k kind) []string {
	switch {
	case k.protocol != "":
		return []string{k.protocol}
	case len(p.Protocols) > 0:
		return p.Protocols
	case p.Kind == "remote":
		return nil
	}
	return mockProtocols
}

// checkMock says what is wrong with a configuration of kind mock.
func checkMock(_ string, p ProviderConfig) (problems []string) {
	registry := specs()
	for _, name := range p.Protocols {
		if _, known := registry.Get(name); !known || !mockable(name) {
			problems = append(problems, fmt.Sprintf("protocols: no provider speaks %q%s", name, choices(name, protocolNames(registry))))
		} else if p.Script == "" && !slices.Contains(mockProtocols, name) {
			problems = append(problems, fmt.Sprintf("script: missing: a file that says what %s answers", name))
		}
	}
	return problems
}

// mockedBy names what makes up the answers of a provider of kind mock.
func (p ProviderConfig) mockedBy() string {
	if p.Script != "" {
		return p.Script
	}
	return "kind mock"
}

// mocked tells whether Mocks stand in for the provider.
func (c Config) mocked(name string) bool {
	if c.Mocks == nil {
		return false
	}
	return slices.ContainsFunc(c.List(), func(i Info) bool { return i.Name == name && c.Mocks.Covers(i.Protocol) })
}

// has tells whether the provider is configured, or there by default.
func (c Config) has(name string) bool {
	_, provider := c.Complete().Providers[name]
	_, server := c.MCPServers[name]
	return provider || server
}

// over says which providers there are when the mocks stand in for some, and for
// those that their protocols lack.
func (m *Mocks) over(infos []Info) []Info {
	for i := range infos {
		if m.Covers(infos[i].Protocol) {
			infos[i].Kind, infos[i].Mock = "mock", m.File
		}
	}
	for _, r := range m.Rules {
		if name := r.Provider; name != "" && !strings.Contains(name, "*") {
			infos = m.add(infos, Info{Name: name, Protocol: protocolOf(r.Method), ByName: true})
		}
	}
	for _, s := range specs().List() {
		spoken := func(i Info) bool { return i.Protocol == s.Protocol && !i.ByName }
		if m.Covers(s.Protocol) && !slices.ContainsFunc(infos, spoken) {
			infos = m.add(infos, Info{Name: "mock", Protocol: s.Protocol})
		}
	}
	return infos
}

// add adds a provider that is nothing but a mock, unless its name is taken.
func (m *Mocks) add(infos []Info, info Info) []Info {
	taken := func(i Info) bool { return i.Name == info.Name && (i.Protocol == info.Protocol || i.Mock == "") }
	if info.Protocol == "" || slices.ContainsFunc(infos, taken) {
		return infos
	}
	info.Kind, info.Mock, info.Slots = "mock", m.File, kindTable()["mock"].slots
	return append(infos, info)
}

// LetsThrough tells whether calls may go to the real providers.
func (m *Mocks) LetsThrough() bool {
	passes := func(s MockStep) bool { return s.Passthrough }
	return m.Passthrough || m.Default != nil && m.Default.Passthrough ||
		slices.ContainsFunc(m.Rules, func(r MockRule) bool { return passes(r.MockStep) || slices.ContainsFunc(r.Then, passes) })
}

// protocolOf is the protocol that a pattern of methods is of, "" if it may be
// any.
func protocolOf(pattern string) string {
	name, _, slash := strings.Cut(pattern, "/")
	for _, s := range specs().List() {
		if slash && strings.HasPrefix(s.Protocol, name+"/") {
			return s.Protocol
		}
	}
	return ""
}

// unspoken says what there is instead of a protocol that nobody speaks.
func unspoken(protocol string, spoken []string) string {
	if slices.Contains(mockProtocols, protocol) {
		return "; a mock of it invents answers: add providers: {mock: {kind: mock}} to gleitzeit.yaml, or give a script of your own with --mock FILE"
	}
	if protocol == "shell/v1" {
		return ": programs run only where the configuration allows it, in gleitzeit.yaml: `providers: {shell: {kind: shell}}`"
	}
	return choices(protocol, spoken)
}

// specs are the protocols that are built in.
var specs = sync.OnceValue(protocols.NewRegistry)
