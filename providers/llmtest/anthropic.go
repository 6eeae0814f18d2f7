package llmtest

import (
	"encoding/json"
	"fmt"
)

// This file writes answers as Anthropic's messages are. A tool that has to be
// called is called with the reply's text, if that is JSON, as its input.

var anthropic = wire{"text/event-stream", anthropicWhole, anthropicPieces}

// forced returns the name of the tool that must be called, if the reply says
// nothing of tools itself.
func forced(q Request, reply Reply) string {
	var choice struct{ Type, Name string }
	if len(reply.ToolCalls) > 0 || len(q.ToolChoice) == 0 || json.Unmarshal(q.ToolChoice, &choice) != nil || choice.Type != "tool" {
		return ""
	}
	return choice.Name
}

// anthropicBlocks are the blocks of an answer.
func anthropicBlocks(q Request, reply Reply) (blocks []map[string]any) {
	if name := forced(q, reply); name != "" && json.Valid([]byte(reply.Text)) {
		return []map[string]any{{"type": "tool_use", "id": "toolu_answer", "name": name, "input": json.RawMessage(reply.Text)}}
	}
	if reply.Text != "" {
		blocks = append(blocks, map[string]any{"type": "text", "text": reply.Text})
	}
	for i, c := range reply.ToolCalls {
		blocks = append(blocks, map[string]any{"type": "tool_use", "id": fmt.Sprintf("toolu_test_%d", i), "name": c.Name,
			"input": json.RawMessage(c.Arguments)})
	}
	return blocks
}

func anthropicWhole(q Request, reply Reply) any {
	return map[string]any{"type": "message", "role": "assistant", "model": q.Model, "content": anthropicBlocks(q, reply),
		"stop_reason": anthropicStop(q, reply), "usage": map[string]int{"input_tokens": promptTokens, "output_tokens": count(reply)}}
}

func anthropicStop(q Request, reply Reply) string {
	switch {
	case reply.Cut:
		return "max_tokens"
	case len(reply.ToolCalls) > 0 || forced(q, reply) != "":
		return "tool_use"
	}
	return "end_turn"
}

// anthropicPieces are the events of a streamed answer, a ping among them.
func anthropicPieces(q Request, reply Reply) []string {
	var list []string
	add := func(kind string, v map[string]any) {
		v["type"] = kind
		list = append(list, "event: "+kind+"\ndata: "+text(v)+"\n\n")
	}
	add("message_start", map[string]any{"message": map[string]any{"type": "message", "role": "assistant", "model": q.Model,
		"content": []any{}, "usage": map[string]int{"input_tokens": promptTokens, "output_tokens": 1}}})
	add("ping", map[string]any{})
	for i, b := range anthropicBlocks(q, reply) {
		delta := func(v map[string]any) { add("content_block_delta", map[string]any{"index": i, "delta": v}) }
		if b["type"] == "text" {
			add("content_block_start", map[string]any{"index": i, "content_block": map[string]any{"type": "text", "text": ""}})
			for _, word := range words(reply.Text) {
				delta(map[string]any{"type": "text_delta", "text": word})
			}
		} else {
			input := string(b["input"].(json.RawMessage))
			b["input"] = map[string]any{}
			add("content_block_start", map[string]any{"index": i, "content_block": b})
			half := len(input) / 2
			delta(map[string]any{"type": "input_json_delta", "partial_json": input[:half]})
			delta(map[string]any{"type": "input_json_delta", "partial_json": input[half:]})
		}
		add("content_block_stop", map[string]any{"index": i})
	}
	add("message_delta", map[string]any{"delta": map[string]any{"stop_reason": anthropicStop(q, reply)},
		"usage": map[string]int{"output_tokens": count(reply)}})
	add("message_stop", map[string]any{})
	return list
}
