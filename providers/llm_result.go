package providers

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"gleitzeit/protocols"
)

// This file gathers a model's answer while it comes and writes it in the form
// of language.md, "Results".

// llmAnswer is what a server answered so far.
type llmAnswer struct {
	Model      string
	Finish     string // stop, length, tool_calls, content_filter
	ToolCalls  []llmToolCall
	Prompt     int // tokens
	Completion int // tokens
	// Total is the time that the server says it took, zero if it doesn't.
	Total time.Duration
	// Parsed is the JSON that the answer is, if it has to be some.
	Parsed json.RawMessage

	thought bool // the model has begun to think, of which nothing is kept
	content strings.Builder
	host    Host

	mu      sync.Mutex      // of what is shown
	pending strings.Builder // not shown yet
	pieces  int
	shown   time.Time
	later   *time.Timer // shows what is pending when nothing more comes
}

// showEvery is how often the growing text is shown.
const showEvery = 100 * time.Millisecond

func newAnswer(r *llmRequest, host Host) *llmAnswer {
	return &llmAnswer{Model: r.Model, host: host}
}

// add takes the next piece of text, and shows it: a little later, if something
// was shown just now.
func (a *llmAnswer) add(text string) {
	if text == "" {
		return
	}
	a.content.WriteString(text)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending.WriteString(text)
	a.pieces++
	if wait := showEvery - time.Since(a.shown); wait <= 0 {
		a.showPending()
	} else if a.later == nil {
		a.later = time.AfterFunc(wait, a.show)
	}
}

// begun tells whether the model has begun to answer.
func (a *llmAnswer) begun() bool { return a.pieces > 0 || a.thought || len(a.ToolCalls) > 0 }

// show shows what hasn't been shown. When the call has ended it is the last to.
func (a *llmAnswer) show() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.showPending()
}

// showPending does so. The caller holds mu.
func (a *llmAnswer) showPending() {
	if a.later != nil {
		a.later.Stop()
		a.later = nil
	}
	if a.pending.Len() == 0 {
		return
	}
	a.host.Progress(Progress{Stream: "tokens", Message: a.pending.String(), Tokens: a.pieces})
	a.pending.Reset()
	a.shown = time.Now()
}

// result is what llm/chat, llm/complete and llm/vision return. tokens_used
// (the answer's) and total_duration (nanoseconds) are for old files.
func (a *llmAnswer) result(provider string, spent *llmSpent) (json.RawMessage, error) {
	took := time.Since(spent.started)
	if a.Total == 0 {
		a.Total = took
	}
	for i := range a.ToolCalls {
		if a.ToolCalls[i].Function.Name == "" {
			return nil, protocols.Errorf(protocols.TaskResultInvalid, "the model called a tool without naming it")
		}
		a.ToolCalls[i].settle(i)
	}
	if len(a.ToolCalls) > 0 && (a.Finish == "" || a.Finish == "stop") {
		a.Finish = "tool_calls"
	}
	if a.Finish == "" {
		a.Finish = "stop"
	}
	content := a.content.String()
	return encode(struct {
		Response      string          `json:"response"`
		Content       string          `json:"content"`
		Role          string          `json:"role"`
		Model         string          `json:"model"`
		Provider      string          `json:"provider"`
		Usage         llmUsage        `json:"usage"`
		FinishReason  string          `json:"finish_reason"`
		DurationMS    int64           `json:"duration_ms"`
		ToolCalls     []llmToolCall   `json:"tool_calls,omitempty"`
		Parsed        json.RawMessage `json:"parsed,omitempty"`
		TokensUsed    int             `json:"tokens_used"`
		TotalDuration int64           `json:"total_duration"`
	}{content, content, "assistant", a.Model, provider, spent.usage(),
		a.Finish, took.Milliseconds(), a.ToolCalls, a.Parsed, spent.completion, a.Total.Nanoseconds()})
}

// settle gives a tool call what not every server gives: an id, a type, and
// arguments that are an object rather than a text that holds one.
func (c *llmToolCall) settle(i int) {
	if c.ID == "" {
		c.ID = fmt.Sprintf("call_%d", i)
	}
	c.Type = "function"
	c.Function.Arguments = c.Function.object()
}

// object returns the arguments as an object, where they are one.
func (f llmToolFunction) object() json.RawMessage {
	var text string
	if json.Unmarshal(f.Arguments, &text) == nil {
		if text = strings.TrimSpace(text); text == "" {
			return json.RawMessage("{}")
		}
		if json.Valid([]byte(text)) {
			return json.RawMessage(text)
		}
	}
	if len(f.Arguments) == 0 {
		return json.RawMessage("{}")
	}
	return f.Arguments
}

// text returns the arguments as the text that OpenAI's form wants.
func (f llmToolFunction) text() json.RawMessage {
	var text string
	if json.Unmarshal(f.Arguments, &text) == nil {
		return f.Arguments
	}
	quoted, _ := json.Marshal(string(f.object())) // a string always can be
	return quoted
}

// llmVectors are the embeddings that a server made.
type llmVectors struct {
	model  string
	list   []json.RawMessage
	prompt int // tokens
}

// embedded is what llm/embed returns: one embedding, or as many as were asked
// for as a list.
func embedded(r *llmRequest, v *llmVectors, usage llmUsage) (json.RawMessage, error) {
	vectors := v.list
	if len(vectors) != len(r.Inputs) {
		return nil, protocols.Errorf(protocols.TaskResultInvalid,
			"%d embeddings came for %d texts", len(vectors), len(r.Inputs))
	}
	dimensions := 0
	for i, v := range vectors {
		var numbers []float64
		if err := json.Unmarshal(v, &numbers); err != nil || len(numbers) == 0 {
			return nil, protocols.Errorf(protocols.TaskResultInvalid, "embedding %d is not a list of numbers", i)
		}
		dimensions = len(numbers)
	}
	result := map[string]any{
		"model": v.model, "dimensions": dimensions, "usage": usage,
	}
	if r.Many {
		result["embeddings"] = vectors
	} else {
		result["embedding"] = vectors[0]
	}
	return encode(result)
}
