package eventlog

import (
	"testing"
	"time"
)

func TestSmoke(t *testing.T) {
	for _, l := range []*Log{OpenMemory(Options{}), func() *Log {
		l, err := Open(t.TempDir(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}()} {
		var b Batch
		h := b.Put([]byte("hello"))
		b.Add(Record{Time: time.Now().UTC(), Stream: "a", Type: "x", Data: []byte("1"), Refs: []Hash{h}, Keys: []string{"k"}})
		b.Add(Record{Stream: "b", Type: "x"})
		if s, err := l.Append(&b); s != 1 || err != nil {
			t.Fatal(s, err)
		}
		for r, err := range l.Read(0) {
			t.Log(r, err)
		}
		if err := l.Delete("a"); err != nil {
			t.Fatal(err)
		}
		for r, err := range l.Read(0) {
			t.Log(r, err, string(r.Data))
		}
		for r, err := range l.Streams("", true, "") {
			t.Log(r, err)
		}
		t.Logf("%+v", l.Stats())
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
