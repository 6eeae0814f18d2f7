package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// nowhere is a router of a store in which nothing is.
type nowhere struct{}

func (nowhere) ID() string                      { return "nowhere" }
func (nowhere) Trouble() error                  { return nil }
func (nowhere) Served(context.Context) bool     { return false }
func (nowhere) Here(method string) bool         { return ways[method] == nil }
func (nowhere) Servers() map[int]*server.Server { return nil }
func (nowhere) Drain(context.Context) error     { return nil }
func (nowhere) Close() error                    { return nil }
func (nowhere) Route(context.Context, *server.Call, server.Method, any) (any, error) {
	return nil, protocols.Errorf(protocols.WorkflowNotFound, "nothing is here")
}

// TestWays: each method either has a way to a partition, or a front without a
// log can carry it out.
func TestWays(t *testing.T) {
	m := &member{t: t, front: server.NewFront(nowhere{}, server.Options{})}
	m.conn = server.NewConn(context.Background(), m.front.Pipe(), m)
	defer m.leave()
	names := map[string]bool{}
	for _, method := range server.Methods() {
		names[method.Name] = true
		if ways[method.Name] != nil {
			continue
		}
		if err := m.ask(method.Name, method.Params, nil); code(err) == protocols.InternalError || code(err) == protocols.WorkflowNotFound {
			t.Errorf("%s has no way, and the front can't do it: %v", method.Name, err)
		}
	}
	for name := range ways {
		if !names[name] {
			t.Errorf("there is a way for %s, which is no method", name)
		}
	}
}

// TestKeysAndIDs: a key is one run, whichever nodes are asked; and so is an id
// that somebody chose.
func TestKeysAndIDs(t *testing.T) {
	t.Parallel()
	dir := redisDir(t)
	f := &servertest.Fake{}
	a, b := join(t, urlIn(dir, "partitions=4"), true, f), join(t, urlIn(dir, "partitions=4"), true, f)
	a.all()
	both := []*member{a, b}
	for k := range 4 {
		ids := make([]string, 6)
		var submitting sync.WaitGroup
		for i := range ids {
			submitting.Go(func() {
				p := servertest.Chain("keyed", servertest.Work{})
				p.Key = fmt.Sprint("key", k)
				ids[i] = both[i%2].submit(p)
			})
		}
		submitting.Wait()
		if slices.Sort(ids); ids[0] != ids[5] || ids[0] == "" {
			t.Errorf("one key has the runs %v", ids)
		}
	}
	for _, keyed := range []bool{true, false} {
		won := make(chan string, 8)
		var submitting sync.WaitGroup
		for i := range 8 {
			submitting.Go(func() {
				p := servertest.Chain("named", servertest.Work{})
				p.ID = fmt.Sprint("release-", keyed)
				if keyed {
					p.Key = fmt.Sprint("another", i)
				}
				var r server.RunResult
				if err := both[i%2].ask(server.WorkflowSubmit, p, &r); err == nil {
					won <- r.ID
				} else if c := code(err); c != protocols.WorkflowInvalidState && c != protocols.InvalidParams {
					t.Errorf("a taken id: %v", err)
				}
			})
		}
		submitting.Wait()
		if len(won) != 1 {
			t.Errorf("%d runs got the id %s", len(won), fmt.Sprint("release-", keyed))
		}
	}
	for _, bad := range []string{"job-2x9", "1x1", "no such id!"} {
		p := servertest.Chain("named", servertest.Work{})
		p.ID = bad
		if err := a.ask(server.WorkflowSubmit, p, nil); code(err) != protocols.InvalidParams {
			t.Errorf("id %q: %v", bad, err)
		}
	}
	if n, err := a.node.store.Named(t.Context(), "no such id!"); n != 0 || err != nil {
		t.Errorf("an id that was refused stays noted: %d, %v", n, err)
	}
	var r server.ListResult
	if b.must(server.WorkflowList, server.ListParams{}, &r); len(r.Runs) != 6 {
		t.Errorf("there are %d runs", len(r.Runs))
	}
}

// TestOneStore: every node shows the same runs: by any name, by pages, and
// added up.
func TestOneStore(t *testing.T) {
	t.Parallel()
	dir := redisDir(t)
	f := &servertest.Fake{}
	url := urlIn(dir, "partitions=4")
	a, b := join(t, url, true, f), join(t, url, true, f)
	until(t, "each has its share", func() bool { return a.has() == 2 && b.has() == 2 })
	guest := join(t, url, false, f)
	if err := guest.ask(server.WorkflowGet, server.GetParams{ID: "@last"}, nil); code(err) != protocols.WorkflowNotFound {
		t.Errorf("the last of none: %v", err)
	}
	members := []*member{a, b, guest}
	runs := map[string]bool{}
	in := map[int]int{}
	last := ""
	for i := range 30 {
		name := "beta"
		if i == 7 {
			name = "alpha"
		}
		last = members[i%3].submit(servertest.Chain(name, servertest.Work{}))
		runs[last] = true
		members[i%2].ends(last, replay.Completed)
		partition, _, _ := replay.PlaceOf(last)
		in[partition]++
	}
	if len(in) != 4 || len(runs) != 30 {
		t.Fatalf("%d runs: %v", len(runs), in)
	}
	for _, m := range members {
		m.finds(t, runs, last)
		for _, limit := range []int{1, 7, 30, 50} {
			m.pages(t, runs, limit)
		}
		var s server.StatusResult
		if m.must(server.SystemStatus, nil, &s); len(s.Partitions) != 4 || s.Nodes != 2 || s.Cursor == "" {
			t.Errorf("status: %d partitions, %d nodes", len(s.Partitions), s.Nodes)
		}
		sum := uint64(0)
		for i, p := range s.Partitions {
			if sum += uint64(p.Last); p.Partition != i+1 || p.Epoch == 0 || p.Node != a.node.store.Node() && p.Node != b.node.store.Node() {
				t.Errorf("status of a partition: %+v", p)
			}
		}
		if sum != uint64(s.Records) {
			t.Errorf("%d records, and in partitions %d", s.Records, sum)
		}
		var v server.VerifyResult
		if m.must(server.SystemVerify, nil, &v); len(v.Problems) > 0 || v.Records == 0 {
			t.Errorf("verify: %+v", v)
		}
		for _, method := range []string{server.SystemBackup, server.SystemImport} {
			if err := m.ask(method, map[string]any{"path": "/nowhere/x"}, nil); code(err) != protocols.MethodNotSupported && code(err) != protocols.InvalidParams {
				t.Errorf("%s: %v", method, err)
			}
		}
	}
	if guest.has() != 0 {
		t.Errorf("a guest has %d partitions that others have", guest.has())
	}
}

// finds tries all names of runs.
func (m *member) finds(t *testing.T, runs map[string]bool, last string) {
	t.Helper()
	find := func(id string) (string, error) {
		var v replay.RunView
		err := m.ask(server.WorkflowStatus, server.RunParams{ID: id}, &v)
		return v.ID, err
	}
	for id := range maps.Keys(runs) {
		for _, name := range []string{id, id[strings.LastIndexByte(id, '-')+1:]} {
			if got, err := find(name); got != id || err != nil {
				t.Errorf("%s finds %q, %v", name, got, err)
			}
		}
	}
	if got, err := find("@last"); got != last || err != nil {
		t.Errorf("@last finds %q, %v; want %s", got, err, last)
	}
	if got, err := find("alp"); !strings.HasPrefix(got, "alpha-") || err != nil {
		t.Errorf("a beginning finds %q, %v", got, err)
	}
	if _, err := find("bet"); code(err) != protocols.InvalidParams || len(severalOf(err)) < 2 || !strings.Contains(err.Error(), "give more of it") {
		t.Errorf("a beginning of several: %v", err)
	}
	for _, none := range []string{"gamma", "beta-1x999", "beta-9x1", "5x1", "0x1", "1x999", "beta-1x0"} {
		if got, err := find(none); code(err) != protocols.WorkflowNotFound || !strings.Contains(err.Error(), fmt.Sprintf("no run %q", none)) {
			t.Errorf("%s finds %q, %v", none, got, err)
		}
	}
	if _, err := find(""); code(err) != protocols.InvalidParams {
		t.Errorf("no id: %v", err)
	}
}

// pages reads all pages: every run once, the newest first.
func (m *member) pages(t *testing.T, runs map[string]bool, limit int) {
	t.Helper()
	seen := map[string]bool{}
	var at time.Time
	p := server.ListParams{Limit: limit}
	for n := 0; ; n++ {
		var r server.ListResult
		m.must(server.WorkflowList, p, &r)
		if len(r.Runs) > limit || n > 100 {
			t.Fatalf("page %d of %d has %d runs", n, limit, len(r.Runs))
		}
		for _, v := range r.Runs {
			if seen[v.ID] || !runs[v.ID] || !at.IsZero() && v.Submitted.After(at) {
				t.Errorf("limit %d: %s at %s after %s, seen %v", limit, v.ID, v.Submitted, at, seen[v.ID])
			}
			seen[v.ID], at = true, v.Submitted
		}
		if p.Cursor = r.Cursor; p.Cursor == "" {
			break
		}
	}
	if len(seen) != len(runs) {
		t.Errorf("limit %d: %d runs of %d", limit, len(seen), len(runs))
	}
	for _, bad := range []string{"%", "AA", "gA"} {
		if err := m.ask(server.WorkflowList, server.ListParams{Cursor: bad}, nil); code(err) != protocols.InvalidParams {
			t.Errorf("cursor %q: %v", bad, err)
		}
	}
}
