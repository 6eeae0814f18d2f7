package cli

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"go.yaml.in/yaml/v3"
)

// What is written as YAML reads back as the same value, its types included.
func FuzzYAML(f *testing.F) {
	for _, s := range []string{`{"b":1,"a":[true,null,1.5,"yes","1","null","~","",{}],"on":"no"}`, `"\ud83d\ude00"`, `[]`, `"a: b\n# c"`, `1e400`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var want any
		if json.Unmarshal(raw, &want) != nil {
			return
		}
		var b bytes.Buffer
		if err := writeYAML(&b, json.RawMessage(raw)); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		var read any
		if err := yaml.Unmarshal(b.Bytes(), &read); err != nil {
			t.Fatalf("%s as YAML: %v\n%s", raw, err, b.Bytes())
		}
		again, err := json.Marshal(read)
		if err != nil {
			return // numbers that JSON can't write
		}
		var got any
		if err := json.Unmarshal(again, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s became\n%s", raw, b.Bytes())
		}
	})
}
