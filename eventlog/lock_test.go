package eventlog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// childEnv makes the test binary another process that uses a store: it names
// what to do and where.
const childEnv = "EVENTLOG_TEST_CHILD"

// redisEnv says where the other process's store of Redis lies.
const redisEnv = "EVENTLOG_TEST_REDIS"

// onEngine is how a store of any engine is opened in this process and others.
func onEngine(t *testing.T, engine Engine) Options {
	if engine != Redis {
		return Options{Engine: engine}
	}
	url := redisURL(t)
	t.Setenv(redisEnv, url)
	return Options{Engine: Redis, RedisURL: url}
}

// ackedByFill counts the batches that fill was told are durable.
var ackedByFill atomic.Int64

func childMain(task string) {
	var do, engine, dir string
	if _, err := fmt.Sscan(task, &do, &engine, &dir); err != nil {
		panic(err)
	}
	l, err := Open(dir, Options{Engine: Engine(engine), Looks: do == "look", RedisURL: os.Getenv(redisEnv), Fatal: func(err error) {
		fmt.Println(ackedByFill.Load(), "fatal:", err)
		os.Exit(10)
	}})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	switch do {
	case "hold":
		var b Batch
		b.Add(rec("child", "was here"))
		if _, err := l.Append(&b); err != nil {
			panic(err)
		}
		fmt.Println("ready")
		_, _ = io.ReadAll(os.Stdin) // until killed, or told to end
	case "look":
		fmt.Println("reads up to", l.Last())
		_, _ = io.ReadAll(os.Stdin)
	case "fill":
		fill(l)
	case "append":
		appendForEver(l)
	}
	if err := l.Close(); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

// startChild starts such a process and waits for its first line.
func startChild(t *testing.T, task string) (cmd *exec.Cmd, stdin io.Closer, line string) {
	t.Helper()
	cmd = exec.CommandContext(soon(t), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+task)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child says %q: %v", line, err)
	}
	return cmd, in, strings.TrimSpace(line)
}

func TestSecondProcess(t *testing.T) {
	for _, engine := range engines {
		t.Run(string(engine), func(t *testing.T) { secondProcess(t, engine) })
	}
}

func secondProcess(t *testing.T, engine Engine) {
	options := onEngine(t, engine)
	dir := filepath.Join(t.TempDir(), "a", "store")
	child, stdin, line := startChild(t, fmt.Sprint("hold ", engine, " ", dir))
	if line != "ready" {
		t.Fatalf("the child says %q", line)
	}
	_, err := Open(dir, options)
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID != child.Process.Pid || locked.Dir != dir {
		t.Errorf("a second opener gets %v, want process %d", err, child.Process.Pid)
	}
	if want := fmt.Sprintf("store %s is locked by process %d", dir, child.Process.Pid); err.Error() != want {
		t.Errorf("it is told %q, want %q", err, want)
	}

	// A PID file that lies must not be believed.
	pidFile := filepath.Join(dir, "PID")
	if err := os.WriteFile(pidFile, []byte("999999999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, options); !errors.As(err, &locked) || locked.PID != 0 {
		t.Errorf("a second opener gets %v, want process 0", err)
	}

	// A killed process leaves its file, but not its lock.
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	stdin.Close()
	l, err := Open(dir, options)
	if err != nil {
		t.Fatal(err)
	}
	if s := brief(all(t, l.Read(0))); s != "1:child=was here" {
		t.Errorf("the log: %s", s)
	}
	if pid, _ := os.ReadFile(pidFile); strings.TrimSpace(string(pid)) != fmt.Sprint(os.Getpid()) {
		t.Errorf("PID says %q", pid)
	}

	// This process too is a second opener.
	if _, err := Open(dir, options); !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("a second opener gets %v, want process %d", err, os.Getpid())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(pidFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("PID is left behind: %v", err)
	}
}

func TestFoldersThatAreNoStore(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"Pebble's, not ours", map[string]string{"a.txt": "", "MANIFEST-000001": "x"}, "holds MANIFEST-000001, but no file STORE"},
		{"Pebble's, not ours", map[string]string{"000004.sst": "x"}, "no file STORE"},
		{"later", map[string]string{"STORE": "gleitzeit store\nformat 7\nid x\nwriter gleitzeit v9.1.0\nmore yes\n"},
			"it was written by gleitzeit v9.1.0 in format 7; this program reads formats up to 2"},
		{"another title", map[string]string{"STORE": "shop\n"}, "STORE is damaged: its first line"},
		{"cut", map[string]string{"STORE": "gleitzeit store\nformat 1\n"}, "STORE is damaged: it lacks"},
		{"no number", map[string]string{"STORE": "gleitzeit store\nformat one\nid x\n"}, "is no format"},
		{"empty", map[string]string{"STORE": ""}, "STORE is damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := vfs.NewMem()
			if err := mem.MkdirAll("store", 0o700); err != nil {
				t.Fatal(err)
			}
			for name, text := range c.files {
				if err := writeFile(mem, "store/"+name, text, true); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Open("store", Options{FS: mem})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "store store") {
				t.Errorf("got %v, want …%s…", err, c.want)
			}
			names, _ := mem.List("store")
			if len(names) != len(c.files)+1 { // and LOCK
				t.Errorf("the folder holds %q now", names)
			}
			for name, text := range c.files {
				if got, err := readFile(mem, "store/"+name); got != text || err != nil {
					t.Errorf("%s is %q now, %v", name, got, err)
				}
			}
		})
	}
}

// A store that was not finished is made anew, and nothing else in its folder is
// touched: a server's socket may be there before the store is.
func TestUnfinishedStore(t *testing.T) {
	mem := vfs.NewMem()
	l := openOn(t, mem)
	add(t, l, rec("a", "never acknowledged"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"STORE.new": "half", "sock": "a socket"} {
		if err := writeFile(mem, "store/"+name, text, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := mem.Remove("store/STORE"); err != nil {
		t.Fatal(err)
	}
	l2 := openOn(t, mem)
	if l2.Last() != 0 || l2.ID() == l.ID() {
		t.Errorf("the store has %d records and id %s", l2.Last(), l2.ID())
	}
	if text, err := readFile(mem, "store/sock"); text != "a socket" || err != nil {
		t.Errorf("the socket is %q, %v", text, err)
	}
	names, err := mem.List("store")
	if err != nil || slices.Contains(names, "STORE.new") {
		t.Errorf("the folder holds %q, %v", names, err)
	}
}

func TestMarkerTells(t *testing.T) {
	mem := vfs.NewMem()
	l, err := Open("store", Options{FS: mem, Writer: "program\nv1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := readFile(mem, "store/STORE")
	want := fmt.Sprintf("gleitzeit store\nformat 1\nid %s\nwriter program v1.2.3\n", l.ID())
	if err != nil || text != want {
		t.Errorf("STORE says %q, %v", text, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if p := thisProgram(); p == "" {
		t.Error("the program has no name")
	}
}

// fill appends until the disk is full. It keeps the count of what was
// acknowledged on the line that Fatal ends.
func fill(l *Log) {
	var b Batch
	for i := 0; ; i++ {
		b.Reset()
		r := rec("a", fmt.Sprint(i))
		r.Refs = []Hash{b.Put(bytes.Repeat([]byte(fmt.Sprintf("%06x", i*7919)), 4000))}
		b.Add(r)
		if _, err := l.Append(&b); err != nil {
			panic(err)
		}
		ackedByFill.Add(1)
	}
}
