package providers

import (
	"context"
	"encoding/json"
	"time"
)

// Provider carries out the calls of one protocol.
type Provider interface {
	// Call carries out one method call and returns its result, a JSON value
	// in the form that language.md ("Results") gives for the method.
	// It returns promptly once ctx has ended, having stopped the work: no
	// child process, connection or goroutine outlives the call.
	// Its errors are *protocols.Error; any other is taken as
	// TASK_EXECUTION_FAILED. When ctx ended by its deadline the caller turns
	// whatever error came into TASK_TIMEOUT, when cancelled into TASK_CANCELLED.
	// Call may be called from many goroutines at once.
	Call(ctx context.Context, call Call, host Host) (json.RawMessage, error)
	// Check asks whether the provider could work now.
	Check(ctx context.Context) Health
	// Close stops everything that the provider started and waits for it.
	// It is called once, after the last Call has returned.
	Close() error
}

// Call is one attempt's work.
type Call struct {
	Method string // canonical, e.g. "python/execute"
	// Parameters is a JSON object that passed the method's schema.
	Parameters json.RawMessage
	// Bindings are values that stand behind placeholders in parameters that
	// are source code (protocols.Substituted).
	Bindings map[string]json.RawMessage
	// File returns the bytes of a file that was captured when the run was
	// submitted. It reports false for a name that was not.
	File func(name string) ([]byte, bool, error)
	// Env is the task's own environment (env of workflow and task), for
	// children; nothing else of ours is passed on to them but what the
	// configuration names.
	Env map[string]string
	// Dir is the workflow's folder, "" if it doesn't exist here.
	Dir string
	// Roots are the folders below which paths computed during the run may be
	// read; Dir is always one of them.
	Roots []string
	// Key is the idempotency key: the same for a retry of an attempt whose
	// outcome is unknown, another after a known outcome.
	Key string
	// OutputSchema is the JSON Schema that the result must fit, {} for any
	// JSON, nil for none (protocols.Task). Set.Call holds every result to it;
	// a model is told it, too.
	OutputSchema json.RawMessage
	// IdleTimeout bounds how long the call may show no sign of life, zero for
	// no bound. Set.Call takes each Progress for one; a model's provider
	// whatever its server sends.
	IdleTimeout time.Duration
	// Rejoin tells that an earlier process gave the call to a worker: it is not
	// begun again, and has no parameters.
	Rejoin  bool
	Run     string // the run's id, for messages and traces
	Task    string // the task's id
	Attempt int    // from 1
	// Trace is the attempt's place in a distributed trace, as traceparent has it,
	// for whoever is called; "" for none.
	Trace string
}

// Host is what a provider may ask of its caller while a call lasts.
type Host interface {
	// Progress shows something live. It never blocks, may be dropped, and is
	// not a fact.
	Progress(Progress)
	// Ask asks a person something and returns when that has been answered, or
	// with an error when ctx has ended. A later attempt of the task that asks
	// the same gets the same answer at once. The answer is what the person
	// said, held to the schema. A caller who knows no person answers Cancel.
	Ask(ctx context.Context, q Question) (Answer, error)
	// Sample asks a language model something on the call's behalf; what that
	// costs counts as the call's. Whoever asks has looked whether that is
	// allowed.
	Sample(ctx context.Context, s Sample) (json.RawMessage, error)
}

// Question is what a call wants to know of a person.
type Question struct {
	Message string
	// Schema is the JSON Schema of the answer, mostly of an object with plain
	// values; nil asks for yes or no.
	Schema json.RawMessage
	From   string // who asks, for people: the name of an MCP server
}

// Answer is what came of a question.
type Answer struct {
	Action  Action          `json:"action"`
	Content json.RawMessage `json:"content,omitempty"` // of what was accepted, if there was a schema
}

// Action is what a person did with a question.
type Action string

// The actions.
const (
	Accept  Action = "accept"
	Decline Action = "decline"
	Cancel  Action = "cancel" // there was nobody to decide
)

// Sample is a question to a language model.
type Sample struct {
	Provider string // its name in the configuration
	// Parameters are those of llm/chat.
	Parameters json.RawMessage
}

// Progress is a provisional sign of life.
type Progress struct {
	Message string `json:"message,omitempty"` // a line of text
	Stream  string `json:"stream,omitempty"`  // stdout, stderr, tokens
	Tokens  int    `json:"tokens,omitempty"`  // so far
}

// Health is the answer of Check.
type Health struct {
	Status  string        `json:"status"` // healthy, degraded, unhealthy
	Message string        `json:"message,omitempty"`
	Latency time.Duration `json:"-"`
	Details any           `json:"details,omitempty"` // e.g. models, tools
}

// Config is the providers' part of the configuration, as `gleitzeit.yaml`
// has it. Its JSON form is canonical: equal configurations have equal hashes.
type Config struct {
	// Providers by name. Those of DefaultConfig are there unless overridden.
	Providers map[string]ProviderConfig `json:"providers,omitempty" yaml:"providers"`
	// MCPServers in the form that MCP users know.
	MCPServers map[string]MCPServer `json:"mcpServers,omitempty" yaml:"mcpServers"`
	// Roots are further folders below which computed paths may be read.
	Roots []string `json:"roots,omitempty" yaml:"roots"`
	// Prices of models by name or pattern ("gpt-5*"), for providers that have
	// none of their own for a model.
	Prices map[string]Price `json:"prices,omitempty" yaml:"prices"`
	// Mocks answer instead of all providers of the protocols that they cover.
	Mocks *Mocks `json:"mocks,omitempty" yaml:"-"`
}

// ProviderConfig describes one named provider.
type ProviderConfig struct {
	Kind    string            `json:"kind" yaml:"kind"`                   // a row of kindTable
	URL     string            `json:"url,omitempty" yaml:"url"`           // of an LLM server
	KeyEnv  string            `json:"key_env,omitempty" yaml:"key_env"`   // name of the variable that holds the API key
	Headers map[string]string `json:"headers,omitempty" yaml:"headers"`   // openai
	Model   string            `json:"model,omitempty" yaml:"model"`       // used when a task names none
	Models  []string          `json:"models,omitempty" yaml:"models"`     // that it has; empty: any
	Slots   int               `json:"slots,omitempty" yaml:"slots"`       // calls at once; 0: the kind's default
	Command string            `json:"command,omitempty" yaml:"command"`   // python: the interpreter
	PassEnv []string          `json:"pass_env,omitempty" yaml:"pass_env"` // python: variables handed to children
	Warm    *bool             `json:"warm,omitempty" yaml:"warm"`         // python: whether an interpreter is kept that forks; nil: yes
	Timeout string            `json:"timeout,omitempty" yaml:"timeout"`   // of one request
	Python  string            `json:"python,omitempty" yaml:"python"`     // python: a virtual environment, instead of Command
	// Requirements are what every call of kind python needs to be installed.
	Requirements []string      `json:"requirements,omitempty" yaml:"requirements"`
	Sandbox      SandboxConfig `json:"sandbox,omitzero" yaml:"sandbox"` // python

	Protocols []string `json:"protocols,omitempty" yaml:"protocols"` // mock, remote: that it speaks
	Grace     string   `json:"grace,omitempty" yaml:"grace"`         // remote: how long a worker may be away
	Script    string   `json:"script,omitempty" yaml:"script"`       // mock: the file of its answers
	Mocks     *Mocks   `json:"mocks,omitempty" yaml:"-"`             // mock: what stands in that file

	Rate       string         `json:"rate,omitempty" yaml:"rate"`               // calls that may begin, e.g. 60/m
	Burst      int            `json:"burst,omitempty" yaml:"burst"`             // of those, how many at once
	TokenRate  string         `json:"token_rate,omitempty" yaml:"token_rate"`   // ollama, openai: tokens in a time
	ModelSlots map[string]int `json:"model_slots,omitempty" yaml:"model_slots"` // ollama, openai: calls at once of a model
	Breaker    *BreakerConfig `json:"breaker,omitempty" yaml:"breaker"`
	Pool       *PoolConfig    `json:"pool,omitempty" yaml:"pool"`   // instead of slots
	Scope      string         `json:"scope,omitempty" yaml:"scope"` // of these bounds: cluster or partition; "": partition

	// For kind http.

	Allow       []string `json:"allow,omitempty" yaml:"allow"`               // hosts and addresses that are not of the public internet
	Proxy       string   `json:"proxy,omitempty" yaml:"proxy"`               // "" for none, "environment" for HTTP_PROXY and so on
	MaxRequest  string   `json:"max_request,omitempty" yaml:"max_request"`   // size of a body
	MaxResponse string   `json:"max_response,omitempty" yaml:"max_response"` // of one that becomes a result
	MaxFile     string   `json:"max_file,omitempty" yaml:"max_file"`         // of one that is written to a file

	// The rest is for LLM servers.

	DefaultModel string           `json:"default_model,omitempty" yaml:"default_model"` // Model by its other name
	KeyHeader    string           `json:"key_header,omitempty" yaml:"key_header"`       // that the key stands in; "": the kind's own
	APIVersion   string           `json:"api_version,omitempty" yaml:"api_version"`     // the query's api-version, as Azure wants it
	Prices       map[string]Price `json:"prices,omitempty" yaml:"prices"`               // before Config.Prices
	// FirstTokenTimeout bounds the time until the answer begins, "" for
	// IdleTimeout, and that a silence, "" for ten minutes.
	FirstTokenTimeout string `json:"first_token_timeout,omitempty" yaml:"first_token_timeout"`
	IdleTimeout       string `json:"idle_timeout,omitempty" yaml:"idle_timeout"`
}

// MCPServer describes one MCP server: one that is started (Command) or one
// that is reached over HTTP (URL).
type MCPServer struct {
	Type    string            `json:"type,omitempty" yaml:"type"` // stdio, http, sse; "": by what else there is
	Command string            `json:"command,omitempty" yaml:"command"`
	Args    []string          `json:"args,omitempty" yaml:"args"`
	Env     map[string]string `json:"env,omitempty" yaml:"env"`
	Cwd     string            `json:"cwd,omitempty" yaml:"cwd"`
	URL     string            `json:"url,omitempty" yaml:"url"`
	Headers map[string]string `json:"headers,omitempty" yaml:"headers"`
	Timeout string            `json:"timeout,omitempty" yaml:"timeout"` // of one call
	Slots   int               `json:"slots,omitempty" yaml:"slots"`     // calls at once; 0: the kind's default
	OAuth   *MCPOAuth         `json:"oauth,omitempty" yaml:"oauth"`     // for a login at URL

	// What it may ask of us.

	Elicitation *bool    `json:"elicitation,omitempty" yaml:"elicitation"` // a person; nil: yes
	Sampling    any      `json:"sampling,omitempty" yaml:"sampling"`       // a model: true, or the provider's name; nil: no
	MaxTokens   int      `json:"max_tokens,omitempty" yaml:"max_tokens"`   // of a model's answer, at most; 0: 4096
	Roots       []string `json:"roots,omitempty" yaml:"roots"`             // folders that it is told of
}
