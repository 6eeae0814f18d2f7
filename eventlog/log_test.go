package eventlog

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// storeKinds are the stores that the conformance suite runs over.
var storeKinds = []struct {
	name string
	open func(t testing.TB) *Log
}{
	{"memory", func(t testing.TB) *Log { return OpenMemory(Options{}) }},
	{"pebble", func(t testing.TB) *Log {
		l, err := Open("store", Options{FS: vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
		return l
	}},
}
