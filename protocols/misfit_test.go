package protocols

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestMisfit(t *testing.T) {
	for text, want := range map[string]string{`{}`: "an object", `[]`: "an array", `1`: "a number", `true`: "a bool"} {
		var s string
		var wrong *json.UnmarshalTypeError
		if err := json.Unmarshal([]byte(text), &s); !errors.As(err, &wrong) || Misfit(wrong) != want {
			t.Errorf("%s is %q (%v), want %q", text, Misfit(wrong), err, want)
		}
	}
}
