package scheduler

import (
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"gleitzeit/replay"
)

// This file keeps what a model says while it says it, so that a crash, a
// cancel or a failure doesn't lose it all (design.md, rule 9). Tokens go to
// those who watch at once; into the log they go together, seldom, and only if
// the loop has time: the stream waits for nobody.

const (
	// sayEvery and sayBytes are when what came is put into the log: that long
	// after the first of it, or when it is that much.
	sayEvery = 2 * time.Second
	sayBytes = 16 << 10
	// maxSaid bounds what is kept of one attempt, in bytes.
	maxSaid = 1 << 20
	// tailBytes is how much of its end an event shows.
	tailBytes = 120
)

// Say is what a running attempt has said more.
type Say struct {
	Run uint64
	*replay.TextStreamed
}

func (Say) command() {}

// decideSay notes it.
func decideSay(s *replay.State, now time.Time, c Say) []replay.Fact {
	if !current(s.Run(c.Run), c.Task, c.Attempt) {
		return nil
	}
	return facts(c.Run, now, c.TextStreamed)
}

// said is what one attempt says.
type said struct {
	s *Scheduler
	j job

	mu    sync.Mutex
	held  string // the end of the stream, which may be the beginning of a secret
	text  []byte // not in the log yet
	bytes int    // in the log, or on its way
	cut   bool   // there is more than is kept
	busy  bool   // the loop has some of it
	over  bool   // the attempt has ended
	timer *time.Timer
}

func newSaid(s *Scheduler, j job) *said { return &said{s: s, j: j} }

// say takes more, and returns what of it may be shown: it is without secrets,
// also those that are cut between two pieces.
func (t *said) say(more string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if scrubber := t.s.vault.scrubber(); scrubber != nil || t.held != "" {
		more = scrubber.text(t.held + more)
		hold := len(more) - scrubber.hold(more)
		more, t.held = more[:hold], more[hold:]
	}
	t.keep(more)
	return more
}

// keep puts it to what the log will have. The caller holds mu.
func (t *said) keep(more string) {
	if t.over || t.cut || more == "" {
		return
	}
	if room := maxSaid - t.bytes - len(t.text); len(more) > room {
		for room > 0 && !utf8.RuneStart(more[room]) {
			room--
		}
		more, t.cut = more[:room], true
	}
	t.text = append(t.text, more...)
	t.schedule()
}

// schedule sees that what came is put into the log, in time. The caller holds mu.
func (t *said) schedule() {
	switch {
	case t.busy || t.over || len(t.text) == 0:
	case len(t.text) >= sayBytes:
		t.flush()
	case t.timer == nil:
		t.timer = time.AfterFunc(sayEvery, t.due)
	}
}

// due comes when the first of it has waited for long enough.
func (t *said) due() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer = nil; !t.busy && !t.over {
		t.flush()
	}
}

// flush gives the loop what came. A loop that has too much to do gets it
// another time. The caller holds mu.
func (t *said) flush() {
	r := request{command: Say{t.j.run, t.piece()}, act: t.written}
	select {
	case t.s.inbox <- r:
		t.busy, t.bytes, t.text = true, t.bytes+len(t.text), nil
		if t.timer != nil {
			t.timer.Stop()
			t.timer = nil
		}
	default:
		if t.timer == nil {
			t.timer = time.AfterFunc(sayEvery, t.due)
		}
	}
}

// written lets the next go. The loop calls it.
func (t *said) written() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy = false
	t.schedule()
}

// piece is what came since the last. The caller holds mu.
func (t *said) piece() *replay.TextStreamed {
	text := strings.ToValidUTF8(t.s.vault.scrubber().text(string(t.text)), "\uFFFD")
	tail := max(0, len(text)-tailBytes)
	for tail < len(text) && !utf8.RuneStart(text[tail]) {
		tail++
	}
	return &replay.TextStreamed{Task: t.j.task, Attempt: t.j.attempt, Text: replay.NewValue([]byte(`"` + quotedJSON(text) + `"`)),
		Bytes: t.bytes + len(t.text), Cut: t.cut, Tail: text[tail:]}
}

// end takes no more, and returns what isn't in the log, if there is any.
func (t *said) end() *replay.TextStreamed {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	if scrubber := t.s.vault.scrubber(); scrubber != nil && !t.cut {
		t.text = append(t.text, scrubber.ending(t.held)...)
	}
	t.held = ""
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	if len(t.text) == 0 {
		return nil
	}
	return t.piece()
}
