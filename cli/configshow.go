package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// configCmd is about the configuration.
type configCmd struct {
	Show configShowCmd `cmd:"" help:"Show the effective configuration and where each value came from."`
}

// configShowCmd shows it.
type configShowCmd struct {
	Near string `arg:"" optional:"" help:"A workflow file or folder: the configuration beside it counts." placeholder:"FILE"`
}

// Help shows how it is used.
func (configShowCmd) Help() string {
	return `Flags beat the environment, the environment beats gleitzeit.yaml beside the workflow
(else in the working folder), and that beats the user's own file. Values that may be
secret are not shown.

Examples:

	gleitzeit config show
	gleitzeit config show flows/report.yaml -o json`
}

// Run does it.
func (c *configShowCmd) Run(s *session) error {
	if s.remote() != "" {
		return s.showServers(c.Near)
	}
	dir := ""
	if c.Near != "" {
		dir = s.env.expand(c.Near, s.env.cwd)
		if info, err := os.Stat(dir); err != nil {
			return usage(err)
		} else if !info.IsDir() {
			dir = filepath.Dir(dir)
		}
	}
	conf, err := s.config(dir)
	if err != nil {
		return err
	}
	return s.showSettings(conf.shown())
}

// showServers shows the configuration of the server that we use.
func (s *session) showServers(near string) error {
	if near != "" {
		return usage(fmt.Errorf("the server at %s has a configuration of its own, which is not about %s: leave that out, or --server and GLEITZEIT_SERVER", s.remote(), near))
	}
	return s.look(func(ctx context.Context, store *client.Client) error {
		var r server.SettingsResult
		if err := store.Call(ctx, server.SystemConfig, struct{}{}, &r); err != nil {
			return err
		}
		return s.showSettings(r.Settings)
	})
}

func (s *session) showSettings(shown []server.Setting) error {
	return s.print.show(shown, func(w io.Writer) {
		rows := [][]string{{"KEY", "FROM", "VALUE"}}
		for _, one := range shown {
			rows = append(rows, []string{one.Key, one.Origin, line(textOfAny(one.Value), 1000)})
		}
		table(w, rows)
	})
}

func textOfAny(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if replay.IsText(raw) {
		return replay.Text(raw)
	}
	return string(raw)
}

// shown lists all keys, without secrets.
func (c *config) shown() []server.Setting {
	list := []server.Setting{}
	add := func(key string, value any) {
		origin := firstOf(c.origin[key], "default")
		list = append(list, server.Setting{Key: key, Value: value, Origin: origin})
	}
	add("store", c.Store)
	add("backend", c.Backend)
	add("sqlite_path", c.SQLitePath)
	add("redis_url", withoutPassword(c.RedisURL))
	add("host", c.Host)
	add("port", c.Port)
	add("hosts", append([]string{}, c.Hosts...))
	add("origins", append([]string{}, c.Origins...))
	add("token_required", c.TokenRequired)
	add("tls_cert", c.TLSCert)
	add("tls_key", c.TLSKey)
	add("mcp_folder", c.MCPFolder)
	add("log_level", c.LogLevel)
	add("log_format", c.LogFormat)
	add("otlp_endpoint", c.OTLPEndpoint)
	add("slots", c.Slots)
	add("queue_size", c.QueueSize)
	if c.Retention != (retention{}) {
		add("retention", c.Retention)
	}
	if len(c.Queues) > 0 {
		add("queues", c.Queues)
	}
	add("crash_limit", c.CrashLimit)
	add("idempotency_ttl", c.IdempotencyTTL)
	add("grace", c.Grace)
	add("schedule_grace", c.ScheduleGrace)
	add("default_timeout", c.DefaultTimeout)
	add("roots", append([]string{}, c.Roots...))
	add("secrets", c.Secrets)
	add("age_identity", c.AgeIdentity)
	add("mock", c.Mock)
	if len(c.Prices) > 0 {
		add("prices", c.Prices)
	}
	all := c.addressed()
	for _, name := range sortedNames(all.Providers) {
		add("providers."+name, discreetProvider(all.Providers[name]))
	}
	for _, name := range sortedNames(all.MCPServers) {
		add("mcpServers."+name, discreetServer(all.MCPServers[name]))
	}
	return list
}

// hidden stands for what is not shown.
const hidden = "(not shown)"

// discreetProvider is p without what may be secret.
func discreetProvider(p providers.ProviderConfig) providers.ProviderConfig {
	p.URL, p.Proxy = withoutPassword(p.URL), withoutPassword(p.Proxy)
	p.Headers = hiddenValues(p.Headers)
	p.Mocks = nil // long, and in a file of its own
	return p
}

// discreetServer is m without what may be secret.
func discreetServer(m providers.MCPServer) providers.MCPServer {
	m.Env, m.Headers, m.URL = hiddenValues(m.Env), hiddenValues(m.Headers), withoutPassword(m.URL)
	m.OAuth = m.OAuth.WithSecret(func(string) string { return hidden })
	args := make([]string, len(m.Args))
	for i, arg := range m.Args {
		args[i] = arg
		name, _, found := strings.Cut(arg, "=")
		if secret := mayBeSecret(name); found && secret {
			args[i] = name + "=" + hidden
		} else if i > 0 && strings.HasPrefix(m.Args[i-1], "-") && mayBeSecret(m.Args[i-1]) {
			args[i] = hidden
		}
	}
	m.Args = args
	return m
}

// mayBeSecret tells whether a name is that of a secret.
func mayBeSecret(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"key", "token", "secret", "pass", "auth", "credential"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

func hiddenValues(m map[string]string) map[string]string {
	if m == nil {
		return nil
	}
	names := map[string]string{}
	for name := range m {
		names[name] = hidden
	}
	return names
}

// withoutPassword shows an address without what logs in.
func withoutPassword(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return hidden
	}
	if u.User == nil {
		return address
	}
	u.User = url.User("hidden")
	return u.String()
}
