package cluster

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// TestBalance: each server has its share, when servers come and when they go.
func TestBalance(t *testing.T) {
	t.Parallel()
	url := urlIn(redisDir(t), "partitions=7&lease=1s")
	f := &servertest.Fake{}
	a := join(t, url, true, f)
	a.all()
	b, c := join(t, url, true, f), join(t, url, true, f)
	shares := func(what string, want []int, of ...*member) {
		t.Helper()
		until(t, what, func() bool {
			var has []int
			for _, m := range of {
				has = append(has, m.has())
			}
			slices.Sort(has)
			return slices.Equal(has, want)
		})
	}
	shares("three have their shares", []int{2, 2, 3}, a, b, c)
	a.leave()
	shares("two have their shares", []int{3, 4}, b, c)
	b.leave()
	shares("one has all", []int{7}, c)
}

// TestBusyStays: a partition in which something runs isn't given away for
// another's share.
func TestBusyStays(t *testing.T) {
	t.Parallel()
	url := urlIn(redisDir(t), "partitions=2&lease=1s")
	started := make(chan providers.Call, 2)
	f := &servertest.Fake{Started: started, Released: make(chan struct{})}
	a := join(t, url, true, f)
	a.all()
	var ids []string
	for i := 0; len(ids) < 2; i++ { // one in each
		p := servertest.Chain("busy", servertest.Work{Hold: true})
		for p.Key = fmt.Sprint(i); a.node.partitionOf(p.Key) != len(ids)+1; p.Key += "x" {
		}
		ids = append(ids, a.submit(p))
		next(t, "a start", started)
	}
	b := join(t, url, true, f)
	own := balancing{orphans: map[int]time.Time{}}
	nodes := []string{a.node.store.Node(), b.node.store.Node()}
	for range 3 {
		if err := a.node.look(nodes, &own); err != nil {
			t.Fatal(err)
		}
	}
	if a.has() != 2 || own.tooMany.IsZero() {
		t.Errorf("%d partitions stay, %v", a.has(), own.tooMany)
	}
	close(f.Released)
	for _, id := range ids {
		b.ends(id, replay.Completed)
		if h := a.history(id); slices.Contains(h, "system.orphaned") || slices.Contains(h, "task.retrying") {
			t.Errorf("the history of %s: %v", id, h)
		}
	}
	until(t, "an idle one is given away", func() bool { return a.has() == 1 && b.has() == 1 })
}

// TestTakeOver: what runs in a partition that its owner loses is stopped there,
// and comes to its end at another node.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	dir := redisDir(t)
	url := urlIn(dir, "partitions=2&lease=1s")
	started := make(chan providers.Call, 10)
	f := &servertest.Fake{Started: started, Released: make(chan struct{})}
	a, b := join(t, url, true, f), join(t, url, true, f)
	guest := join(t, url, false, f)
	until(t, "each has one", func() bool { return a.has() == 1 && b.has() == 1 })
	id := guest.submit(servertest.Chain("moved", servertest.Work{}, servertest.Work{Hold: true}, servertest.Work{Value: "done"}))
	next(t, "a start", started)
	next(t, "a start", started)
	partition, _, _ := replay.PlaceOf(id)
	before := owner(t, guest, partition)
	waited := make(chan *replay.RunView)
	go func() { waited <- guest.ends(id, replay.Completed) }() // by whoever has it
	overthrow(t, dir, partition)
	again := next(t, "another start", started)
	if now := owner(t, guest, partition); now.Epoch < before.Epoch+2 {
		t.Errorf("epoch %d follows %d", now.Epoch, before.Epoch)
	}
	if again.Task != "t2" {
		t.Errorf("task %s is tried again", again.Task)
	}
	close(f.Released)
	if v := next(t, "the end", waited); v.ID != id {
		t.Errorf("it waited for %s", v.ID)
	}
	count := map[string]int{}
	for _, e := range guest.history(id) {
		count[e]++
	}
	if count["task.completed"] != 3 || count["workflow.completed"] != 1 || count["workflow.submitted"] != 1 {
		t.Errorf("its history: %v", count)
	}
	for _, m := range []*member{a, b, guest} {
		var v server.VerifyResult
		if m.must(server.SystemVerify, nil, &v); len(v.Problems) > 0 {
			t.Errorf("verify: %v", v.Problems)
		}
	}
}

func next[T any](t testing.TB, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-soon(t).Done():
		t.Fatalf("it never comes: %s", what)
	}
	return v
}

func owner(t testing.TB, m *member, partition int) eventlog.Owner {
	t.Helper()
	o, err := m.node.store.Owners(t.Context(), partition)
	if err != nil {
		t.Fatal(err)
	}
	return o[0]
}

// waitingFor is a workflow that waits for n signals, one after the other.
func waitingFor(t testing.TB, n int) server.SubmitParams {
	t.Helper()
	text := `{"name": "waits", "tasks": [{"name": "s0", "method": "wait/signal", "parameters": {"name": "go"}}`
	for i := 1; i < n; i++ {
		text += fmt.Sprintf(`, {"name": "s%d", "dependencies": ["s%d"], "method": "wait/signal", "parameters": {"name": "go"}}`, i, i-1)
	}
	d, problems := protocols.Parse("w.json", []byte(text+`]}`))
	if problems.Err() != nil {
		t.Fatal(problems)
	}
	w, problems := protocols.NewRegistry().Compile(d)
	if problems.Err() != nil {
		t.Fatal(problems)
	}
	return server.SubmitParams{Document: w.Encode()}
}

// TestCallsMeanwhile: while partitions change hands again and again, each call
// that is answered was carried out, and once; and whoever follows all runs sees
// each event once, in order.
func TestCallsMeanwhile(t *testing.T) {
	t.Parallel()
	dir := redisDir(t)
	url := urlIn(dir, "partitions=2&lease=1s")
	f := &servertest.Fake{}
	a, b := join(t, url, true, f), join(t, url, true, f)
	a.all()
	guest := join(t, url, false, f)
	guest.must(server.LogFollow, server.FollowParams{}, nil)
	const signals = 12
	waits := b.submit(waitingFor(t, signals))
	var calls atomic.Int64
	var calling sync.WaitGroup
	ids := make([][]string, 3)
	for i, m := range []*member{a, b, guest} {
		calling.Go(func() {
			for k := range signals / 3 {
				p := servertest.Chain("short", servertest.Work{})
				p.Key = fmt.Sprint("run", k) // the same of all three
				var r server.RunResult
				err := m.ask(server.WorkflowSubmit, p, &r)
				if err = errors.Join(err, m.ask(server.SignalSend, server.SignalParams{ID: waits, Name: "go"}, nil)); err != nil {
					t.Errorf("member %d: %v", i, err)
				}
				ids[i] = append(ids[i], r.ID)
				calls.Add(1)
			}
		})
	}
	for n := range 2 {
		until(t, "calls are answered", func() bool { return calls.Load() > int64(2*n) })
		overthrow(t, dir, 1)
		overthrow(t, dir, 2)
	}
	calling.Wait()
	guest.ends(waits, replay.Completed)
	seen := map[string]int{}
	for _, e := range a.history(waits) {
		seen[e]++
	}
	if seen["signal.received"] != signals || seen["workflow.completed"] != 1 {
		t.Errorf("%d signals were sent: %v", signals, seen)
	}
	if !slices.Equal(ids[0], ids[1]) || !slices.Equal(ids[0], ids[2]) {
		t.Errorf("the runs of the keys: %v", ids)
	}
	for _, id := range ids[0] {
		a.ends(id, replay.Completed)
	}
	var l server.ListResult
	if b.must(server.WorkflowList, server.ListParams{}, &l); len(l.Runs) != signals/3+1 {
		t.Errorf("there are %d runs", len(l.Runs))
	}
	if guest.has() != 0 {
		t.Errorf("a command has taken %d partitions from the servers", guest.has())
	}
	cursor := guest.hears(t, append([]string{waits}, ids[0]...))

	again := join(t, url, false, f) // goes on where the other one stopped
	again.must(server.LogFollow, server.FollowParams{Cursor: cursor}, nil)
	fresh := a.submit(servertest.Chain("short", servertest.Work{}))
	a.ends(fresh, replay.Completed)
	again.hears(t, []string{fresh})
	for _, bad := range []string{"%", "AA", cursor + "AA"} {
		if err := again.ask(server.LogFollow, server.FollowParams{Cursor: bad}, nil); code(err) != protocols.InvalidParams {
			t.Errorf("cursor %q: %v", bad, err)
		}
	}
}

// hears takes events until these runs have ended: of no others, each once, in
// order. It returns the cursor of the last.
func (m *member) hears(t *testing.T, runs []string) (cursor string) {
	t.Helper()
	at, ended := map[int]eventlog.Seq{}, map[string]bool{}
	for ctx := soon(t); len(ended) < len(runs); {
		var n notice
		select {
		case n = <-m.told:
		case <-ctx.Done():
			t.Fatalf("of %v only %v end", runs, ended)
		}
		if n.method != server.LogEvent {
			continue
		}
		if cursor = n.Cursor; cursor == "" {
			t.Error("an event has no cursor")
		}
		partition, _, _ := replay.PlaceOf(n.entry.Run)
		if n.entry.Run != "" && !slices.Contains(runs, n.entry.Run) {
			t.Errorf("it hears of %s", n.entry.Run)
		}
		if n.entry.Run != "" && n.entry.Seq <= at[partition] {
			t.Errorf("partition %d: record %d comes after %d", partition, n.entry.Seq, at[partition])
		}
		if n.entry.Run != "" {
			at[partition] = n.entry.Seq
		}
		if n.entry.Type == "workflow.completed" {
			ended[n.entry.Run] = true
		}
	}
	return cursor
}

// TestCallTwice: a call that comes again is answered again, and carried out
// once; and one that nobody waits for any more is called off.
func TestCallTwice(t *testing.T) {
	t.Parallel()
	url := urlIn(redisDir(t), "partitions=2&lease=1h")
	started := make(chan providers.Call, 10)
	f := &servertest.Fake{Started: started, Released: make(chan struct{})}
	a := join(t, url, true, f)
	a.all()
	guest := join(t, url, false, f)
	p := a.node.owns(1)
	answers := make(chan eventlog.Answer, 10)
	guest.node.mu.Lock()
	guest.node.asked["twice"] = answers
	guest.node.mu.Unlock()
	params := servertest.Chain("twice", servertest.Work{})
	l, err := guest.node.letter(1, owner(t, guest, 1), sent{id: "twice", method: guest.node.methods[server.WorkflowSubmit], params: params,
		call: &server.Call{Peer: server.NewPeer(t.Context(), server.Identity{Trusted: true})}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := guest.node.store.Send(soon(t), 1, p.log.Epoch(), l); err != nil {
			t.Fatal(err)
		}
		select {
		case answer := <-answers:
			if _, _, err := read(guest.node.methods[server.WorkflowSubmit], answer); err != nil {
				t.Error(err)
			}
		case <-soon(t).Done():
			t.Fatal("no answer")
		}
	}
	var r server.ListResult
	if a.must(server.WorkflowList, server.ListParams{}, &r); len(r.Runs) != 1 {
		t.Errorf("a call that came three times made %d runs", len(r.Runs))
	}
	other := l
	other.ID = "other" // what was sealed for one call is none for another
	guest.node.mu.Lock()
	guest.node.asked["other"] = answers
	guest.node.mu.Unlock()
	if err := guest.node.store.Send(soon(t), 1, p.log.Epoch(), other); err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(guest.node.methods[server.WorkflowSubmit], next(t, "an answer", answers)); err == nil {
		t.Error("a call is taken under another name")
	}

	var key string
	for key = "x"; a.node.partitionOf(key) != 1; key += "x" {
	}
	held := servertest.Chain("held", servertest.Work{Hold: true})
	held.Key = key
	id := a.submit(held)
	ctx, cancel := context.WithCancel(t.Context())
	waiting := func() (n int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, in := range p.calls {
			if in.answer == nil {
				n++
			}
		}
		return n
	}
	for _, goes := range []func(){cancel, func() { guest.leave() }} {
		done := make(chan error)
		go func() { done <- guest.conn.Call(ctx, server.WorkflowWait, server.WaitParams{ID: id}, nil) }()
		until(t, "the call is carried out", func() bool { return waiting() == 1 })
		if goes(); next(t, "the end of the call", done) == nil {
			t.Error("it got an answer")
		}
		if ctx.Err() != nil {
			guest.conn.Close()
			<-guest.conn.Ended()
			ctx = t.Context()
			guest = join(t, url, false, f)
		}
		until(t, "the call is called off", func() bool { return waiting() == 0 })
	}
	close(f.Released)
	a.ends(id, replay.Completed)
}

// TestSecretsStaySealed: what a submission brings of secrets lies nowhere in
// the Redis, nor in its files.
func TestSecretsStaySealed(t *testing.T) {
	t.Parallel()
	dir := redisDir(t)
	url := urlIn(dir, "partitions=2&lease=1h")
	f := &servertest.Fake{}
	a := join(t, url, true, f)
	a.all()
	guest := join(t, url, false, f)
	const secret, open = "correct-horse-battery-staple", "open-as-the-day-is-long"
	for range 4 {
		p := servertest.Chain("sealed", servertest.Work{Value: open})
		p.Secrets = map[string]string{"env:TOKEN": secret}
		guest.ends(guest.submit(p), replay.Completed)
	}
	files, letters, values := 0, false, false
	if err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		files++
		for _, form := range forms(secret) {
			if bytes.Contains(text, []byte(form)) {
				t.Errorf("%s has the secret, as %s", path, form)
			}
		}
		letters = letters || bytes.Contains(text, []byte(":inbox"))
		values = values || bytes.Contains(text, []byte(open))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if files < 2 || !letters || !values {
		t.Errorf("that proves nothing: %d files, letters %v, values %v", files, letters, values)
	}
}

// forms are what a text looks like, also within something in base64.
func forms(text string) []string {
	all := []string{text}
	for skip := range 3 {
		coded := base64.RawStdEncoding.EncodeToString([]byte("xxx"[:skip] + text))
		all = append(all, coded[skip+(skip+1)/2:len(coded)-3])
	}
	return all
}
