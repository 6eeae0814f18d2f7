package eventlog

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
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
	mount := smallDisk(t, "12m")
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

// TestLooksAtDisks looks at stores that were closed or killed, on a disk that is
// full to the last byte and on one that is mounted for reading. Nothing is written.
func TestLooksAtDisks(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, NOT PROVEN: only root can mount the small file systems that this test fills")
	}
	for _, engine := range []Engine{Pebble, SQLite} {
		for _, closed := range []bool{true, false} {
			name := fmt.Sprintf("%s/killed", engine)
			if closed {
				name = fmt.Sprintf("%s/closed", engine)
			}
			t.Run(name, func(t *testing.T) { looksAtDisks(t, engine, closed) })
		}
	}
}

func looksAtDisks(t *testing.T, engine Engine, closed bool) {
	mount := smallDisk(t, "48m")
	live, dir := filepath.Join(mount, "live"), filepath.Join(mount, "store")
	l, err := Open(live, Options{Engine: engine})
	if err != nil {
		t.Fatal(err)
	}
	hundred(t, l)
	if closed { // else the copy is what a kill would leave
		err = l.Close()
	}
	if err := errors.Join(err, os.CopyFS(dir, os.DirFS(live)), l.Close()); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(dir, "log.db-shm"))

	fillUp(t, mount)
	if closed { // else it may get as far as to Fatal
		if _, err := Open(dir, Options{}); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("whoever wants to write gets %v", err)
		}
	}
	looksTwice(t, dir)
	looksBeside(t, engine, dir)

	if err := syscall.Mount("", mount, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	looksTwice(t, dir)
	looksBeside(t, engine, dir)
}

// looksBeside opens a store for reading while another process does so.
func looksBeside(t *testing.T, engine Engine, dir string) {
	t.Helper()
	child, stdin, said := startChild(t, fmt.Sprint("look ", engine, " ", dir))
	if said != "reads up to 100" {
		t.Errorf("the other process says %q", said)
	}
	l, err := Open(dir, Options{Looks: true})
	if err != nil {
		t.Errorf("beside another process: %v", err)
	} else {
		looksOnly(t, l)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := Open(dir, Options{}); err == nil {
		t.Error("somebody writes beside another process that reads")
	}
	if err := errors.Join(stdin.Close(), child.Wait()); err != nil {
		t.Errorf("the other process: %v", err)
	}
}

// looksTwice opens a store twice at the same time for reading.
func looksTwice(t *testing.T, dir string) {
	t.Helper()
	before := contents(t, dir)
	for range 2 {
		l, err := Open(dir, Options{Looks: true})
		if err != nil {
			t.Fatal(err)
		}
		looksOnly(t, l)
		defer l.Close()
	}
	if after := contents(t, dir); after != before {
		t.Errorf("the folder has changed:\n%s\nbefore:\n%s", after, before)
	}
}

// contents describes the files of a folder, but for PID, which may be stale.
func contents(t *testing.T, dir string) (text string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() == "PID" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintln(f.Name(), len(data), Sum(data))
	}
	return text
}

// TestLooksAtRedis: nobody shares the folder of a store of Redis, for whoever has it
// follows an owner of the same folder at once.
func TestLooksAtRedis(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, NOT PROVEN: only root can mount the small file system that this test fills")
	}
	url, mount := redisURL(t), smallDisk(t, "24m")
	t.Setenv(redisEnv, url)
	dir := filepath.Join(mount, "store")
	l := openRedisIn(t, dir, url)
	add(t, l, rec("a", "1"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	fillUp(t, mount)
	l, err := Open(dir, Options{RedisURL: url, Looks: true})
	if err != nil {
		t.Fatal(err)
	}
	child, stdin, said := startChild(t, "look redis "+dir)
	if !strings.Contains(said, "is locked by") {
		t.Errorf("another process says %q", said)
	}
	_, _ = stdin.Close(), child.Wait()
	add(t, l, rec("a", "goes on")) // its own disk isn't full
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := syscall.Mount("", mount, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{RedisURL: url, Looks: true}); !errors.Is(err, syscall.EROFS) {
		t.Errorf("where the folder can't be had: %v", err)
	}
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

// TestReserve fills a disk to the last byte, and removes what is old all the same,
// with the room that was set aside.
func TestReserve(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, NOT PROVEN: only root can mount the small file systems that this test fills")
	}
	for _, engine := range []Engine{Pebble, SQLite} {
		t.Run(string(engine), func(t *testing.T) { reserved(t, engine) })
	}
}

func reserved(t *testing.T, engine Engine) {
	mount := smallDisk(t, "300m")
	dir := filepath.Join(mount, "store")
	free := func() int64 {
		t.Helper()
		var at syscall.Statfs_t
		if err := syscall.Statfs(mount, &at); err != nil {
			t.Fatal(err)
		}
		return int64(at.Bavail) * at.Bsize
	}
	before := free()
	l, err := Open(dir, Options{Engine: engine, Reserve: true})
	if err != nil {
		t.Fatal(err)
	}
	if took := before - free(); took < reserveBytes {
		t.Fatalf("%d bytes were taken", took)
	}
	for i := range 200 {
		var b Batch
		r := rec(fmt.Sprint("old", i), "1")
		value := make([]byte, 200<<10)
		if _, err := rand.Read(value); err != nil {
			t.Fatal(err)
		}
		r.Refs = []Hash{b.Put(value)}
		b.Add(r)
		addBatch(t, l, &b)
	}
	hundred(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	fillUp(t, mount)
	if _, err := Open(dir, Options{Reserve: true}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("on a full disk whoever writes gets %v", err)
	}
	l, err = Open(dir, Options{Spend: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if err := l.Delete(fmt.Sprint("old", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := free(); n < reserveBytes+30<<20 { // of the 39 MiB of what is old
		t.Errorf("%d bytes are free", n)
	}
	if l, err = Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if r := sound(t, l); r.Streams != 201 {
		t.Errorf("verify: %+v", r)
	}
	add(t, l, rec("a", "goes on"))
}

// TestRepairOtherDisk: the file may even lie on another disk than the folder.
func TestRepairOtherDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, NOT PROVEN: only root can mount the small file system that this test needs")
	}
	repairElsewhere(t, smallDisk(t, "48m"))
}

// smallDisk mounts one.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	mount := t.TempDir()
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("SKIPPED, NOT PROVEN: a tmpfs can't be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	})
	return mount
}

// fillUp leaves no byte.
func fillUp(t *testing.T, mount string) {
	t.Helper()
	rest, err := os.Create(filepath.Join(mount, "rest"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(rest, neverEnding{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := rest.Close(); err != nil {
		t.Fatal(err)
	}
}
