package cli

import (
	"fmt"
	"strconv"
	"strings"

	"gleitzeit/providers"
)

// variable is an environment variable that sets a key.
type variable struct {
	name string
	key  string
	now  string // the name that it has now, "" if name is that
	set  func(c *config, env *environment, value string) error
}

// variables is the table of all there are: first the seed's names, then the
// original's others, which are taken with a notice unless the new one is set.
// A text that doesn't fit is an error, an empty one counts as not set.
func variables() []variable {
	store := func(c *config, env *environment, v string) error { c.Store = env.expand(v, env.cwd); return nil }
	sqlite := func(c *config, env *environment, v string) error { c.SQLitePath = env.expand(v, env.cwd); return nil }
	redis := func(c *config, _ *environment, v string) error { c.RedisURL = v; return nil }
	identity := func(c *config, env *environment, v string) error { c.AgeIdentity = env.expand(v, env.cwd); return nil }
	mock := func(c *config, env *environment, v string) error { c.Mock = env.expand(v, env.cwd); return nil }
	host := func(c *config, _ *environment, v string) error { c.Host = v; return nil }
	port := func(c *config, _ *environment, v string) error { return whole(&c.Port, v) }
	folder := func(c *config, env *environment, v string) error { c.MCPFolder = env.expand(v, env.cwd); return nil }
	format := func(c *config, _ *environment, v string) error { c.LogFormat = v; return nil }
	otlp := func(c *config, _ *environment, v string) error { c.OTLPEndpoint = v; return nil }
	slots := func(c *config, _ *environment, v string) error { return whole(&c.Slots, v) }
	timeout := func(c *config, _ *environment, v string) error { return c.DefaultTimeout.UnmarshalText([]byte(v)) }
	return []variable{
		{"GLEITZEIT_STORE", "store", "", store},
		{"GLEITZEIT_BACKEND", "backend", "", setBackend},
		{"GLEITZEIT_SQLITE_PATH", "sqlite_path", "", sqlite},
		{"GLEITZEIT_REDIS_URL", "redis_url", "", redis},
		{"GLEITZEIT_HOST", "host", "", host},
		{"GLEITZEIT_PORT", "port", "", port},
		{"GLEITZEIT_MCP_FOLDER", "mcp_folder", "", folder},
		{"GLEITZEIT_LOG_LEVEL", "log_level", "", setLogLevel},
		{"GLEITZEIT_LOG_FORMAT", "log_format", "", format},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "otlp_endpoint", "", otlp},
		{"GLEITZEIT_MAX_CONCURRENT_TASKS", "slots", "", slots},
		{"GLEITZEIT_DEFAULT_TIMEOUT", "default_timeout", "", timeout},
		{"GLEITZEIT_AGE_IDENTITY", "age_identity", "", identity},
		{"GLEITZEIT_MOCK", "mock", "", mock},
		{"OLLAMA_HOST", "providers.ollama", "", setOllama},

		{"GLEITZEIT_PERSISTENCE_BACKEND", "backend", "GLEITZEIT_BACKEND", setBackend},
		{"GLEITZEIT_DEBUG", "log_level", "GLEITZEIT_LOG_LEVEL=debug", setDebug},
		{"GLEITZEIT_OLLAMA_URL", "providers.ollama", "OLLAMA_HOST", setOllama},
	}
}

// readEnvironment takes what the environment says.
func (c *config) readEnvironment(env *environment) error {
	said := map[string]string{}
	for _, v := range variables() {
		value := env.get(v.name)
		if value == "" {
			continue
		}
		if v.now != "" {
			if newer := said[v.key]; newer != "" {
				c.notices = append(c.notices, fmt.Sprintf("%s is ignored: %s is set", v.name, newer))
				continue
			}
			c.notices = append(c.notices, fmt.Sprintf("%s is an old name: use %s", v.name, v.now))
		}
		if err := v.set(c, env, value); err != nil {
			return usage(fmt.Errorf("%s: %w", v.name, err))
		}
		c.origin[v.key], said[v.key] = v.name, v.name
	}
	return nil
}

func whole(to *int, text string) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%q must be a whole number", text)
	}
	*to = n
	return nil
}

// setBackend also takes the original's word for a store in memory.
func setBackend(c *config, _ *environment, v string) error {
	c.Backend = strings.ToLower(v)
	if c.Backend == "none" {
		c.Backend = "memory"
	}
	return nil
}

// setLogLevel also takes Python's names.
func setLogLevel(c *config, _ *environment, v string) error {
	c.LogLevel = strings.ToLower(v)
	switch c.LogLevel {
	case "warning":
		c.LogLevel = "warn"
	case "critical":
		c.LogLevel = "error"
	}
	return nil
}

func setDebug(c *config, _ *environment, v string) error {
	on, err := strconv.ParseBool(strings.ToLower(v))
	if err != nil {
		return fmt.Errorf("%q must be true or false", v)
	}
	if on {
		c.LogLevel = "debug"
	}
	return nil
}

// setOllama gives the provider named ollama its address.
func setOllama(c *config, _ *environment, v string) error {
	c.ollama = v
	_, err := providers.OllamaURL(v)
	return err
}
