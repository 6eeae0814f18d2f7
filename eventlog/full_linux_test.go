package eventlog

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk fills a real file system of 12 MiB to the brim.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, NOT PROVEN: only root can mount the small file system that this test fills")
	}
	for _, engine := range []Engine{Pebble, SQLite} {
		t.Run(string(engine), func(t *testing.T) { fullDisk(t, engine) })
	}
}

func fullDisk(t *testing.T, engine Engine) {
	mount := t.TempDir()
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=12m"); err != nil {
		t.Skipf("SKIPPED, NOT PROVEN: a tmpfs can't be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	})
	spare, dir := filepath.Join(mount, "spare"), filepath.Join(mount, "store")
	if err := os.WriteFile(spare, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	child, stdin, last := startChild(t, fmt.Sprint("fill ", engine, " ", dir))
	defer stdin.Close()
	err := child.Wait()
	if child.ProcessState.ExitCode() != 10 {
		t.Errorf("the child ends with %v", err)
	}
	var acked int
	var said string
	if head, tail, ok := strings.Cut(last, " fatal: "); ok {
		fmt.Sscan(head, &acked)
		said = tail
	}
	for _, want := range []string{"store " + dir, "no space left on device", "the disk is full", "nothing that was acknowledged is lost"} {
		if !strings.Contains(said, want) {
			t.Errorf("the child says %q, want %q in it", last, want)
		}
	}
	if acked < 50 {
		t.Errorf("only %d batches were acknowledged", acked)
	}

	if _, err := os.Stat(spare); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(spare); err != nil { // some space is freed
		t.Fatal(err)
	}
	l, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if r := sound(t, l); r.Records < uint64(acked) || r.Records > uint64(acked)+1 || r.Values != r.Records {
		t.Errorf("%d batches were acknowledged, the log has %+v", acked, r)
	}
	add(t, l, rec("a", "goes on"))
}
