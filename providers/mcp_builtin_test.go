package providers

import (
	"testing"

	"gleitzeit/protocols"
)

// The results are those that the Python original gave.
func TestMCPBuiltinTools(t *testing.T) {
	s := openSet(t, Config{})
	tests := []struct{ tool, params, want string }{
		{"echo", `{"message":"häi"}`, `{"response":"häi","echoed":true,"length":3}`},
		{"echo", `{}`, `{"response":"","echoed":true,"length":0}`},
		{"echo", `{"arguments":{"message":"x"}}`, `{"response":"x","echoed":true,"length":1}`},
		{"add", `{"a":1,"b":2}`, `{"response":"3","result":3,"calculation":"1 + 2 = 3"}`},
		{"add", `{"a":2.5,"b":1}`, `{"response":"3.5","result":3.5,"calculation":"2.5 + 1 = 3.5"}`},
		{"add", `{"a":2.5,"b":1.5}`, `{"response":"4.0","result":4.0,"calculation":"2.5 + 1.5 = 4.0"}`},
		{"add", `{}`, `{"response":"0","result":0,"calculation":"0 + 0 = 0"}`},
		{"add", `{"a":-1}`, `{"response":"-1","result":-1,"calculation":"-1 + 0 = -1"}`},
		{"add", `{"a":0.1,"b":0.2}`, `{"response":"0.30000000000000004","result":0.30000000000000004,"calculation":"0.1 + 0.2 = 0.30000000000000004"}`},
		{"add", `{"a":99999999999999999999,"b":1}`, `{"response":"100000000000000000000","result":100000000000000000000,"calculation":"99999999999999999999 + 1 = 100000000000000000000"}`},
		{"add", `{"a":1e16,"b":0}`, `{"response":"1e+16","result":1e+16,"calculation":"1e+16 + 0 = 1e+16"}`},
		{"add", `{"a":1e15,"b":0}`, `{"response":"1000000000000000.0","result":1000000000000000.0,"calculation":"1000000000000000.0 + 0 = 1000000000000000.0"}`},
		{"add", `{"a":0.00001,"b":0}`, `{"response":"1e-05","result":1e-05,"calculation":"1e-05 + 0 = 1e-05"}`},
		{"add", `{"a":0.0001,"b":0}`, `{"response":"0.0001","result":0.0001,"calculation":"0.0001 + 0 = 0.0001"}`},
		{"multiply", `{"a":3,"b":4}`, `{"response":"12","result":12,"calculation":"3 * 4 = 12"}`},
		{"multiply", `{"a":3.5,"b":2}`, `{"response":"7.0","result":7.0,"calculation":"3.5 * 2 = 7.0"}`},
		{"multiply", `{}`, `{"response":"1","result":1,"calculation":"1 * 1 = 1"}`},
		{"concat", `{"strings":["a","b"]}`, `{"response":"a b","joined":true,"count":2}`},
		{"concat", `{"strings":["a",1,2.0,true,null],"separator":"-"}`, `{"response":"a-1-2.0-True-None","joined":true,"count":5}`},
		{"concat", `{}`, `{"response":"","joined":true,"count":0}`},
		{"concat", `{"strings":"abc"}`, `{"response":"abc","joined":true,"count":1}`},
		{"concat", `{"strings":[]}`, `{"response":"","joined":true,"count":0}`},
	}
	for _, test := range tests {
		got, err := s.Call(t.Context(), "mcp", Call{Method: "mcp/tool." + test.tool, Parameters: []byte(test.params)}, nil)
		if err != nil || string(got) != test.want {
			t.Errorf("%s %s: %s, %v\nwant %s", test.tool, test.params, got, err, test.want)
		}
	}
	for _, params := range []string{`{"a":"1"}`, `{"a":true}`, `{"b":null}`, `{"a":[]}`, `{"a":1e999}`} {
		_, err := s.Call(t.Context(), "mcp", Call{Method: "mcp/tool.add", Parameters: []byte(params)}, nil)
		wantError(t, err, protocols.TaskParameterError)
	}
	_, err := s.Call(t.Context(), "mcp", Call{Method: "mcp/tool.multiply", Parameters: []byte(`{"a":1e300,"b":1e300}`)}, nil)
	wantError(t, err, protocols.TaskResultInvalid)
	if h := s.Check(t.Context(), "mcp"); h.Status != "healthy" {
		t.Errorf("%+v", h)
	}
}
