package scheduler

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"gleitzeit/eventlog"
	"gleitzeit/replay"
)

// What was written once replays for ever. testdata/logs has a folder for each
// generation of logs, in which no file is ever changed:
//
//	NAME.store.gz   a backup of the log that the core script NAME makes
//	NAME.state      what it replays to
//	pebble/, sqlite/  one of them as the engine keeps it, in the format of its day
//	redis/          the same: the folder, and dump.rdb, which a Redis (7.0 or newer) reads at its start
//
// `go test ./scheduler -run TestOldLogs -newlogs` adds a generation, of which
// there has to be one for each event that there is, and for each format of a
// store. It takes as few scripts as will do.

const oldLogs = "../testdata/logs"

var newLogs = flag.Bool("newlogs", false, "write another generation of testdata/logs")

func TestOldLogs(t *testing.T) {
	if *newLogs {
		writeGeneration(t)
	}
	files, err := filepath.Glob(oldLogs + "/*/*.store.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	known := map[string]bool{}
	for _, file := range files {
		t.Run(strings.TrimPrefix(file, oldLogs+"/"), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			if _, err := eventlog.Restore(t.Context(), bytes.NewReader(unzipped(t, file)), dir, eventlog.Options{}); err != nil {
				t.Fatal(err)
			}
			maps.Copy(known, replaysTo(t, dir, eventlog.Options{}, readFile(t, strings.TrimSuffix(file, ".store.gz")+".state")))
		})
	}
	for _, name := range replay.Types() {
		if !known[name] {
			t.Errorf("no log has the event %s: go test ./scheduler -run TestOldLogs -newlogs (and commit what it adds)", name)
		}
	}
}

// TestOldStores opens the stores of each generation as they were left.
func TestOldStores(t *testing.T) {
	markers, err := filepath.Glob(oldLogs + "/*/*/STORE")
	if err != nil || len(markers) < 2 {
		t.Fatalf("%v, %v", markers, err)
	}
	for _, marker := range markers {
		from := filepath.Dir(marker)
		t.Run(strings.TrimPrefix(from, oldLogs+"/"), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
				t.Fatal(err)
			}
			states, err := filepath.Glob(filepath.Dir(from) + "/native-*.state")
			if err != nil || len(states) != 1 {
				t.Fatalf("%v, %v", states, err)
			}
			options := eventlog.Options{}
			if _, err := os.Stat(filepath.Join(dir, "dump.rdb")); err == nil {
				options.RedisURL = startRedis(t, dir)
			}
			replaysTo(t, dir, options, readFile(t, states[0]))
		})
	}
}

// replaysTo opens a store and wants it to be sound, and to replay to that. It
// returns the types of its events.
func replaysTo(t *testing.T, dir string, o eventlog.Options, want string) map[string]bool {
	t.Helper()
	log, err := eventlog.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if r, err := log.Verify(t.Context()); err != nil || len(r.Problems) > 0 {
		t.Fatalf("%v, %v", r.Problems, err)
	}
	if got := stateText(t, log); got != want {
		t.Errorf("it replays to\n%s\nit was\n%s", got, want)
	}
	types := typesIn(t, log)
	saver, err := replay.NewCheckpointer(log) // new checkpoints change nothing
	if err != nil {
		t.Fatal(err)
	}
	if _, err := saver.Save(); err != nil {
		t.Fatal(err)
	}
	if got := stateText(t, log); got != want {
		t.Errorf("from new checkpoints it replays to\n%s\nit was\n%s", got, want)
	}
	return types
}

func typesIn(t *testing.T, log *eventlog.Log) map[string]bool {
	types := map[string]bool{}
	for rec, err := range log.Read(1) {
		if err != nil {
			t.Fatal(err)
		}
		types[rec.Type] = true
	}
	return types
}

// stateText is what a log replays to: the runs with their tasks, those that have
// ended from their own history, and the schedules.
func stateText(t *testing.T, log *eventlog.Log) string {
	t.Helper()
	state, err := replay.Load(log)
	if err != nil {
		t.Fatal(err)
	}
	if err := state.CheckIndexes(); err != nil {
		t.Fatal(err)
	}
	var sb strings.Builder
	fmt.Fprintf(&sb, "up to %d, next run %d, %d running\n", state.Seq, state.NextRun, state.Running)
	for stream, err := range log.Streams(replay.RunPrefix, false, "") {
		if err != nil {
			t.Fatal(err)
		}
		number, _ := replay.RunOf(stream)
		h, err := replay.LoadHistory(log, number)
		if err != nil {
			t.Fatal(err)
		}
		if h == nil {
			fmt.Fprintf(&sb, "%s is no more\n", stream)
			continue
		}
		v, err := h.View(log.Value)
		if err != nil {
			t.Fatal(err)
		}
		runText(&sb, v, len(h.Timeline()), state.Run(number))
	}
	schedules, err := state.DumpSchedules()
	if err != nil {
		t.Fatal(err)
	}
	return sb.String() + schedules
}

// runText says what must never change about a run.
func runText(sb *strings.Builder, v *replay.RunView, events int, live *replay.Run) {
	fmt.Fprintf(sb, "%s (%d) %s, live %t, %d events, %d tokens, outputs %s%s\n", v.ID, v.Number, v.Status, live != nil, events, v.Tokens,
		v.Outputs, errorText(v.Error))
	for _, task := range v.Tasks {
		result := string(task.Result)
		if len(result) > 100 {
			result = eventlog.Sum(task.Result).String()
		}
		fmt.Fprintf(sb, "  %s %s after %d, result %s%s\n", task.ID, task.Status, task.Attempts, result, errorText(task.Error))
	}
}

func errorText[E error](e E) string {
	raw, _ := json.Marshal(e)
	if string(raw) == "null" {
		return ""
	}
	return ", error " + string(raw)
}

// writeGeneration runs all core scripts and keeps the logs of as few of them as
// have every event.
func writeGeneration(t *testing.T) {
	logs, types := map[string]*eventlog.Log{"beside": besideScripts(t)}, map[string]map[string]bool{}
	datadriven.Walk(t, "../testdata/core", func(t *testing.T, path string) {
		c := newCore(t)
		c.log = eventlog.OpenMemory(eventlog.Options{}) // outlives the script
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return c.run(t, d) })
		logs[filepath.Base(path)] = c.log
	})
	for name, log := range logs {
		types[name] = typesIn(t, log)
	}
	names := fewest(t, types)
	dir := nextGeneration(t)
	for i, name := range names {
		keepLog(t, logs[name], filepath.Join(dir, name), i == 0)
	}
}

// besideScripts is a log of the events that no core script has, since the core
// doesn't decide on them.
func besideScripts(t *testing.T) *eventlog.Log {
	log := eventlog.OpenMemory(eventlog.Options{})
	var b eventlog.Batch
	for _, e := range []replay.Event{
		&replay.Acted{Method: "system/gc", By: "anna", Text: "removed 3 runs"},
	} {
		if err := replay.Encode(replay.Fact{At: epoch, Event: e}, &b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := log.Append(&b); err != nil {
		t.Fatal(err)
	}
	return log
}

// fewest chooses logs that have every event together.
func fewest(t *testing.T, types map[string]map[string]bool) (names []string) {
	missing := map[string]bool{}
	for _, name := range replay.Types() {
		missing[name] = true
	}
	for len(missing) > 0 {
		best, gain := "", 0
		for _, name := range slices.Sorted(maps.Keys(types)) {
			n := 0
			for kind := range types[name] {
				if missing[kind] {
					n++
				}
			}
			if n > gain {
				best, gain = name, n
			}
		}
		if best == "" {
			t.Fatalf("no core script has %v", slices.Sorted(maps.Keys(missing)))
		}
		for kind := range types[best] {
			delete(missing, kind)
		}
		names = append(names, best)
	}
	return names
}

func nextGeneration(t *testing.T) string {
	for n := 1; ; n++ {
		dir := filepath.Join(oldLogs, strconv.Itoa(n))
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			if err := os.MkdirAll(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			return dir
		}
	}
}

// keepLog writes a log into files; natively, too, if that is asked for.
func keepLog(t *testing.T, log *eventlog.Log, path string, natively bool) {
	var archive, zipped bytes.Buffer
	if _, err := log.Backup(t.Context(), &archive); err != nil {
		t.Fatal(err)
	}
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write(archive.Bytes()); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	write := func(name string, text []byte) {
		if err := os.WriteFile(name, text, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	state := []byte(stateText(t, log))
	write(path+".store.gz", zipped.Bytes())
	write(path+".state", state)
	if !natively {
		return
	}
	write(filepath.Join(filepath.Dir(path), "native-"+filepath.Base(path)+".state"), state)
	for _, engine := range []eventlog.Engine{eventlog.Pebble, eventlog.SQLite} {
		dir := filepath.Join(filepath.Dir(path), string(engine))
		if _, err := eventlog.Restore(t.Context(), bytes.NewReader(archive.Bytes()), dir, eventlog.Options{Engine: engine, Views: replay.SQLViews()}); err != nil {
			t.Fatal(err)
		}
		unlocked(dir)
	}
	dir := filepath.Join(filepath.Dir(path), string(eventlog.Redis))
	keepRedis(t, archive.Bytes(), dir)
	unlocked(dir)
}

// unlocked removes what a folder has only while it is held.
func unlocked(dir string) {
	for _, name := range []string{"LOCK", "PID"} {
		_ = os.Remove(filepath.Join(dir, name))
	}
}

// keepRedis writes a store natively as a Redis saves it.
func keepRedis(t *testing.T, archive []byte, dir string) {
	data := t.TempDir()
	o := eventlog.Options{Engine: eventlog.Redis, RedisURL: startRedis(t, data)}
	if _, err := eventlog.Restore(t.Context(), bytes.NewReader(archive), dir, o); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("redis-cli", "-s", filepath.Join(data, "s"), "SAVE").CombinedOutput(); err != nil {
		t.Fatalf("%s, %v", out, err)
	}
	if err := os.Rename(filepath.Join(data, "dump.rdb"), filepath.Join(dir, "dump.rdb")); err != nil {
		t.Fatal(err)
	}
}

// startRedis starts a Redis on what lies in a folder, and returns the URL of the
// store old in it. Where there is none, the test is skipped, unless
// GLEITZEIT_TEST_REDIS is "required".
func startRedis(t *testing.T, dir string) string {
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("GLEITZEIT_TEST_REDIS") == "required" {
			t.Fatal("there is no redis-server")
		}
		t.Skip("SKIPPED, NOT PROVEN: there is no redis-server")
	}
	short, err := os.MkdirTemp("", "r") // a socket's path must be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(short) })
	link := filepath.Join(short, "d")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("redis-server", "--port", "0", "--unixsocket", link+"/s", "--dir", dir, "--save", "", "--logfile", link+"/redis.log")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("unix", link+"/s")
		if err == nil {
			conn.Close()
			return "unix://" + link + "/s?store=old"
		}
		if time.Since(began) > 20*time.Second {
			said, _ := os.ReadFile(link + "/redis.log")
			t.Fatalf("Redis does not start: %v\n%s", err, said)
		}
	}
}

func unzipped(t *testing.T, file string) []byte {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func readFile(t *testing.T, name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
