package socketio

import (
	"bytes"
	"encoding/json"
	"testing"
)

// What is a packet is the same when it was written and read again.
func FuzzPacket(f *testing.F) {
	for _, seed := range []string{"0", `0{"token":"x"}`, "0/a,", "1", "1/a,", `2["x"]`, `2/a,12["x",{"a":[1,2]}]`, `30[]`, `51-["x",{"_placeholder":true,"num":0}]`, `62-/a,7[]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parsePacket(bytes.Clone(text))
		if err != nil {
			return
		}
		again, err := parsePacket(p.write())
		if err != nil || !bytes.Equal(p.write(), again.write()) || p.id != again.id || p.namespace != again.namespace || p.attachments != again.attachments {
			t.Errorf("%q is %v, and that %v %v", text, p, again, err)
		}
	})
}

// What is a payload is the same when it was written and read again.
func FuzzPayload(f *testing.F) {
	for _, seed := range []string{"2", "4hello\x1e2\x1ebAAEC/w==", "b", "\x1e"} {
		f.Add([]byte(seed))
	}
	read := func(payload []byte) (all []frame, bad error) {
		for one, err := range parsePayload(payload) {
			if err != nil {
				return all, err
			}
			all = append(all, one)
		}
		return all, nil
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		all, err := read(payload)
		if err != nil {
			return
		}
		written := writePayload(all)
		again, err := read(written)
		if err != nil || !bytes.Equal(written, writePayload(again)) || len(all) != len(again) {
			t.Errorf("%q: %v", payload, err)
		}
	})
}

// Putting attachments in makes JSON of JSON, not larger than both together, and
// leaves no placeholder that counts.
func FuzzInline(f *testing.F) {
	f.Add([]byte(`["x",{"_placeholder":true,"num":0}]`), []byte("a"), []byte("b"), 1)
	f.Add([]byte(`[{"num":1,"_placeholder":true},{"a":{"_placeholder":true,"num":0}}]`), []byte{255}, []byte(nil), 2)
	f.Fuzz(func(t *testing.T, data, a, b []byte, n int) {
		attachments := [][]byte{a, b}[:min(max(n, 0), 2)]
		if !json.Valid(data) {
			return
		}
		out, err := Inline(data, attachments)
		if err != nil {
			return
		}
		if !json.Valid(out) || len(out) > len(data)+2*len(a)+2*len(b) {
			t.Errorf("%q became %q", data, out)
		}
		if places, err := findPlaceholders(out); len(attachments) > 0 && (err != nil || len(places) > 0) {
			t.Errorf("%q has %v %v", out, places, err)
		}
	})
}
