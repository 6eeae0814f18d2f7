package client_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/replay"
)

// tally is what a test knows of its children, as they tell it.
type tally struct {
	mu        sync.Mutex
	completed int               // tasks, as told by all
	holder    *child            // who said last that he holds the store
	told      map[*child][]sign // all of it
	changed   chan struct{}     // gets one when there is news
}

func (l *tally) listen(c *child) {
	for s := range c.signs {
		l.mu.Lock()
		l.told[c] = append(l.told[c], s)
		if s.Holder {
			l.holder = c
		}
		if s.Entry != nil && s.Entry.Type == "task.completed" {
			l.completed++
		}
		l.mu.Unlock()
		select {
		case l.changed <- struct{}{}:
		default:
		}
	}
}

// Five processes at once on one store; those that hold it are killed, two of
// them, in the middle. The others' runs end right, seen in full by those who
// wait for them, and so do the runs of the dead when they are resumed.
func TestKilledHolders(t *testing.T) {
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Logf("seed %d", seed)
			for delay := 3 * time.Millisecond; !killHolders(t, rand.New(rand.NewPCG(seed, 1)), delay); delay *= 4 {
				t.Logf("with tasks of %s all ended before two were killed: a slow machine", delay)
			}
		})
	}
}

// killHolders tells whether there was time to kill enough of them.
func killHolders(t *testing.T, random *rand.Rand, delay time.Duration) bool {
	const children, tasks, victims = 5, 12, 2
	dir := t.TempDir()
	o := order{Store: filepath.Join(dir, "store"), Tasks: tasks, Delay: delay, Notes: filepath.Join(dir, "notes")}
	l := &tally{told: map[*child][]sign{}, changed: make(chan struct{}, 1)}
	var listening sync.WaitGroup
	var all []*child
	for range children {
		c := spawn(t, o)
		all = append(all, c)
		listening.Go(func() { l.listen(c) })
	}
	ended := make(chan struct{})
	go func() { listening.Wait(); close(ended) }()
	killed := map[*child]bool{}
	next := 1 + random.IntN(children*tasks/3)
	for len(killed) < victims {
		select {
		case <-l.changed:
		case <-ended:
			return false
		}
		l.mu.Lock()
		victim := l.holder
		if l.completed >= next && victim != nil && !killed[victim] {
			victim.cmd.Process.Kill()
			killed[victim] = true
			next = l.completed + 1 + random.IntN(children*tasks/4)
		}
		l.mu.Unlock()
	}
	<-ended

	c := open(t, onDisk(o.Store, &servertest.Fake{Note: note(o.Notes)}))
	var resumed server.RunsResult
	if err := c.Call(soon(t), server.WorkflowResumeAll, nil, &resumed); err != nil {
		t.Fatal(err)
	}
	for _, id := range resumed.IDs {
		checkOnce(t, follow(t, c, id), tasks)
	}
	dead := 0
	for _, one := range all {
		died := killed[one] && one.err != nil
		if died {
			dead++
		}
		checkChild(t, c, l.told[one], one.err, died, tasks)
	}
	t.Logf("%d holders died, %d runs resumed", dead, len(resumed.IDs))
	checkRuns(t, c, children, tasks, o.Notes)
	return true
}

// checkChild checks what a child told against the history of its run.
func checkChild(t *testing.T, c *client.Client, told []sign, err error, killed bool, tasks int) {
	t.Helper()
	var id string
	var entries []replay.Entry
	for _, s := range told {
		if s.Error != "" && !killed {
			t.Error(s.Error)
		}
		if s.Run != "" {
			id = s.Run
		}
		if s.Entry != nil {
			entries = append(entries, *s.Entry)
		}
	}
	if killed {
		if id == "" {
			return
		}
	} else {
		if err != nil || len(told) == 0 || !told[len(told)-1].Done {
			t.Errorf("a child that nobody killed: %v", err)
		}
		checkOnce(t, entries, tasks)
	}
	var h server.HistoryResult
	if err := c.Call(soon(t), server.WorkflowHistory, server.RunParams{ID: id}, &h); err != nil {
		t.Error(err)
		return
	}
	checkOnce(t, h.Entries, tasks)
	for i, e := range entries {
		if i >= len(h.Entries) || e.Seq != h.Entries[i].Seq || e.Type != h.Entries[i].Type {
			t.Errorf("%s: entry %d is %d %s, not as in the history", id, i, e.Seq, e.Type)
			return
		}
	}
}

// checkRuns checks that all runs have completed, and that no task was carried
// out twice but for those that a kill left in doubt.
func checkRuns(t *testing.T, c *client.Client, runs, tasks int, notes string) {
	t.Helper()
	b, err := os.ReadFile(notes)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	slices.Sort(lines)
	count := map[string]int{}
	for _, line := range lines {
		count[line]++
	}
	var list server.ListResult
	if err := c.Call(soon(t), server.WorkflowList, nil, &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Runs) > runs { // one that was killed early may have none
		t.Errorf("%d runs of %d processes: a submission was taken twice", len(list.Runs), runs)
	}
	for _, r := range list.Runs {
		v := get(t, c, r.ID)
		if v.Status != replay.Completed || len(v.Tasks) != tasks {
			t.Errorf("%s is %s", v.ID, v.Status)
		}
		for _, task := range v.Tasks {
			if n := count[v.ID+" "+task.ID]; n < 1 || n > task.Attempts {
				t.Errorf("%s of %s was carried out %d times in %d attempts", task.ID, v.ID, n, task.Attempts)
			}
		}
	}
	var verified server.VerifyResult
	if err := c.Call(soon(t), server.SystemVerify, nil, &verified); err != nil || len(verified.Problems) > 0 {
		t.Errorf("verify: %v %v", verified.Problems, err)
	}
}

// Five processes at once, none killed: each holder leaves when its own run has
// ended and the next takes over.
func TestFiveProcesses(t *testing.T) {
	const children, tasks = 5, 5
	dir := t.TempDir()
	o := order{Store: filepath.Join(dir, "store"), Tasks: tasks, Delay: 3 * time.Millisecond, Notes: filepath.Join(dir, "notes")}
	l := &tally{told: map[*child][]sign{}, changed: make(chan struct{}, 1)}
	var listening sync.WaitGroup
	var all []*child
	for range children {
		c := spawn(t, o)
		all = append(all, c)
		listening.Go(func() { l.listen(c) })
	}
	listening.Wait()
	c := open(t, onDisk(o.Store, &servertest.Fake{}))
	for _, one := range all {
		checkChild(t, c, l.told[one], one.err, false, tasks)
	}
	checkRuns(t, c, children, tasks, o.Notes)
}
