package scheduler

import (
	"bytes"
	"context"
	"encoding/json"
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
	if _, err := log.Export(context.Background(), &archive, []string{replay.Stream(2)}); err != nil {
		t.Fatal(err)
	}
	crafted := func(change func(*eventlog.Record)) (*eventlog.Log, error) {
		to := eventlog.OpenMemory(eventlog.Options{})
		t.Cleanup(func() { to.Close() })
		_, err := replay.Import(to, func(item func(eventlog.ArchiveHeader, eventlog.ArchiveItem) error) error {
			_, err := eventlog.ReadArchive(bytes.NewReader(archive.Bytes()), func(h eventlog.ArchiveHeader, it eventlog.ArchiveItem) error {
				if it.Record != nil {
					change(it.Record)
				}
				return item(h, it)
			})
			return err
		})
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
