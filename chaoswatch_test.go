//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// chaosWatch hears of everything that a Redis does, in the order in which it does
// it (MONITOR), and holds it against what must be: in each partition one record
// follows the other, and each is written in the newest epoch that there is. It
// knows nothing of our code but the names of the keys.
type chaosWatch struct {
	mu     sync.Mutex
	parts  map[string]*chaosPart
	wrong  []string
	lost   []*chaosLoss
	writer string     // the owner that the script names which is being carried out
	taken  *chaosPart // what it has taken just now
}

// chaosPart is what was seen of a partition.
type chaosPart struct {
	last  uint64 // record
	epoch uint64 // of its owner
	pid   int    // of that
	n     int    // records
}

// chaosLoss is a partition whose owner has died or was stopped.
type chaosLoss struct {
	part  string
	epoch uint64
	at    time.Time
	alone bool          // no other server was hurt until somebody else had it
	took  time.Duration // until then
}

func newChaosWatch(t *testing.T, socket string) *chaosWatch {
	conn, err := net.Dial("unix", socket)
	for end := time.Now().Add(patience); err != nil && time.Now().Before(end); conn, err = net.Dial("unix", socket) {
		time.Sleep(5 * time.Millisecond) // its file is there before it listens
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := conn.Write([]byte("MONITOR\r\n")); err != nil {
		t.Fatal(err)
	}
	w := &chaosWatch{parts: map[string]*chaosPart{}}
	go w.listen(bufio.NewReaderSize(conn, 1<<20))
	return w
}

func (w *chaosWatch) listen(r *bufio.Reader) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		w.line(line)
	}
}

// chaosLine is a line of MONITOR: when, by whom, and what.
var chaosLine = regexp.MustCompile(`^\+(\d+)\.(\d+) \[\d+ ([^\]]*)\] (.*?)\r?\n$`)

// chaosKey is a key of a partition.
var chaosKey = regexp.MustCompile(`^gleitzeit:\{chaos\.(p\d+)\}:(log|owner|lease)$`)

// line looks at one thing that Redis does. What a script does comes after it.
func (w *chaosWatch) line(text string) {
	m := chaosLine.FindStringSubmatch(text)
	if m == nil {
		return
	}
	byScript := m[3] == "lua"
	most := 6 // words that matter
	if !byScript {
		if !strings.HasPrefix(strings.ToLower(m[4]), `"eval`) {
			return
		}
		most = 16
	}
	words := chaosWords(m[4], most)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case !byScript:
		w.script(words)
	case len(words) > 2:
		sec, _ := strconv.ParseInt(m[1], 10, 64)
		usec, _ := strconv.ParseInt(m[2], 10, 64)
		w.does(time.Unix(sec, usec*1000), words)
	}
}

// script notes the first argument of a script, which is the owner if it writes
// records.
func (w *chaosWatch) script(words []string) {
	w.writer, w.taken = "", nil
	if len(words) < 4 {
		return
	}
	if keys, err := strconv.Atoi(words[2]); err == nil && len(words) > 3+keys {
		w.writer = words[3+keys]
	}
}

// does is something that a script does.
func (w *chaosWatch) does(at time.Time, words []string) {
	key := chaosKey.FindStringSubmatch(words[1])
	if key == nil {
		return
	}
	p := w.parts[key[1]]
	if p == nil {
		p = &chaosPart{}
		w.parts[key[1]] = p
	}
	switch command := strings.ToUpper(words[0]); {
	case command == "XADD" && key[2] == "log":
		w.record(key[1], p, words[2])
	case command == "SET" && key[2] == "owner":
		epoch := chaosEpoch(words[2])
		if epoch <= p.epoch {
			w.wrongly("%s: epoch %d comes after %d", key[1], epoch, p.epoch)
		}
		p.epoch, w.taken = epoch, p
	case command == "SET" && key[2] == "lease" && w.taken == p:
		var who struct{ PID int }
		_ = json.Unmarshal([]byte(words[2]), &who)
		p.pid, w.taken = who.PID, nil
		for _, l := range w.lost {
			if l.part == key[1] && l.took == 0 && p.epoch > l.epoch {
				l.took = max(at.Sub(l.at), 1)
			}
		}
	}
}

// record is one more of a partition.
func (w *chaosWatch) record(part string, p *chaosPart, entry string) {
	seq, err := strconv.ParseUint(strings.TrimSuffix(entry, "-0"), 10, 64)
	if err != nil || seq != p.last+1 {
		w.wrongly("%s: record %q comes after %d", part, entry, p.last)
	}
	if epoch := chaosEpoch(w.writer); epoch != p.epoch || epoch == 0 {
		w.wrongly("%s: record %d was written in epoch %d by %q, and the newest is %d", part, seq, epoch, w.writer, p.epoch)
	}
	p.last, p.n = seq, p.n+1
}

func (w *chaosWatch) wrongly(format string, args ...any) {
	if len(w.wrong) < 20 {
		w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
	}
}

// chaosEpoch is that of an owner, "EPOCH TOKEN".
func chaosEpoch(owner string) uint64 {
	text, _, _ := strings.Cut(owner, " ")
	n, _ := strconv.ParseUint(text, 10, 64)
	return n
}

// chaosWords reads the words of a line, up to so many.
func chaosWords(text string, most int) (words []string) {
	for len(words) < most && strings.HasPrefix(text, `"`) {
		quoted, err := strconv.QuotedPrefix(text)
		if err != nil {
			return words
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			return words
		}
		words, text = append(words, word), strings.TrimPrefix(text[len(quoted):], " ")
	}
	return words
}

// another notes that one more server is hurt.
func (w *chaosWatch) another() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.lost {
		l.alone = l.alone && l.took > 0
	}
}

// dies notes that a server is about to die, or to be stopped, and whether that
// is the only one.
func (w *chaosWatch) dies(pid int, alone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, p := range w.parts {
		if p.pid == pid {
			w.lost = append(w.lost, &chaosLoss{part: name, epoch: p.epoch, at: time.Now(), alone: alone})
		}
	}
}

// problems are what was wrong. That nothing was seen is wrong, too.
func (w *chaosWatch) problems() []string {
	if w.records() == 0 || w.newest() == 0 {
		return []string{"the watcher has seen nothing"}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.wrong...)
}

// takeovers are how long partitions were without an owner; alone: but those for
// which there was more than one reason.
func (w *chaosWatch) takeovers(alone bool) (took []time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.lost {
		if l.took > 0 && (l.alone || !alone) {
			took = append(took, l.took)
		}
	}
	return took
}

func (w *chaosWatch) records() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.parts {
		n += p.n
	}
	return n
}

func (w *chaosWatch) partitions() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.parts)
}

func (w *chaosWatch) newest() (epoch uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.parts {
		epoch = max(epoch, p.epoch)
	}
	return epoch
}
