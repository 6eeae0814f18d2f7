package llmtest

import (
	"encoding/json"
	"fmt"
)

// This file writes answers as OpenAI's chat completions are.

var openAI = wire{"text/event-stream", openAIWhole, openAIPieces}

// openAIPieces are the events of a streamed answer.
func openAIPieces(q Request, reply Reply) []string {
	var list []string
	add := func(v any) { list = append(list, "data: "+text(v)+"\n\n") }
	delta := func(v any, finish any) {
		add(map[string]any{"model": q.Model, "choices": []any{
			map[string]any{"index": 0, "delta": v, "finish_reason": finish}}})
	}
	for _, word := range words(reply.Text) {
		delta(map[string]any{"content": word}, nil)
	}
	for i, c := range reply.ToolCalls {
		half := len(c.Arguments) / 2
		delta(map[string]any{"tool_calls": []any{toolCall(i, c.Name, c.Arguments[:half])}}, nil)
		delta(map[string]any{"tool_calls": []any{toolCall(i, "", c.Arguments[half:])}}, nil)
	}
	delta(map[string]any{}, openAIFinish(reply))
	add(map[string]any{"model": q.Model, "choices": []any{}, "usage": openAIUsage(reply)})
	return append(list, "data: [DONE]\n\n")
}

// toolCall is a call's first piece if it has a name, else a later one.
func toolCall(i int, name, arguments string) map[string]any {
	c := map[string]any{"index": i, "function": map[string]string{"arguments": arguments}}
	if name != "" {
		c["id"], c["type"] = fmt.Sprintf("call_test_%d", i), "function"
		c["function"] = map[string]string{"name": name, "arguments": arguments}
	}
	return c
}

func openAIWhole(q Request, reply Reply) any {
	message := map[string]any{"role": "assistant", "content": reply.Text}
	var calls []any
	for i, c := range reply.ToolCalls {
		calls = append(calls, toolCall(i, c.Name, c.Arguments))
	}
	if calls != nil {
		message["tool_calls"] = calls
	}
	return map[string]any{"model": q.Model, "usage": openAIUsage(reply), "choices": []any{
		map[string]any{"index": 0, "message": message, "finish_reason": openAIFinish(reply)}}}
}

func openAIFinish(reply Reply) string {
	switch {
	case reply.Cut:
		return "length"
	case len(reply.ToolCalls) > 0:
		return "tool_calls"
	}
	return "stop"
}

func openAIUsage(reply Reply) map[string]int {
	n := count(reply)
	return map[string]int{"prompt_tokens": promptTokens, "completion_tokens": n, "total_tokens": promptTokens + n}
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}
