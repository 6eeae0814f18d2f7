package eventlog

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestKilledInMidAppend kills a real process with SIGKILL while eight of its
// goroutines append, again and again on one store. Whatever it was told is
// durable is there, each batch is whole, and the log is sound.
func TestKilledInMidAppend(t *testing.T) {
	for _, engine := range engines {
		t.Run(string(engine), func(t *testing.T) {
			dir, options := filepath.Join(t.TempDir(), "store"), onEngine(t, engine)
			for round := 1; round <= 4; round++ {
				acked := killAfter(t, engine, dir, 60*round)
				l, err := Open(dir, options)
				if err != nil {
					t.Fatal(err)
				}
				for stream, n := range acked {
					records := all(t, l.ReadStream(stream, 0))
					if len(records) < 2*n || len(records)%2 != 0 {
						t.Errorf("round %d: stream %s has %d records of %d acknowledged batches", round, stream, len(records), n)
					}
				}
				sound(t, l)
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// killAfter lets a process append to the store and kills it once it was told
// that so many batches are durable. It returns how many those were by stream.
func killAfter(t *testing.T, engine Engine, dir string, batches int) map[string]int {
	cmd := exec.CommandContext(soon(t), os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprint(childEnv, "=append ", engine, " ", dir))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acked := map[string]int{}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		var stream string
		var count int
		if _, err := fmt.Sscan(lines.Text(), &stream, &count); err != nil {
			t.Fatalf("the child says %q", lines.Text())
		}
		acked[stream] = max(count, acked[stream])
		if n == batches {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait()
	if len(acked) == 0 {
		t.Fatal("the child said nothing")
	}
	return acked
}

// appendForEver appends batches of two records and says after each how many
// of its stream are durable, those of earlier lives included.
func appendForEver(l *Log) {
	for w := range 8 {
		go func() {
			stream, n := fmt.Sprintf("w%d", w), 0
			for _, err := range l.ReadStream(stream, 0) {
				if err != nil {
					panic(err)
				}
				n++
			}
			var b Batch
			for n /= 2; ; {
				b.Reset()
				first := rec(stream, "first")
				first.Refs = []Hash{b.Put(fmt.Appendf(nil, "%s %d", stream, n/3))}
				b.Add(first)
				b.Add(rec(stream, "second"))
				if _, err := l.Append(&b); err != nil {
					panic(err)
				}
				n++
				fmt.Println(stream, n)
			}
		}()
	}
	select {}
}
