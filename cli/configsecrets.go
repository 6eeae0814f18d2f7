package cli

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/scheduler"
)

// This file holds the secrets of gleitzeit.yaml to their places: where they
// are is said once, under secrets, and ${secrets.NAME} stands in headers, and in
// env and args of MCP servers. A run keeps the configuration with the names;
// what they stand for is put in when a provider is opened. ${env.NAME} is short
// for a secret whose source is env:NAME.

var secretName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// environmentReference is the short form.
var environmentReference = regexp.MustCompile(`\$\{\s*env\.([A-Za-z_][A-Za-z0-9_]*)\s*\}`)

// nameEnvironment writes the short form out: ${env.NAME} as ${secrets.NAME},
// with the secret that this takes.
func (c *config) nameEnvironment() {
	long := func(text string) string {
		return environmentReference.ReplaceAllStringFunc(text, func(match string) string {
			return "${secrets." + c.environmentSecret(environmentReference.FindStringSubmatch(match)[1]) + "}"
		})
	}
	for name, p := range c.Providers {
		p.Headers = mapped(p.Headers, long)
		c.Providers[name] = p
	}
	for name, m := range c.MCPServers {
		m.Env, m.Headers, m.Args = mapped(m.Env, long), mapped(m.Headers, long), slices.Clone(m.Args)
		for i := range m.Args {
			m.Args[i] = long(m.Args[i])
		}
		m.OAuth = m.OAuth.WithSecret(long)
		c.MCPServers[name] = m
	}
}

// environmentSecret is the name of the secret that is the variable.
func (c *config) environmentSecret(variable string) string {
	name := variable
	for {
		switch source, taken := c.Secrets[name]; {
		case !taken:
			if c.Secrets == nil {
				c.Secrets = map[string]string{}
			}
			c.Secrets[name] = "env:" + variable
			return name
		case source == "env:"+variable:
			return name
		}
		name += "_env"
	}
}

// setting is a text of the configuration.
type setting struct {
	key, text string
	takes     bool // secrets may stand in it
	secret    bool // it looks as if it were one
}

// settingsOf lists the texts of a provider's or a server's configuration that
// somebody may have put a secret in.
func (c *config) settingsOf(name string) (all []setting) {
	if p, is := c.Providers[name]; is {
		key := "providers." + name
		for _, h := range sortedNames(p.Headers) {
			all = append(all, setting{key + ".headers." + h, p.Headers[h], true, mayBeSecret(h)})
		}
		for _, one := range [][2]string{{".url", p.URL}, {".proxy", p.Proxy}} {
			address, err := url.Parse(one[1])
			all = append(all, setting{key + one[0], one[1], false, err == nil && withoutPassword(one[1]) != one[1] && address.User != nil})
		}
		for _, text := range append([]string{p.KeyEnv, p.Model, p.Command, p.Timeout}, slices.Concat(p.Models, p.PassEnv)...) {
			all = append(all, setting{key, text, false, false})
		}
	}
	if m, is := c.MCPServers[name]; is {
		key := "mcpServers." + name
		for _, v := range sortedNames(m.Env) {
			all = append(all, setting{key + ".env." + v, m.Env[v], true, mayBeSecret(v)})
		}
		for i, arg := range m.Args {
			name, _, assigned := strings.Cut(arg, "=")
			follows := i > 0 && strings.HasPrefix(m.Args[i-1], "-") && mayBeSecret(m.Args[i-1])
			all = append(all, setting{fmt.Sprintf("%s.args[%d]", key, i), arg, true, follows || assigned && mayBeSecret(name)})
		}
		for _, h := range sortedNames(m.Headers) {
			all = append(all, setting{key + ".headers." + h, m.Headers[h], true, mayBeSecret(h)})
		}
		if m.OAuth != nil {
			all = append(all, setting{key + ".oauth.client_secret", m.OAuth.ClientSecret, true, true}, setting{key + ".oauth.client_id", m.OAuth.ClientID, false, false})
		}
		address, err := url.Parse(m.URL)
		all = append(all, setting{key + ".url", m.URL, false, err == nil && address.User != nil && withoutPassword(m.URL) != m.URL})
		all = append(all, setting{key, m.Command, false, false}, setting{key, m.Cwd, false, false})
	}
	return all
}

// named returns the names of the secrets in a text.
func named(text string) (names []string) {
	for _, m := range scheduler.ConfiguredSecret.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

// everySetting lists the texts of all providers and servers.
func (c *config) everySetting() (all []setting) {
	for _, name := range slices.Concat(sortedNames(c.Providers), sortedNames(c.MCPServers)) {
		all = append(all, c.settingsOf(name)...)
	}
	return all
}

// checkSecrets refuses secrets that are nowhere, and those that stand where
// they can't. What may be one itself is never repeated.
func (c *config) checkSecrets() (wrong []error) {
	report := func(key, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("%s%s: %s", c.where(key), key, fmt.Sprintf(format, args...)))
	}
	for _, name := range sortedNames(c.Secrets) {
		switch {
		case !secretName.MatchString(name):
			report("secrets", "%q can't be the name of a secret: use letters, digits, _ and -", name)
		case !protocols.IsSecretSource(c.Secrets[name]):
			report("secrets."+name, "it must be a reference, never the secret itself: env:NAME, file:PATH or age:PATH")
		}
	}
	for _, one := range c.everySetting() {
		for _, name := range named(one.text) {
			switch _, known := c.Secrets[name]; {
			case !one.takes:
				report(one.key, "${secrets.%s} can stand only in headers, and in env, args and oauth.client_secret of MCP servers", name)
			case !known:
				report(one.key, "there is no secret %s: say where it is, secrets: {%s: env:%s}", name, name, name)
			}
		}
	}
	return wrong
}

// secretsOf returns the names of the secrets in a provider's configuration.
// The provider of all MCP servers has those of all of them.
func (c *config) secretsOf(info providers.Info) (names []string) {
	if info.Mock != "" && (c.mocks == nil || !c.mocks.LetsThrough()) {
		return nil
	}
	from := []string{info.Name}
	if c.providers().Complete().Providers[info.Name].Kind == "mcp" {
		from = append(from, sortedNames(c.MCPServers)...)
	}
	for _, name := range from {
		for _, one := range c.settingsOf(name) {
			names = append(names, named(one.text)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// warnOfPlain tells which texts look like secrets and will lie in the store as
// they are.
func (s *session) warnOfPlain(c *config) {
	for _, one := range c.everySetting() {
		if one.secret && one.text != "" && len(named(one.text)) == 0 {
			hint := "; name a secret instead, as in ${secrets.NAME}"
			if !one.takes {
				hint = "; use key_env or headers"
			}
			s.print.say("%s", s.print.errInk.yellow(clean(c.where(one.key)+one.key+" is kept in the store as it is"+hint)))
		}
	}
}

// openConfigured opens the providers of the configuration, with the secrets
// that are there.
func (s *session) openConfigured(c *config) (*providers.Set, error) {
	return s.openWith(c, s.forProviders())
}

func (s *session) openWith(c *config, o providers.Options) (*providers.Set, error) {
	all := c.addressed()
	put := func(text string) string {
		return scheduler.ConfiguredSecret.ReplaceAllStringFunc(text, func(match string) string {
			value, err := s.opener(c).open(c.Secrets[named(match)[0]])
			if err != nil {
				s.print.say("%s", s.print.errInk.yellow(clean(fmt.Sprintf("the secret %s: %v", named(match)[0], err))))
			}
			return value
		})
	}
	for name, p := range all.Providers {
		p.Headers = mapped(p.Headers, put)
		all.Providers[name] = p
	}
	servers := map[string]providers.MCPServer{}
	for name, m := range all.MCPServers {
		m.Env, m.Headers, m.Args = mapped(m.Env, put), mapped(m.Headers, put), slices.Clone(m.Args)
		for i := range m.Args {
			m.Args[i] = put(m.Args[i])
		}
		m.OAuth = m.OAuth.WithSecret(put)
		servers[name] = m
	}
	all.MCPServers = servers
	return providers.Open(all, o)
}

// mapped is the map with f's values, nil if there are none.
func mapped(m map[string]string, f func(string) string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = f(v)
	}
	return out
}
