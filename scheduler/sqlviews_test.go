package scheduler

import (
	"bytes"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gleitzeit/eventlog"
	"gleitzeit/replay"
)

// TestSQLViewsAgree: what people read in SQLite is what the replay says, after
// random games with the whole language. Of runs that go on the views know only
// what has ended in them.
func TestSQLViewsAgree(t *testing.T) {
	seeds(t, 6, func(t *testing.T, seed uint64) int {
		p := newGame(t, seed)
		for range 100 {
			p.move()
		}
		if p.play.rng.IntN(2) == 0 {
			p.finishAll()
		}
		want := replayed(t, p.log)
		if got := viewed(t, p.log, want); got != want.text() {
			t.Errorf("seed %d: the views say\n%s\nthe replay says\n%s", seed, got, want.text())
		}
		p.log.Close()
		return p.moves
	})
}

// shown are the lines about runs, those that can be known of a run.
type shown struct {
	lines []string
	live  map[int64]bool
	// most is how many tasks of a run are compared: those of the document, of one
	// in which instances or steps began anew.
	most map[int64]int64
}

func (s shown) text() string { return strings.Join(s.lines, "\n") }

// replayed says what the replay knows.
func replayed(t *testing.T, log *eventlog.Log) shown {
	s := shown{live: map[int64]bool{}, most: map[int64]int64{}}
	for stream, err := range log.Streams(replay.RunPrefix, false, "") {
		if err != nil {
			t.Fatal(err)
		}
		number, _ := replay.RunOf(stream)
		h, err := replay.LoadHistory(log, number)
		if err != nil || h == nil {
			t.Fatal(err)
		}
		v, err := h.View(nil)
		if err != nil {
			t.Fatal(err)
		}
		status := string(v.Status)
		if !h.Ended() {
			s.live[int64(number)] = true
			if status != "paused" && status != "parked" {
				status = "unfinished"
			}
		}
		s.lines = append(s.lines, fmt.Sprint(number, " ", v.ID, " ", v.Name, " ", status))
		s.most[int64(number)] = int64(len(v.Tasks))
		for _, f := range h.Facts {
			if e, ok := f.Event.(*replay.WorkflowRetried); ok && len(e.Anew) > 0 {
				s.most[int64(number)] = int64(len(h.Run().Plan.Workflow.Tasks))
			}
		}
		for i, task := range v.Tasks[:s.most[int64(number)]] {
			if task.Status.Ended() || h.Ended() {
				s.lines = append(s.lines, fmt.Sprint(number, ".", i, " ", task.ID, " ", task.Method, " ", task.Status, " ", task.Attempts))
			}
		}
	}
	slices.Sort(s.lines)
	return s
}

// overForGood are the statuses that a task of a live run is compared by.
var overForGood = []string{"completed", "failed", "skipped", "cancelled"}

// viewed says what the views show.
func viewed(t *testing.T, log *eventlog.Log, want shown) string {
	var archive bytes.Buffer
	if _, err := log.Backup(t.Context(), &archive); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "store")
	o := eventlog.Options{Engine: eventlog.SQLite, Views: replay.SQLViews()}
	if _, err := eventlog.Restore(t.Context(), bytes.NewReader(archive.Bytes()), dir, o); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "log.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var lines []string
	rows := func(text string, each func(scan func(...any) error) (string, error)) {
		r, err := db.Query(text)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for r.Next() {
			line, err := each(r.Scan)
			if err != nil {
				t.Fatal(err)
			}
			if line != "" {
				lines = append(lines, line)
			}
		}
		if err := r.Err(); err != nil {
			t.Fatal(err)
		}
	}
	rows("SELECT number, id, name, status FROM runs", func(scan func(...any) error) (string, error) {
		var number int64
		var id, name, status string
		err := scan(&number, &id, &name, &status)
		return fmt.Sprint(number, " ", id, " ", name, " ", status), err
	})
	rows("SELECT run, task, id, method, status, coalesce(attempts, 0) FROM tasks", func(scan func(...any) error) (string, error) {
		var run, task, attempts int64
		var id, method, status string
		err := scan(&run, &task, &id, &method, &status, &attempts)
		if task >= want.most[run] || want.live[run] && !slices.Contains(overForGood, status) {
			return "", err
		}
		return fmt.Sprint(run, ".", task, " ", id, " ", method, " ", status, " ", attempts), err
	})
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
