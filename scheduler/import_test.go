package scheduler

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"gleitzeit/eventlog"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// TestImportCrafted: what an archive has that no gleitzeit writes is refused
// before it is in the log, from which it could never be read again, or would
// begin something.
func TestImportCrafted(t *testing.T) {
	var archive bytes.Buffer
	log, s := open(t, Options{}, func(context.Context, providers.Call) (json.RawMessage, error) { return json.RawMessage("{}"), nil })
	const one = "name: one\ntasks: [{id: a, method: echo/echo}]\n"
	submit(t, s, Submission{Workflow: compile(t, one)})
	submit(t, s, Submission{Workflow: compile(t, one), ID: "mine-1"})
	waitEnd(t, soon(t), log, "one-2")
	if _, err := log.Export(context.Background(), &archive, []string{replay.Stream(2)}, log.Last()); err != nil {
		t.Fatal(err)
	}
	crafted := func(change func(*eventlog.Record)) (*eventlog.Log, error) {
		to := eventlog.OpenMemory(eventlog.Options{})
		t.Cleanup(func() { to.Close() })
		a, err := replay.ReadRuns(func(item func(eventlog.ArchiveHeader, eventlog.ArchiveItem) error) error {
			_, err := eventlog.ReadArchive(bytes.NewReader(archive.Bytes()), func(h eventlog.ArchiveHeader, it eventlog.ArchiveItem) error {
				if it.Record != nil {
					change(it.Record)
				}
				return item(h, it)
			})
			return err
		})
		if err == nil {
			_, err = Import(to, replay.NewState(), a)
		}
		return to, err
	}
	if _, err := crafted(func(r *eventlog.Record) {
		r.Data = bytes.Replace(r.Data, []byte(`"mine-1"`), []byte(`"mine"`), 1)
	}); err != nil {
		t.Fatalf("as it was written: %v", err)
	}
	for what, change := range map[string]func(*eventlog.Record){
		"no gleitzeit writes": func(r *eventlog.Record) {
			if r.Type == "task.started" {
				r.Data = []byte(`{"task":99,"attempt":1,"provider":"x"}`)
			}
		},
		"of no run": func(r *eventlog.Record) {
			if r.Type == "task.completed" {
				r.Type, r.Data = "system.started", []byte("{}")
			}
		},
		"submitted twice": func(r *eventlog.Record) {
			if r.Type == "workflow.submitted" {
				r.Data = bytes.Replace(r.Data, []byte(`"number":2`), []byte(`"number":7`), 1)
			}
		},
		"only a schedule gives its own runs": func(r *eventlog.Record) {
			r.Data = bytes.Replace(r.Data, []byte(`"named":true`), []byte(`"named":true,"key":"schedule:nightly:2030-01-01T00:00:00Z"`), 1)
		},
		"ends with a number": func(*eventlog.Record) {},
	} {
		to, err := crafted(func(r *eventlog.Record) {
			if what != "ends with a number" {
				r.Data = bytes.Replace(r.Data, []byte(`"mine-1"`), []byte(`"mine"`), 1)
			}
			change(r)
		})
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := replay.Load(to); err != nil || to.Last() > 0 {
			t.Errorf("%s: %d records came in: %v", what, to.Last(), err)
		}
	}
}

// flight is a workflow whose second task is under way when it is exported.
const flight = `name: flight
timeout: 1h
tasks:
- {id: a, method: echo/echo}
- {id: b, method: echo/echo, dependencies: [a]}
- {id: c, method: echo/echo, dependencies: [b]}
`

// TestImportAmongOthers: runs come in while others are carried out. They begin
// nothing, hold no slot and no queue, and go on when somebody resumes them.
func TestImportAmongOthers(t *testing.T) {
	reached, release := make(chan string, 10), make(chan struct{})
	call := func(ctx context.Context, c providers.Call) (json.RawMessage, error) {
		reached <- c.Task
		if c.Task == "b" {
			select {
			case <-release:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return json.RawMessage("{}"), nil
	}
	untilB := func() {
		t.Helper()
		for _, want := range []string{"a", "b"} {
			select {
			case got := <-reached:
				if got != want {
					t.Fatalf("%s starts, want %s", got, want)
				}
			case <-soon(t).Done():
				t.Fatalf("%s doesn't start", want)
			}
		}
	}
	from, one := open(t, Options{}, call)
	submit(t, one, Submission{Workflow: compile(t, oneTask)})
	<-reached
	waitEnd(t, soon(t), from, "one-1")
	submit(t, one, Submission{Workflow: compile(t, flight)})
	untilB()
	var archive bytes.Buffer
	if _, err := from.Export(context.Background(), &archive, []string{replay.Stream(1), replay.Stream(2)}, from.Last()); err != nil {
		t.Fatal(err)
	}

	log, two := open(t, Options{}, call)
	submit(t, two, Submission{Workflow: compile(t, flight)})
	untilB()
	arrivals, err := replay.ReadRuns(func(item func(eventlog.ArchiveHeader, eventlog.ArchiveItem) error) error {
		_, err := eventlog.ReadArchive(bytes.NewReader(archive.Bytes()), item)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	arrivals.Key = "call"
	moved, err := two.Import(soon(t), arrivals)
	if err != nil || len(moved) != 2 || moved[0].ID != "one-2" || moved[0].Status != replay.Completed || moved[1].ID != "flight-3" || moved[1].Status != "" {
		t.Fatalf("moved %+v: %v", moved, err)
	}
	if again, err := two.Import(soon(t), arrivals); err != nil || !slices.Equal(again, moved) {
		t.Errorf("the same call once more: %+v, %v", again, err)
	}
	if h, err := replay.LoadHistory(log, 4); h != nil || err != nil {
		t.Errorf("it has brought something in again: %v", err)
	}
	same := func() {
		t.Helper()
		if err := two.Query(soon(t), func(live *replay.State) {
			loaded, err := replay.Load(log)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := dump(t, loaded), dump(t, live); got != want {
				t.Errorf("replayed\n%s\nlive\n%s", got, want)
			}
			if err := live.CheckIndexes(); err != nil {
				t.Error(err)
			}
			if came := live.Run(3); came != nil && (came.Held || live.Running > 1) {
				t.Errorf("it is held: %v; %d run", came.Held, live.Running)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	same()
	close(release)
	waitEnd(t, soon(t), log, "flight-1")
	same()
	for len(reached) > 0 {
		<-reached
	}
	if err := two.Resume(soon(t), Resume{Run: 3}); err != nil {
		t.Fatal(err)
	}
	v := view(t, log, "flight-3")
	if v.Status != replay.Completed || v.Tasks[0].Attempts != 1 || v.Tasks[1].Attempts != 2 {
		t.Errorf("it came to %s: %+v", v.Status, v.Tasks)
	}
	if got := <-reached; got != "b" {
		t.Errorf("%s is started first", got)
	}
	same()
}
