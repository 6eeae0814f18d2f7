package providers

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"gleitzeit/protocols"
)

// FuzzLLMAnswer reads any bytes as an answer in each form: what isn't one is
// an error of a known kind, and what is one makes a result.
func FuzzLLMAnswer(f *testing.F) {
	f.Add([]byte(ollamaHello), "")
	f.Add([]byte(`data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{"}}]}}]}`+"\n\ndata: [DONE]\n\n"), "text/event-stream")
	f.Add([]byte(`{"choices":[{"message":{"content":"x","tool_calls":[{"function":{"name":"f","arguments":{}}}]},"finish_reason":"stop"}]}`), "")
	f.Add([]byte(`{"error":{"message":"x"}}`), "")
	f.Add([]byte(`data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"1","name":"give_answer"}}`+"\n\n"+
		`data: {"type":"content_block_delta","index":1,"delta":{"partial_json":"{}"}}`+"\n\ndata: {\"type\":\"message_stop\"}\n\n"), "text/event-stream")
	f.Add([]byte(`{"content":[{"type":"text","text":"x"},{"type":"tool_use","name":"f","input":{"a":1}}],"stop_reason":"tool_use"}`), "")
	base := &llmServer{kind: "S", base: mustParse(f, "http://s"), silence: maxSilence, limit: maxAnswer}
	f.Fuzz(func(t *testing.T, body []byte, media string) {
		for _, read := range []func(*llmStream, *llmAnswer) error{ollamaRead, openAIRead, anthropicPlain, anthropicAnswer} {
			_, stream := base.stream(t.Context(), "", llmPost{streams: true})
			stream.body, stream.kind = io.NopCloser(bytes.NewReader(body)), media
			answer := newAnswer(&llmRequest{Model: "m"}, &tokens{})
			err := read(stream, answer)
			var result []byte
			if err == nil {
				result, err = answer.result("p", &llmSpent{server: base})
			}
			stream.Close()
			if err == nil {
				members(t, result)
				continue
			}
			switch e, _ := err.(*protocols.Error); {
			case e == nil:
				t.Errorf("%T %v", err, err)
			case e.Code != protocols.ConnectionLost && e.Code != protocols.TaskResultInvalid && e.Code != protocols.ProviderUnhealthy && !strings.Contains(string(body), "error"):
				t.Errorf("%d %v", e.Code, e)
			}
		}
	})
}

func anthropicPlain(s *llmStream, a *llmAnswer) error { return anthropicRead(s, a, nil) }
func anthropicAnswer(s *llmStream, a *llmAnswer) error {
	return anthropicRead(s, a, []byte(`{"type":"array"}`))
}

// FuzzLLMParameters makes a request of any parameters, and of the request a
// body of either form.
func FuzzLLMParameters(f *testing.F) {
	f.Add("llm/chat", []byte(`{"messages":[{"role":"user","content":[1],"images":["aGk="],"tool_calls":[{"function":{"arguments":"{"}}]}],"stop":"x"}`))
	f.Add("llm/vision", []byte(`{"images":["data:x;base64,aGk="]}`))
	f.Add("llm/embed", []byte(`{"input":[1,null,"x"]}`))
	f.Fuzz(func(t *testing.T, method string, parameters []byte) {
		r, err := readLLM(Call{Method: method, Parameters: parameters}, "m")
		if err != nil {
			if _, is := err.(*protocols.Error); !is {
				t.Errorf("%T %v", err, err)
			}
			return
		}
		for _, body := range []any{ollamaBody(r), openAIBody(r), anthropicBody(r)} {
			if _, err := encode(body); err != nil {
				t.Error(err)
			}
		}
	})
}
