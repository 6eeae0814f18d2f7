package providers

import (
	"bufio"
	"encoding/json"
	"errors"
	"strings"
)

// This file reads what /v1/messages answers: server-sent events, or the whole
// message as one document from a server that doesn't stream.
//
//	{"type": "message_start", "message": {"model": …, "usage": {"input_tokens": 25}}}
//	{"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
//	{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "The"}}
//	{"type": "content_block_stop", "index": 0}
//	{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}}
//	{"type": "message_stop"}

// anthropicEvent is any of them.
type anthropicEvent struct {
	Type    string           `json:"type"`
	Message anthropicMessage `json:"message"`
	Index   int              `json:"index"`
	Block   anthropicBlock   `json:"content_block"`
	Delta   struct {
		Type    string `json:"type"`
		Text    string `json:"text"`
		Partial string `json:"partial_json"`
		Stop    string `json:"stop_reason"`
	} `json:"delta"`
	Usage anthropicUsage  `json:"usage"`
	Error json.RawMessage `json:"error"`
}

// anthropicMessage is a whole answer, or at its start one without content.
type anthropicMessage struct {
	Type    string           `json:"type"`
	Model   string           `json:"model"`
	Content []anthropicBlock `json:"content"`
	Stop    string           `json:"stop_reason"`
	Usage   anthropicUsage   `json:"usage"`
	Error   json.RawMessage  `json:"error"`
}

type anthropicBlock struct {
	Type  string          `json:"type"` // text, tool_use, thinking
	Text  string          `json:"text"`
	ID    string          `json:"id"`
	Name  string          `json:"name"`
	Input json.RawMessage `json:"input"`
}

// anthropicUsage has running totals. What is read from a cache or written to
// it isn't among the input tokens.
type anthropicUsage struct {
	Input  int `json:"input_tokens"`
	Write  int `json:"cache_creation_input_tokens"`
	Cached int `json:"cache_read_input_tokens"`
	Output int `json:"output_tokens"`
}

// anthropicStops are the reasons in llm/v1's words; others stay as they are.
var anthropicStops = map[string]string{
	"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls",
	"model_context_window_exceeded": "length", "refusal": "content_filter",
}

// anthropicReader gathers an answer.
type anthropicReader struct {
	*llmAnswer
	// format is a schema if the answer comes as the input of the tool for it.
	format json.RawMessage
	given  bool        // a piece of that input has come
	blocks map[int]int // places in ToolCalls by the index of the block; answerPlace for the answer
}

const answerPlace = -1

// anthropicRead takes in the answer in whichever form it comes.
func anthropicRead(stream *llmStream, answer *llmAnswer, format json.RawMessage) error {
	r := &anthropicReader{llmAnswer: answer, format: format, blocks: map[int]int{}}
	if !strings.HasPrefix(stream.kind, "text/event-stream") {
		var whole anthropicMessage
		if err := stream.document(&whole); err != nil {
			return err
		}
		return r.whole(stream, &whole)
	}
	events := sseReader{lines: bufio.NewReader(stream)}
	for {
		data, err := events.next()
		if err != nil {
			return stream.failed(err)
		}
		var e anthropicEvent
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return stream.garbage(err)
		}
		if err := r.take(stream, &e); err != nil {
			return err
		}
		if e.Type == "message_stop" {
			r.end()
			return nil
		}
		if r.begun() {
			stream.begin()
		}
	}
}

// take adds an event to the answer. Unknown ones, and pings, add nothing.
func (r *anthropicReader) take(stream *llmStream, e *anthropicEvent) error {
	switch e.Type {
	case "error":
		return stream.complaint(e.Error)
	case "message_start":
		r.head(&e.Message)
	case "content_block_start":
		return r.start(stream, e.Index, &e.Block)
	case "content_block_delta":
		r.thought = r.thought || e.Delta.Type == "thinking_delta"
		r.add(e.Delta.Text)
		r.input(e.Index, e.Delta.Partial)
	case "message_delta":
		r.stop(e.Delta.Stop)
		r.count(e.Usage)
	}
	return nil
}

func (r *anthropicReader) head(m *anthropicMessage) {
	if m.Model != "" {
		r.Model = m.Model
	}
	r.count(m.Usage)
}

// count takes totals; some events have only one of them.
func (r *anthropicReader) count(u anthropicUsage) {
	r.Prompt = max(r.Prompt, u.Input+u.Write+u.Cached)
	r.Completion = max(r.Completion, u.Output)
}

func (r *anthropicReader) stop(reason string) {
	if reason == "" {
		return
	}
	if known, is := anthropicStops[reason]; is {
		reason = known
	}
	if reason == "tool_calls" && len(r.ToolCalls) == 0 {
		reason = "stop" // the answer's own tool
	}
	r.Finish = reason
}

// start begins a block.
func (r *anthropicReader) start(stream *llmStream, index int, b *anthropicBlock) error {
	switch {
	case b.Type == "tool_use" && hasSchema(r.format) && b.Name == answerName:
		r.blocks[index] = answerPlace
	case b.Type == "tool_use":
		if len(r.ToolCalls) == maxToolCalls {
			return stream.garbage(errors.New("it has too many tool calls"))
		}
		r.blocks[index] = len(r.ToolCalls)
		c := llmToolCall{ID: b.ID}
		c.Function.Name = b.Name
		r.ToolCalls = append(r.ToolCalls, c)
	default:
		r.add(b.Text)
	}
	return nil
}

// input adds a piece of a tool's input, of which the answer may be one.
func (r *anthropicReader) input(index int, piece string) {
	place, is := r.blocks[index]
	switch {
	case !is || piece == "":
	case place == answerPlace:
		r.answer(piece)
	default:
		text, _ := json.Marshal(piece) // a string always can be
		f := &r.ToolCalls[place].Function
		f.Arguments = joined(f.Arguments, text)
	}
}

// answer takes a piece of the answer's JSON. What the model said before it
// is not the answer.
func (r *anthropicReader) answer(piece string) {
	if !r.given {
		r.given = true
		r.content.Reset()
	}
	r.add(piece)
}

// end takes the answer out of the map around it.
func (r *anthropicReader) end() {
	if r.given && wrapped(r.format) {
		text := unwrap(r.content.String())
		r.content.Reset()
		r.content.WriteString(text)
	}
}

// whole takes an answer that came as one document.
func (r *anthropicReader) whole(stream *llmStream, m *anthropicMessage) error {
	switch {
	case len(m.Error) > 0:
		return stream.complaint(m.Error)
	case m.Content == nil:
		return stream.garbage(errors.New("it has no content"))
	}
	r.head(m)
	for i, b := range m.Content {
		if err := r.start(stream, i, &b); err != nil {
			return err
		}
		if b.Type == "tool_use" {
			r.input(i, string(b.Input))
		}
	}
	r.stop(m.Stop)
	r.end()
	return nil
}
