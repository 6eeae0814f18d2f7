package cluster

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// TestExport: the runs of all partitions, whose numbers are the same, come out in
// one archive by way of any node, and into a store that is one log.
func TestExport(t *testing.T) {
	t.Parallel()
	started := make(chan providers.Call, 10)
	f := &servertest.Fake{Started: started, Released: make(chan struct{})}
	defer close(f.Released)
	url := urlIn(redisDir(t), "partitions=3")
	a := join(t, url, true, f)
	a.all()
	guest := join(t, url, false, f)
	file := filepath.Join(t.TempDir(), "some.runs")
	if err := guest.ask(server.SystemExport, server.ExportParams{Path: file}, nil); code(err) != protocols.WorkflowNotFound {
		t.Errorf("no runs: %v", err)
	}
	var ids []string
	for i := range 3 {
		p := servertest.Chain("far", servertest.Work{Value: fmt.Sprint("from ", i+1)}, servertest.Work{Hold: i == 2})
		for p.Key = "k"; a.node.partitionOf(p.Key) != i+1; p.Key += "k" {
		}
		id := guest.submit(p)
		if ids = append(ids, id); id != fmt.Sprintf("far-%dx1", i+1) {
			t.Fatalf("partition %d has %s", i+1, id)
		}
		next(t, "a start", started)
		next(t, "another", started)
		if i < 2 {
			a.ends(id, replay.Completed)
		}
	}
	for _, m := range []*member{a, guest} {
		var r server.ExportResult
		m.must(server.SystemExport, server.ExportParams{Path: filepath.Join(t.TempDir(), "one"), IDs: []string{"2x1"}}, &r)
		if r.Runs != 1 {
			t.Errorf("%d runs for one", r.Runs)
		}
		file := filepath.Join(t.TempDir(), "all.runs")
		m.must(server.SystemExport, server.ExportParams{Path: file}, &r)
		if r.Runs != 3 || r.Store != a.node.ID() {
			t.Errorf("exported: %+v", r)
		}
		arrives(t, file, ids)
		if err := m.ask(server.SystemExport, server.ExportParams{Path: file}, nil); code(err) != protocols.InvalidParams {
			t.Errorf("the file is there: %v", err)
		}
	}
	var audit server.AuditResult
	if a.must(server.SystemAudit, server.AuditParams{}, &audit); len(audit.Entries) != 4 {
		t.Errorf("noted: %+v", audit.Entries)
	}
}

// arrives reads an archive into a log of its own; the last of its runs has not
// ended.
func arrives(t *testing.T, file string, ids []string) {
	t.Helper()
	archive, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(archive); at += 7 {
		bad := bytes.Clone(archive)
		bad[at] ^= 1
		if _, err := eventlog.ReadArchive(bytes.NewReader(bad), func(eventlog.ArchiveHeader, eventlog.ArchiveItem) error { return nil }); err == nil {
			t.Fatalf("byte %d of %d is another one, and nobody tells", at, len(archive))
		}
	}
	arrivals, err := replay.ReadRuns(func(item func(eventlog.ArchiveHeader, eventlog.ArchiveItem) error) error {
		_, err := eventlog.ReadArchive(bytes.NewReader(archive), item)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	log, state := eventlog.OpenMemory(eventlog.Options{}), replay.NewState()
	defer log.Close()
	moved, err := state.Import(log, arrivals, time.Now())
	if err != nil || len(moved) != len(ids) {
		t.Fatalf("%+v came: %v", moved, err)
	}
	for i, one := range moved {
		want := replay.Moved{From: ids[i], ID: fmt.Sprintf("far-%d", i+1), Number: uint64(i + 1), Status: replay.Completed}
		if i == len(ids)-1 {
			want.Status = ""
		}
		h, err := replay.LoadHistory(log, one.Number)
		if err != nil || one != want || h.Run().ID() != want.ID || string(h.Run().Tasks[0].Result.Inline) != fmt.Sprintf(`"from %d"`, i+1) {
			t.Errorf("%+v came, want %+v: %v", one, want, err)
		}
	}
	if r := state.Run(3); r == nil || r.Held || !r.Doubt {
		t.Errorf("what was under way: %+v", r)
	}
}
