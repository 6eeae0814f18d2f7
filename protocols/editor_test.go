package protocols

import "testing"

// TestSchemaRefuses: an editor marks what Compile refuses, where it can.
// (TestCompile sees that it accepts what Compile accepts.)
func TestSchemaRefuses(t *testing.T) {
	editors := editorSchema(t)
	for _, text := range []string{
		`{}`,
		`{"tasks":[]}`,
		`{"nam":"x","tasks":[{"name":"a","method":"echo/echo"}]}`,
		`{"tasks":[{"name":"a"}]}`,
		`{"tasks":[{"name":"a","method":"echo/echo","if":1}]}`,
		`{"tasks":[{"name":"a","method":"echo/echo","priority":"soon"}]}`,
		`{"tasks":[{"name":"a","method":"echo/echo","retry":{"attempts":3}}]}`,
		`{"tasks":[{"name":"a","method":"llm/chat","with":{"prompt":"x","temperature":"hot"}}]}`,
		`{"steps":[{"name":"a","uses":"llm/chat","params":{"messages":[{"role":"robot","content":"x"}]}}]}`,
		`{"tasks":[{"name":"a","method":"python/execute","parameters":{"code":"x","cod":"y"}}]}`,
		`{"inputs":{"a":{"type":"str"}},"tasks":[{"name":"a","method":"echo/echo"}]}`,
		`{"batch":{"dir":"x"},"template":{"prompt":"x"}}`,
	} {
		if editors.Validate(decoded([]byte(text))) == nil {
			t.Errorf("%s is accepted", text)
		}
	}
	good := `{"steps":[{"name":"a","uses":"llm/chat","params":{"prompt":"x","temperature":"${inputs.t}"}}],"version":1,"inputs":{"t":null}}`
	if err := editors.Validate(decoded([]byte(good))); err != nil {
		t.Error(err)
	}
}
