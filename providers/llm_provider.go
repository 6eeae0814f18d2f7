package providers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"gleitzeit/protocols"
)

// This file is what all providers of llm/v1 have in common. What differs is
// how a server is spoken to: its form.
//
//	task ─► readLLM ─► llmRequest ─► form.ask ─► llmAnswer ─► parsed? ─► result
//	                       ▲                                     │ no
//	                       └──── repair: the answer and why ─────┘

// llmForm is the way in which one kind of server is spoken to.
type llmForm interface {
	// fallback is the model for a method when neither task nor configuration
	// names one, "" for none.
	fallback(method string) string
	// refuse says what of the request such a server can't do.
	refuse(r *llmRequest) error
	// showsSchema tells whether the model sees what answer is wanted without
	// being told in words.
	showsSchema(r *llmRequest) bool
	// ask puts the request to the model and gathers its answer, of which an
	// error leaves what came before it.
	ask(ctx context.Context, r *llmRequest, header http.Header, answer *llmAnswer) error
	// embed turns texts into vectors.
	embed(ctx context.Context, r *llmRequest, header http.Header) (*llmVectors, error)
	// explain adds to a refusal what to do about it.
	explain(r *llmRequest, refusal *llmRefusal) *protocols.Error
	// look asks what the server is and has.
	look(ctx context.Context) (*llmLook, error)
}

// llmProvider is a provider of llm/v1.
type llmProvider struct {
	server *llmServer
	config ProviderConfig
	form   llmForm
}

// Call carries out one llm/v1 method.
func (p *llmProvider) Call(ctx context.Context, call Call, host Host) (json.RawMessage, error) {
	r, err := readLLM(call, p.model(call.Method))
	if err == nil && r.Model == "" {
		err = protocols.Errorf(protocols.TaskParameterError,
			"%s names no model, and the configuration of provider %s doesn't either", r.Method, p.server.provider)
	}
	if err == nil {
		err = p.form.refuse(r)
	}
	if err != nil {
		return nil, err
	}
	var result json.RawMessage
	if r.Method == "llm/embed" {
		result, err = p.embed(ctx, r, idempotency(call.Key, 0))
	} else {
		result, err = p.converse(ctx, r, call.Key, host)
	}
	return result, p.crossing(r, err)
}

// model is the one for a method when the task names none.
func (p *llmProvider) model(method string) string {
	if model := p.config.ModelByDefault(); model != "" {
		return model
	}
	return p.form.fallback(method)
}

// crossing leaves of an error what may cross the border.
func (p *llmProvider) crossing(r *llmRequest, err error) error {
	var refusal *llmRefusal
	if !errors.As(err, &refusal) {
		return err
	}
	e := p.form.explain(r, refusal)
	var spent *llmSpent
	if errors.As(err, &spent) {
		return spent.on(e)
	}
	return e
}

// structures tells Set.Call that answers are held to their schema, and
// streams to their idle timeout, here.
func (p *llmProvider) structures(method string) bool { return method != "llm/embed" }

// Close drops the idle connections.
func (p *llmProvider) Close() error { return p.server.Close() }

// embed turns texts into vectors, and counts what that costs.
func (p *llmProvider) embed(ctx context.Context, r *llmRequest, header http.Header) (json.RawMessage, error) {
	v, err := p.form.embed(ctx, r, header)
	if err != nil {
		return nil, err
	}
	prompt := believable(v.prompt)
	usage := llmUsage{Prompt: prompt, Total: prompt}
	usage.Cost = p.server.cost(r.Model, usage)
	return embedded(r, v, usage)
}

// idempotency is the header that tells a server of a call that it may have
// seen already. A repair is another call.
func idempotency(key string, round int) http.Header {
	header := http.Header{}
	if key == "" {
		return header
	}
	if round > 0 {
		key += fmt.Sprintf("-repair-%d", round)
	}
	header.Set("Idempotency-Key", headerKey(key))
	return header
}

// Model is a model that a server has.
type Model struct {
	Name   string `json:"name"`
	Size   int64  `json:"size,omitempty"`   // in bytes, where the server tells
	Family string `json:"family,omitempty"` // and what it tells besides: "llama 1.2B Q8_0"
}

// llmLook is what a server says of itself.
type llmLook struct {
	version  string // "" if it doesn't say
	models   []Model
	unlisted bool // it has no list of models
}

func (l *llmLook) names() []string {
	names := []string{}
	for _, m := range l.models {
		names = append(names, m.Name)
	}
	return names
}

// Models lists the models that the server has now.
func (p *llmProvider) Models(ctx context.Context) ([]Model, error) {
	look, err := p.form.look(ctx)
	if err != nil {
		return nil, asError(err)
	}
	if look.unlisted {
		return nil, protocols.Errorf(protocols.MethodNotSupported, "%s at %s lists no models", p.server.kind, p.server.address())
	}
	return look.models, nil
}

// Check asks for the version and the models. A server that lacks a configured
// model, or has none at all, is degraded; one that lists none is healthy.
func (p *llmProvider) Check(ctx context.Context) Health {
	started := time.Now()
	look, err := p.form.look(ctx)
	if err != nil {
		return Health{Status: "unhealthy", Message: err.Error(), Latency: time.Since(started)}
	}
	at := p.server.address()
	details := map[string]any{"url": at}
	h := Health{Status: "healthy", Latency: time.Since(started), Details: details}
	if look.version != "" {
		details["version"] = look.version
		at = p.server.kind + " " + look.version + " at " + at
	}
	if look.unlisted {
		h.Message = at + " answers, but lists no models"
		return h
	}
	names := look.names()
	missing := lacking(names, p.config.Wanted())
	details["models"], details["missing"] = names, missing
	h.Message = fmt.Sprintf("%s, %d models", at, len(names))
	if len(missing) == 0 && len(names) > 0 {
		return h
	}
	h.Status = "degraded"
	if len(missing) == 0 {
		if first := p.model("llm/chat"); first != "" {
			missing = []string{first}
		}
	}
	if len(missing) > 0 {
		h.Message += "; missing: " + strings.Join(missing, ", ")
		if hint := p.server.getHint(missing[0]); hint != "" {
			h.Message += "; get it with: " + hint
		}
	}
	return h
}

// lacking are those of the wanted models that there are not, never nil.
func lacking(there, wanted []string) []string {
	missing := []string{}
	for _, name := range wanted {
		if !slices.ContainsFunc(there, func(n string) bool { return SameModel(n, name) }) {
			missing = append(missing, name)
		}
	}
	return missing
}

// SameModel tells whether two names mean the same model: the tag "latest" goes
// without saying.
func SameModel(a, b string) bool { return untagged(a) == untagged(b) }

func untagged(name string) string { return strings.TrimSuffix(name, ":latest") }

// ModelByDefault is the model that a task gets which names none: the default, else
// the first that the provider has, else "" for the kind's own.
func (p ProviderConfig) ModelByDefault() string {
	switch {
	case p.Model != "":
		return p.Model
	case p.DefaultModel != "":
		return p.DefaultModel
	case len(p.Models) > 0:
		return p.Models[0]
	}
	return ""
}

// Wanted are the models that the configuration names, the default first.
func (p ProviderConfig) Wanted() []string {
	first := p.ModelByDefault()
	if first == "" {
		return nil
	}
	names := []string{first}
	for _, name := range p.Models {
		if name != first {
			names = append(names, name)
		}
	}
	return names
}
