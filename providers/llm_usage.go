package providers

import (
	"encoding/json"
	"errors"
	"path"
	"strings"
	"time"

	"gleitzeit/protocols"
)

// This file counts what calls cost: tokens, and dollars where the
// configuration has a price.

// Price is what a million tokens cost, in US dollars.
type Price struct {
	Input  float64 `json:"input" yaml:"input"`
	Output float64 `json:"output" yaml:"output"`
}

// llmUsage counts tokens.
type llmUsage struct {
	Prompt     int      `json:"prompt_tokens"`
	Completion *int     `json:"completion_tokens,omitempty"` // nil for embed
	Total      int      `json:"total_tokens"`
	Cost       *float64 `json:"cost_usd,omitempty"` // nil: nobody knows the price
	// Estimated tells that the call broke off before the server had counted:
	// the pieces of the answer were counted instead.
	Estimated bool `json:"estimated,omitempty"`
}

// priceOf finds a model's price: its own name before patterns, and a longer
// pattern before a shorter one. Equally long ones go by the alphabet.
func priceOf(table map[string]Price, model string) (price Price, found bool) {
	if price, found = table[model]; found {
		return price, true
	}
	best := ""
	for pattern, p := range table {
		fits, err := path.Match(flat(pattern), flat(model))
		if err != nil || !fits || found && (len(pattern) < len(best) || len(pattern) == len(best) && pattern > best) {
			continue
		}
		price, best, found = p, pattern, true
	}
	return price, found
}

// flat keeps path.Match from taking a model's name for a path.
func flat(name string) string { return strings.ReplaceAll(name, "/", "\x00") }

// cost is what the usage costs, nil if there is no price for the model. The
// provider's own table comes before the one for all.
func (s *llmServer) cost(model string, u llmUsage) *float64 {
	for _, table := range []map[string]Price{s.prices, s.sharedPrices} {
		if price, found := priceOf(table, model); found {
			completion := 0
			if u.Completion != nil {
				completion = *u.Completion
			}
			usd := (float64(u.Prompt)*price.Input + float64(completion)*price.Output) / 1e6
			return &usd
		}
	}
	return nil
}

// llmSpent is what the rounds of one call came to so far. As an error it is
// the one that ended the call.
type llmSpent struct {
	server     *llmServer
	model      string
	started    time.Time
	prompt     int
	completion int
	estimated  bool
	partial    string // what came of the last answer
	err        error
}

// add counts an answer. Of one that broke off the pieces count, if they are
// more than the server had counted.
func (s *llmSpent) add(a *llmAnswer, broken bool) {
	completion := a.Completion
	if broken && a.pieces > completion {
		completion, s.estimated = a.pieces, true
	}
	s.prompt += believable(a.Prompt)
	s.completion += believable(completion)
	s.partial = a.content.String()
}

// believable is a number of tokens that a server says, within reason: what
// counts budgets must not wrap around, nor run backwards.
func believable(tokens int) int {
	const most = 1_000_000_000
	return min(max(tokens, 0), most)
}

func (s *llmSpent) usage() llmUsage {
	u := llmUsage{Prompt: s.prompt, Completion: &s.completion, Total: s.prompt + s.completion, Estimated: s.estimated}
	u.Cost = s.server.cost(s.model, u)
	return u
}

func (s *llmSpent) Error() string { return s.err.Error() }

// Unwrap gives the error that ended the call.
func (s *llmSpent) Unwrap() error { return s.err }

// by is the error of a call that broke off. A refusal has yet to be explained.
func (s *llmSpent) by(err error) error {
	var refusal *llmRefusal
	var e *protocols.Error
	switch {
	case errors.As(err, &refusal):
		s.err = err
		return s
	case errors.As(err, &e):
		return s.on(e)
	}
	return err
}

// on adds to an error's data the usage, and of the answer what came: partial.
func (s *llmSpent) on(e *protocols.Error) *protocols.Error {
	if s.prompt+s.completion == 0 && s.partial == "" {
		return e
	}
	data := map[string]any{}
	if len(e.Data) > 0 && json.Unmarshal(e.Data, &data) != nil {
		return e
	}
	data["usage"] = s.usage()
	if s.partial != "" {
		key, _ := s.server.key() // without one there would have been no call
		data["partial"] = s.server.scrub(s.partial, key)
	}
	return e.With(data)
}
