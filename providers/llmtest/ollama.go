package llmtest

import "encoding/json"

// This file writes answers as Ollama does: one JSON object a line.

var (
	ollamaChat     = wire{"application/x-ndjson", nil, func(q Request, reply Reply) []string { return ollamaPieces(q, reply, chatLine) }}
	ollamaGenerate = wire{"application/x-ndjson", nil, func(q Request, reply Reply) []string { return ollamaPieces(q, reply, generateLine) }}
)

func chatLine(line map[string]any, word string, calls []any) {
	message := map[string]any{"role": "assistant", "content": word}
	if calls != nil {
		message["tool_calls"] = calls
	}
	line["message"] = message
}

func generateLine(line map[string]any, word string, _ []any) { line["response"] = word }

func ollamaPieces(q Request, reply Reply, put func(line map[string]any, word string, calls []any)) []string {
	var list []string
	add := func(line map[string]any, word string, calls []any) {
		line["model"] = q.Model
		put(line, word, calls)
		list = append(list, text(line)+"\n")
	}
	for _, word := range words(reply.Text) {
		add(map[string]any{"done": false}, word, nil)
	}
	for _, c := range reply.ToolCalls {
		add(map[string]any{"done": false}, "", []any{map[string]any{
			"function": map[string]any{"name": c.Name, "arguments": json.RawMessage(c.Arguments)}}})
	}
	reason := "stop"
	if reply.Cut {
		reason = "length"
	}
	add(map[string]any{"done": true, "done_reason": reason, "prompt_eval_count": promptTokens, "eval_count": count(reply)}, "", nil)
	return list
}
