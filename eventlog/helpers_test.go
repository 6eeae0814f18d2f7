package eventlog

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestMain(m *testing.M) {
	if task := os.Getenv(childEnv); task != "" {
		childMain(task)
		return
	}
	if err := flag.Set("rapid.checks", "40"); err != nil { // the command line may say otherwise
		panic(err)
	}
	code := m.Run()
	stopCommonRedis()
	os.Exit(code)
}

// storeKinds are the stores that the conformance suite runs over. Each gives
// an empty log and a way to close it and open it again, nil if that would lose
// what is in it.
var storeKinds = []struct {
	name string
	open func(t testing.TB) (l *Log, reopen func() *Log)
}{
	{"memory", func(t testing.TB) (*Log, func() *Log) {
		return closeAtEnd(t, OpenMemory(Options{})), nil
	}},
	{"pebble", func(t testing.TB) (*Log, func() *Log) {
		fs := vfs.NewMem()
		l := openOn(t, fs)
		return l, func() *Log {
			if err := l.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
			l = openOn(t, fs)
			return l
		}
	}},
	{"sqlite", func(t testing.TB) (*Log, func() *Log) {
		dir := t.TempDir()
		l := openSQLiteIn(t, dir)
		return l, func() *Log {
			if err := l.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
			l = openSQLiteIn(t, dir)
			return l
		}
	}},
	{"redis", func(t testing.TB) (*Log, func() *Log) {
		dir, url := t.TempDir(), redisURL(t)
		l := openRedisIn(t, dir, url)
		return l, func() *Log {
			if err := l.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
			l = openRedisIn(t, dir, url)
			return l
		}
	}},
	{"partition", func(t testing.TB) (*Log, func() *Log) {
		p := openParts(t, redisURL(t)+"&partitions=2")
		take := func() *Log { return takePart(t, p, 2, newLosses()) }
		l := take()
		return l, func() *Log {
			if err := l.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
			l = take()
			return l
		}
	}},
}

func openRedisIn(t testing.TB, dir, url string) *Log {
	t.Helper()
	l, err := Open(dir, Options{Engine: Redis, RedisURL: url})
	if err != nil {
		t.Fatal(err)
	}
	return closeAtEnd(t, l)
}

func openSQLiteIn(t testing.TB, dir string) *Log {
	t.Helper()
	l, err := Open(dir, Options{Engine: SQLite})
	if err != nil {
		t.Fatal(err)
	}
	return closeAtEnd(t, l)
}

// onEach runs a test over all stores.
func onEach(t *testing.T, test func(t *testing.T, l *Log, reopen func() *Log)) {
	for _, kind := range storeKinds {
		t.Run(kind.name, func(t *testing.T) {
			l, reopen := kind.open(t)
			test(t, l, reopen)
		})
	}
}

func openOn(t testing.TB, fs vfs.FS) *Log {
	t.Helper()
	l, err := Open("store", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	return closeAtEnd(t, l)
}

func closeAtEnd(t testing.TB, l *Log) *Log {
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return l
}

// rec makes a record with a bit of everything.
func rec(stream, data string) Record {
	return Record{
		Time:   time.Unix(1_700_000_000, 123_456_789).UTC(),
		Stream: stream,
		Type:   "test." + data,
		Data:   []byte(data),
	}
}

// add appends records in one batch and returns them with their numbers.
func add(t testing.TB, l *Log, records ...Record) []Record {
	t.Helper()
	var b Batch
	for _, r := range records {
		b.Add(r)
	}
	return addBatch(t, l, &b)
}

func addBatch(t testing.TB, l *Log, b *Batch) []Record {
	t.Helper()
	first, err := l.Append(b)
	if err != nil {
		t.Fatal(err)
	}
	out := append([]Record(nil), b.records...)
	for i := range out {
		out[i].Seq = first + Seq(i)
	}
	return out
}

// all collects what an iterator yields; an error fails the test.
func all[T any](t testing.TB, it iter.Seq2[T, error]) (out []T) {
	t.Helper()
	for v, err := range it {
		if err != nil {
			t.Fatalf("after %d items: %v", len(out), err)
		}
		out = append(out, v)
	}
	return out
}

// soon bounds a wait that a bug would make endless.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// sound fails the test if Verify has anything to say.
func sound(t testing.TB, l *Log) Report {
	t.Helper()
	r, err := l.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Problems) > 0 {
		t.Fatalf("verify:\n  %s", strings.Join(r.Problems, "\n  "))
	}
	return r
}

// brief writes records so that they can be compared at a glance.
func brief(records []Record) string {
	var sb strings.Builder
	for _, r := range records {
		if r.Type == StreamDeleted {
			fmt.Fprintf(&sb, "%d:%s deleted ", r.Seq, r.Stream)
			continue
		}
		fmt.Fprintf(&sb, "%d:%s=%s ", r.Seq, r.Stream, r.Data)
	}
	return strings.TrimSpace(sb.String())
}
