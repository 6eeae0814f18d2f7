package providers

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// This file reads what /chat/completions answers: server-sent events, or one
// document from a server that doesn't stream. Both have the same parts.
//
//	data: {"model": …, "choices": [{"delta": {"content": "The"}}]}
//	data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}
//	data: {"choices": [], "usage": {…}}
//	data: [DONE]

// openAIChunk is an event's document, or the whole answer.
type openAIChunk struct {
	Model   string `json:"model"`
	Choices []struct {
		Delta   openAIDelta `json:"delta"`
		Message openAIDelta `json:"message"` // instead of delta when not streamed
		Finish  string      `json:"finish_reason"`
	} `json:"choices"`
	Usage *struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
	} `json:"usage"`
	Error json.RawMessage `json:"error"` // instead of all else
}

type openAIDelta struct {
	Content   string           `json:"content"`
	ToolCalls []openAIToolCall `json:"tool_calls"`
	Reasoning string           `json:"reasoning_content"`
}

// openAIRead takes in the answer in whichever form it comes.
func openAIRead(stream *llmStream, answer *llmAnswer) error {
	if !strings.HasPrefix(stream.kind, "text/event-stream") {
		var whole openAIChunk
		if err := stream.document(&whole); err != nil {
			return err
		}
		if len(whole.Choices) == 0 && len(whole.Error) == 0 {
			return stream.garbage(errors.New("it has no choices"))
		}
		return answer.take(stream, &whole)
	}
	events := sseReader{lines: bufio.NewReader(stream)}
	for {
		data, err := events.next()
		if errors.Is(err, io.EOF) && answer.Finish != "" {
			return nil // no [DONE], but nothing is missing
		}
		if err != nil {
			return stream.failed(err)
		}
		if data == "[DONE]" {
			return nil
		}
		var chunk openAIChunk
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			return stream.garbage(err)
		}
		if err := answer.take(stream, &chunk); err != nil {
			return err
		}
		if answer.begun() {
			stream.begin()
		}
	}
}

// take adds a chunk to the answer.
func (a *llmAnswer) take(stream *llmStream, chunk *openAIChunk) error {
	if len(chunk.Error) > 0 && string(chunk.Error) != "null" {
		return stream.complaint(chunk.Error)
	}
	if chunk.Model != "" {
		a.Model = chunk.Model
	}
	if chunk.Usage != nil {
		a.Prompt, a.Completion = chunk.Usage.Prompt, chunk.Usage.Completion
	}
	if len(chunk.Choices) == 0 {
		return nil
	}
	choice := chunk.Choices[0] // only one was asked for
	if choice.Finish != "" {
		a.Finish = choice.Finish
	}
	for _, d := range []openAIDelta{choice.Delta, choice.Message} {
		a.add(d.Content)
		a.thought = a.thought || d.Reasoning != ""
		for _, piece := range d.ToolCalls {
			if err := a.addToolCall(piece); err != nil {
				return stream.garbage(err)
			}
		}
	}
	return nil
}

// maxToolCalls is how many tool calls one answer may hold.
const maxToolCalls = 1000

// addToolCall adds a piece to the call with its index, or a whole new call.
func (a *llmAnswer) addToolCall(piece openAIToolCall) error {
	at := len(a.ToolCalls)
	if piece.Index != nil {
		at = *piece.Index
	}
	if at < 0 || at >= maxToolCalls {
		return errors.New("a tool call's index is out of range")
	}
	for len(a.ToolCalls) <= at {
		a.ToolCalls = append(a.ToolCalls, llmToolCall{})
	}
	c := &a.ToolCalls[at]
	if piece.ID != "" {
		c.ID = piece.ID
	}
	c.Function.Name += piece.Function.Name
	c.Function.Arguments = joined(c.Function.Arguments, piece.Function.Arguments)
	return nil
}

// joined puts two pieces of arguments together: texts end to end; an object,
// which some servers send, stands for itself.
func joined(first, second json.RawMessage) json.RawMessage {
	var a, b string
	if json.Unmarshal(first, &a) != nil && len(first) > 0 {
		return first
	}
	if len(second) == 0 {
		return first
	}
	if json.Unmarshal(second, &b) != nil {
		return second
	}
	text, _ := json.Marshal(a + b) // a string always can be
	return text
}

// sseReader reads server-sent events and keeps of them the data.
type sseReader struct{ lines *bufio.Reader }

// next returns the data of the next event that has any. An event that the
// stream's end cuts off is io.ErrUnexpectedEOF, unless it is [DONE], after
// which not every server ends the line.
func (r *sseReader) next() (string, error) {
	var data []string
	for {
		line, err := r.lines.ReadString('\n')
		if err != nil && err != io.EOF {
			return "", err
		}
		text := strings.TrimRight(line, "\r\n")
		if value, is := strings.CutPrefix(text, "data:"); is {
			data = append(data, strings.TrimPrefix(value, " "))
		}
		switch {
		case err == nil && text == "" && data != nil:
			return strings.Join(data, "\n"), nil
		case err == nil:
		case len(data) == 1 && data[0] == "[DONE]":
			return data[0], nil
		case line != "" || data != nil:
			return "", io.ErrUnexpectedEOF
		default:
			return "", io.EOF
		}
	}
}
