package cli

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
	"gleitzeit/scheduler"
)

// configName is the name of a configuration file.
const configName = "gleitzeit.yaml"

// config is the effective configuration: defaults, then files, then the
// environment, then flags, each beating those before it.
type config struct {
	settings
	// origin says where each key that isn't a default came from, by its path
	// ("slots", "providers.local").
	origin map[string]string
	// notices are for people: old names, and the like.
	notices []string
	// ollama is the address of the provider of that name, if the environment
	// gives one.
	ollama string
	mocks  *providers.Mocks // what stands in the file Mock; nil if there is none
}

// settings are the keys of gleitzeit.yaml.
type settings struct {
	Store          string                              `yaml:"store"`
	Backend        string                              `yaml:"backend"`
	SQLitePath     string                              `yaml:"sqlite_path"`
	RedisURL       string                              `yaml:"redis_url"`
	Host           string                              `yaml:"host"`
	Port           int                                 `yaml:"port"`
	Hosts          []string                            `yaml:"hosts"`
	Origins        []string                            `yaml:"origins"`
	TokenRequired  bool                                `yaml:"token_required"`
	TLSCert        string                              `yaml:"tls_cert"`
	TLSKey         string                              `yaml:"tls_key"`
	MCPFolder      string                              `yaml:"mcp_folder"`
	LogLevel       string                              `yaml:"log_level"`
	LogFormat      string                              `yaml:"log_format"`
	OTLPEndpoint   string                              `yaml:"otlp_endpoint"`
	Slots          int                                 `yaml:"slots"`
	Retention      retention                           `yaml:"retention"`
	QueueSize      int                                 `yaml:"queue_size"`
	Queues         map[string]queueSettings            `yaml:"queues"`
	CrashLimit     int                                 `yaml:"crash_limit"`
	IdempotencyTTL duration                            `yaml:"idempotency_ttl"`
	Grace          duration                            `yaml:"grace"`
	ScheduleGrace  duration                            `yaml:"schedule_grace"`
	DefaultTimeout duration                            `yaml:"default_timeout"`
	Roots          []string                            `yaml:"roots"`
	Secrets        map[string]string                   `yaml:"secrets"`
	AgeIdentity    string                              `yaml:"age_identity"`
	Providers      map[string]providers.ProviderConfig `yaml:"providers"`
	MCPServers     map[string]providers.MCPServer      `yaml:"mcpServers"`
	Prices         map[string]providers.Price          `yaml:"prices"`
	Mock           string                              `yaml:"mock"`
}

// queueSettings bound a named queue.
type queueSettings struct {
	Slots int `yaml:"slots" json:"slots,omitempty"` // attempts at once of its runs; 0: no bound
	Size  int `yaml:"size" json:"size,omitempty"`   // runs that wait for their first task to start; 0: queue_size
}

// policy is what the scheduler goes by.
func (c *config) policy() scheduler.Policy {
	p := scheduler.Policy{ScheduleGrace: time.Duration(c.ScheduleGrace), Slots: c.Slots, CrashLimit: c.CrashLimit,
		KeyLife: time.Duration(c.IdempotencyTTL), QueueSize: c.QueueSize, Queues: map[string]scheduler.Queue{}}
	for name, q := range c.Queues {
		p.Queues[name] = scheduler.Queue(q)
	}
	return p
}

// duration is written as a number of seconds or as Go writes it.
type duration time.Duration

// UnmarshalText reads it.
func (d *duration) UnmarshalText(b []byte) error {
	if n, err := strconv.ParseFloat(string(b), 64); err == nil {
		b = []byte(strconv.FormatFloat(n, 'f', -1, 64) + "s")
	}
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 {
		return fmt.Errorf(`%q must be a number of seconds or a duration such as "90s" or "2m"`, b)
	}
	*d = duration(v)
	return nil
}

// MarshalText writes it.
func (d duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// defaults is the configuration when nobody said anything.
func defaults(env *environment) settings {
	s := settings{Backend: "pebble", Host: "127.0.0.1", Port: 8765, LogLevel: "warn", LogFormat: "text", Slots: scheduler.DefaultSlots, QueueSize: scheduler.DefaultQueueSize,
		CrashLimit: scheduler.DefaultCrashLimit, Grace: duration(10 * time.Second), ScheduleGrace: duration(scheduler.DefaultScheduleGrace),
		IdempotencyTTL: duration(scheduler.DefaultKeyLife)}
	if folder := env.stateFolder(); folder != "" {
		s.Store = filepath.Join(folder, "store")
	}
	return s
}

// loadConfig makes the effective configuration for a command about the
// workflow in dir ("" for none). Its errors are about what a person wrote.
func loadConfig(env *environment, g *globals, dir string) (*config, error) {
	c := &config{settings: defaults(env), origin: map[string]string{}}
	files, err := configFiles(env, g, dir)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if err := c.readFile(env, file); err != nil {
			return nil, err
		}
	}
	if err := c.readEnvironment(env); err != nil {
		return nil, err
	}
	if err := c.readFlags(env, g); err != nil {
		return nil, err
	}
	c.place(env)
	c.nameEnvironment()
	if err := c.readMocks(env); err != nil {
		return nil, err
	}
	return c, c.check()
}

// place finds the store's folder where nobody has said it: each backend has its
// own, a file of SQLite's has one beside it, and each Redis another one.
func (c *config) place(env *environment) {
	folder := env.stateFolder()
	switch {
	case c.origin["store"] != "":
	case c.Backend == "sqlite" && c.SQLitePath != "":
		c.Store = c.SQLitePath + ".d"
	case c.Backend == "sqlite" && folder != "":
		c.Store = filepath.Join(folder, "store-sqlite")
	case c.Backend == "redis" && folder != "":
		sum := sha256.Sum256([]byte(withoutPassword(c.RedisURL)))
		c.Store = filepath.Join(folder, fmt.Sprintf("store-redis-%x", sum[:6]))
	}
}

// configFiles lists the files that there are, the one that wins last.
func configFiles(env *environment, g *globals, dir string) ([]string, error) {
	if named := firstOf(g.Config, env.get("GLEITZEIT_CONFIG")); named != "" {
		return []string{env.expand(named, env.cwd)}, nil
	}
	var files []string
	near := []string{env.cwd}
	if dir != "" {
		near = []string{dir, env.cwd}
	}
	for _, folder := range near {
		found, err := isFile(filepath.Join(folder, configName))
		if err != nil {
			return nil, err
		}
		if found {
			files = append(files, filepath.Join(folder, configName))
			break
		}
	}
	if folder := env.configFolder(); folder != "" {
		own := filepath.Join(folder, configName)
		found, err := isFile(own)
		if err != nil {
			return nil, err
		}
		if found && !slices.Contains(files, own) {
			files = append([]string{own}, files...)
		}
	}
	return files, nil
}

// isFile tells whether there is a file; that one may not look is an error.
func isFile(path string) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for the configuration: %w", err)
	}
	return !info.IsDir(), nil
}

// readFlags takes what was said on the command line.
func (c *config) readFlags(env *environment, g *globals) error {
	if g.Store != "" {
		c.Store, c.origin["store"] = env.expand(g.Store, env.cwd), "--store"
	}
	if g.Backend != "" {
		c.origin["backend"] = "--backend"
		if err := setBackend(c, env, g.Backend); err != nil {
			return err
		}
	}
	if g.SQLitePath != "" {
		c.SQLitePath, c.origin["sqlite_path"] = env.expand(g.SQLitePath, env.cwd), "--sqlite-path"
	}
	if g.Mock != "" {
		c.Mock, c.origin["mock"] = env.expand(g.Mock, env.cwd), "--mock"
	}
	if g.RedisURL != "" {
		c.RedisURL, c.origin["redis_url"] = g.RedisURL, "--redis-url"
	}
	if g.LogLevel != "" {
		c.LogLevel, c.origin["log_level"] = g.LogLevel, "--log-level"
	}
	return nil
}

// check refuses what can't work, all of it at once.
func (c *config) check() error {
	var wrong []error
	report := func(key, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("%s%s: %s", c.where(key), key, fmt.Sprintf(format, args...)))
	}
	switch c.Backend {
	case "pebble", "sqlite", "memory":
	case "redis":
		if c.RedisURL == "" {
			report("backend", "redis needs redis_url: where it is")
		}
	default:
		report("backend", "%q must be pebble, sqlite, redis or memory", c.Backend)
	}
	if c.RedisURL != "" {
		if _, err := eventlog.ParseRedisURL(c.RedisURL); err != nil {
			report("redis_url", "%v", err)
		}
	}
	if c.Store == "" && c.Backend != "memory" {
		report("store", "no home folder to keep it in: give it with --store DIR")
	}
	if !slices.Contains(logLevels, c.LogLevel) {
		report("log_level", "%q must be one of %s", c.LogLevel, strings.Join(logLevels, ", "))
	}
	if err := checkOTLP(c.OTLPEndpoint); err != nil {
		report("otlp_endpoint", "%v", err)
	}
	if !slices.Contains(logFormats, c.LogFormat) {
		report("log_format", "%q must be one of %s", c.LogFormat, strings.Join(logFormats, ", "))
	}
	if c.Slots < 1 {
		report("slots", "%d must be at least 1", c.Slots)
	}
	if c.QueueSize < 1 {
		report("queue_size", "%d must be at least 1", c.QueueSize)
	}
	for _, name := range sortedNames(c.Queues) {
		if q := c.Queues[name]; name == "" || q.Slots < 0 || q.Size < 0 {
			report("queues", "%q: slots and size must be at least 1 where they are given", name)
		}
	}
	if c.Retention.Runs < 0 {
		report("retention", "runs: %d must be at least 1", c.Retention.Runs)
	}
	if c.CrashLimit < 0 {
		report("crash_limit", "%d must be 0 (no limit) or more", c.CrashLimit)
	}
	if c.ScheduleGrace <= 0 {
		report("schedule_grace", "it must be more than 0")
	}
	if c.Port < 0 || c.Port > 65535 {
		report("port", "%d must be 0 to 65535", c.Port)
	}
	wrong = append(wrong, c.checkSecrets()...)
	if err := c.providers().Validate(); err != nil {
		for _, text := range strings.Split(err.Error(), "\n") {
			wrong = append(wrong, fmt.Errorf("%s%s", c.where(text), text))
		}
	}
	return usage(errors.Join(wrong...))
}

// where returns the beginning of a message about a key: its place, if it came
// from somewhere. What follows the key in the text doesn't matter.
func (c *config) where(text string) string {
	best := ""
	for key := range c.origin {
		if len(key) > len(best) && strings.HasPrefix(text, key) {
			best = key
		}
	}
	if best == "" {
		return ""
	}
	return c.origin[best] + ": "
}

// providers returns the part that the providers understand, as written.
func (c *config) providers() providers.Config {
	return providers.Config{Providers: c.Providers, MCPServers: c.MCPServers, Roots: c.Roots, Prices: c.Prices, Mocks: c.mocks}
}

// addressed returns the part that the providers understand, with the address
// that the environment gives. It says where Ollama is in any case: whoever
// carries the run out may live in another environment.
func (c *config) addressed() providers.Config {
	all := c.providers().Complete()
	if p := all.Providers["ollama"]; p.Kind == "ollama" {
		p.URL = firstOf(c.ollama, p.URL, ollamaDefault)
		all.Providers["ollama"] = p
	}
	return all
}

// ollamaDefault is where Ollama listens unless told otherwise.
const ollamaDefault = "http://127.0.0.1:11434"

// setup returns what a run is submitted with. An address from the environment
// doesn't change the order in which providers are preferred.
func (c *config) setup() replay.Setup {
	all := c.addressed()
	s := replay.Setup{Config: all.Canonical(), Secrets: c.Secrets}
	for _, info := range c.providers().List() {
		p := slots(info, all)
		p.Secrets = c.secretsOf(info)
		s.Providers = append(s.Providers, p)
	}
	return s
}

// slots is what the core needs to know of a provider.
func slots(info providers.Info, all providers.Config) replay.ProviderSlots {
	p := replay.ProviderSlots{Name: info.Name, Protocol: info.Protocol, Slots: info.Slots, ID: all.Identity(info.Name),
		ByName: info.ByName, Spare: info.Spare, Model: info.Model, Models: info.Models, ModelSlots: info.ModelSlots, Mock: info.Mock,
		Cluster: info.Cluster}
	if info.Kind == "remote" { // it has workers for each of its protocols
		p.Remote, p.ID = true, p.ID+" "+info.Protocol
	}
	if r := info.Rate; r != nil {
		p.Rate = &replay.Rate{N: int64(r.Calls), Per: r.Per, Burst: int64(max(info.Burst, 1))}
	}
	if r := info.TokenRate; r != nil {
		p.TokenRate = &replay.Rate{N: int64(r.Calls), Per: r.Per, Burst: int64(max(r.Calls/10, 1))}
	}
	if b := info.Pool; b != nil {
		p.Pool = &replay.Pool{Min: b.Min, Max: b.Max, Up: b.Up, Down: b.Down, Cooldown: b.Cooldown}
	}
	if b := info.Breaker; b != nil {
		p.Breaker = &replay.Breaker{Failures: b.Failures, Open: b.Open, Successes: b.Successes}
	}
	return p
}

// logFormats are the ways to write a line.
var logFormats = []string{"text", "json"}

// logLevels are the names of the levels, in the order of growing silence.
var logLevels = []string{"debug", "info", "warn", "error"}

// firstOf returns the first text that isn't empty.
func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// unknownKey is the problem of a key that there is not.
func unknownKey(file string, line, col int, key string, known []string) protocols.Problem {
	return protocols.Problem{File: file, Line: line, Col: col, Text: fmt.Sprintf("unknown key %q", key),
		Hint: protocols.Suggest(key, known)}
}

// sortedNames returns a map's keys in order.
func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
