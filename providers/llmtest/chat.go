package llmtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// chat answers as one document or, if asked, as server-sent events, one per
// word.
func (s *Server) chat(w http.ResponseWriter, r *http.Request, q Request, fault Fault) {
	reply := Reply{Text: Fibonacci}
	if s.Answer != nil {
		reply = s.Answer(q)
	}
	if !q.Stream {
		write(w, whole(q, reply))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for i, piece := range pieces(q, reply) {
		if !wait(r, fault.Pause) {
			s.gone()
			return
		}
		if i == fault.After && s.spoil(w, r, fault) {
			return
		}
		fmt.Fprintf(w, "data: %s\n\n", piece)
		w.(http.Flusher).Flush()
	}
}

// spoil does what the fault says and tells whether that was the end.
func (s *Server) spoil(w http.ResponseWriter, r *http.Request, fault Fault) bool {
	if fault.Garbage != "" {
		fmt.Fprint(w, fault.Garbage)
		w.(http.Flusher).Flush()
	}
	if fault.Cut {
		panic(http.ErrAbortHandler)
	}
	if fault.Hang {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		s.gone()
	}
	return fault.Hang
}

func (s *Server) gone() {
	if s.Gone != nil {
		s.Gone()
	}
}

// wait tells whether the client is still there after the pause.
func wait(r *http.Request, pause time.Duration) bool {
	if pause == 0 {
		return r.Context().Err() == nil
	}
	select {
	case <-time.After(pause):
		return true
	case <-r.Context().Done():
		return false
	}
}

// pieces are the data of the events of a streamed answer.
func pieces(q Request, reply Reply) []string {
	var list []string
	add := func(v any) {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		list = append(list, string(b))
	}
	delta := func(v any, finish any) {
		add(map[string]any{"model": q.Model, "choices": []any{
			map[string]any{"index": 0, "delta": v, "finish_reason": finish}}})
	}
	for _, word := range strings.SplitAfter(reply.Text, " ") {
		delta(map[string]any{"content": word}, nil)
	}
	for i, c := range reply.ToolCalls {
		half := len(c.Arguments) / 2
		delta(map[string]any{"tool_calls": []any{toolCall(i, c.Name, c.Arguments[:half])}}, nil)
		delta(map[string]any{"tool_calls": []any{toolCall(i, "", c.Arguments[half:])}}, nil)
	}
	delta(map[string]any{}, finish(reply))
	add(map[string]any{"model": q.Model, "choices": []any{}, "usage": usage(reply)})
	return append(list, "[DONE]")
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

func whole(q Request, reply Reply) any {
	message := map[string]any{"role": "assistant", "content": reply.Text}
	var calls []any
	for i, c := range reply.ToolCalls {
		calls = append(calls, toolCall(i, c.Name, c.Arguments))
	}
	if calls != nil {
		message["tool_calls"] = calls
	}
	return map[string]any{"model": q.Model, "usage": usage(reply), "choices": []any{
		map[string]any{"index": 0, "message": message, "finish_reason": finish(reply)}}}
}

func finish(reply Reply) string {
	if len(reply.ToolCalls) > 0 {
		return "tool_calls"
	}
	return "stop"
}

// usage counts words as tokens, and three for any prompt.
func usage(reply Reply) map[string]int {
	n := len(strings.Fields(reply.Text))
	return map[string]int{"prompt_tokens": 3, "completion_tokens": n, "total_tokens": 3 + n}
}
