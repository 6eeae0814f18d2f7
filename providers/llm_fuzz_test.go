package providers

import (
	"bytes"
	"io"
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
	base := &llmServer{kind: "S", base: mustParse(f, "http://s"), silence: maxSilence}
	f.Fuzz(func(t *testing.T, body []byte, media string) {
		for _, read := range []func(*llmStream, *llmAnswer) error{ollamaRead, openAIRead} {
			_, stream := base.stream(t.Context(), "")
			stream.body, stream.kind = io.NopCloser(bytes.NewReader(body)), media
			answer := newAnswer(&llmRequest{Model: "m"}, &tokens{})
			err := read(stream, answer)
			var result []byte
			if err == nil {
				result, err = answer.result("p")
			}
			stream.Close()
			if err == nil {
				members(t, result)
				continue
			}
			switch e, _ := err.(*protocols.Error); {
			case e == nil:
				t.Errorf("%T %v", err, err)
			case e.Code != protocols.ConnectionLost && e.Code != protocols.TaskResultInvalid && e.Code != protocols.ProviderUnhealthy:
				t.Errorf("%d %v", e.Code, e)
			}
		}
	})
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
		for _, body := range []any{ollamaBody(r), openAIBody(r)} {
			if _, err := encode(body); err != nil {
				t.Error(err)
			}
		}
	})
}
