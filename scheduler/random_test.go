package scheduler

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// seeds plays a game for each of the seeds of a random test, on all processors:
// the one of GLEITZEIT_SEED, or else as many as GLEITZEIT_SEEDS says (default
// few), from a number that is printed. What was played is printed at the end:
// CI looks for that.
func seeds(t *testing.T, few int, game func(t *testing.T, seed uint64) (moves int)) {
	t.Helper()
	first := uint64(time.Now().UnixNano() / 1000 % 1e9)
	switch one, many := os.Getenv("GLEITZEIT_SEED"), os.Getenv("GLEITZEIT_SEEDS"); {
	case one != "":
		first, few = number(t, "GLEITZEIT_SEED", one), 1
	case many != "":
		few = int(number(t, "GLEITZEIT_SEEDS", many))
	}
	t.Logf("seeds %d to %d; one again: GLEITZEIT_SEED=N", first, first+uint64(few)-1)
	var next, done, moves atomic.Int64
	t.Cleanup(func() { t.Logf("%s: played %d seeds with %d moves", t.Name(), done.Load(), moves.Load()) })
	for i := range runtime.GOMAXPROCS(0) {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			for n := next.Add(1) - 1; n < int64(few); n = next.Add(1) - 1 {
				seed := first + uint64(n)
				moves.Add(int64(played(t, seed, game)))
				done.Add(1)
			}
		})
	}
}

// played plays a game and says which when it panics.
func played(t *testing.T, seed uint64, game func(t *testing.T, seed uint64) (moves int)) int {
	over := false
	defer func() {
		if !over && !t.Failed() {
			fmt.Fprintf(os.Stderr, "%s: seed %d panics\n", t.Name(), seed)
		}
	}()
	moves := game(t, seed)
	over = true
	return moves
}

func number(t *testing.T, name, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestRandomCommands gives the pure core random workflows and commands, and
// holds what comes of each command against the laws (laws_test.go): what may
// happen, that a replay gives the same state, also from checkpoints and after
// a crash, and that all comes to rest in the end.
func TestRandomCommands(t *testing.T) {
	seeds(t, 60, func(t *testing.T, seed uint64) int {
		p := newPlay(t, seed)
		for range 20 + p.rng.IntN(100) {
			p.move()
		}
		p.rest()
		p.over()
		return p.moves
	})
}

// play is one random game.
type play struct {
	*core
	t       *testing.T
	seed    uint64
	rng     *rand.Rand
	referee law
	saver   *replay.Checkpointer
	replica *replay.State // folded from the records alone, never from a checkpoint
	codec   *replay.Codec
	setups  []replay.Setup
	plans   []*Submit            // what was submitted, to do so again
	keys    map[string]time.Time // when each key was taken last
	past    []Finish             // outcomes that were reported
	wanted  map[uint64]bool      // outputs that were requested in this life
	ids     map[uint64]bool
	trace   []traced
	moves   int
	// checks draws when all is compared; the game must not depend on that.
	checks *rand.Rand
	strict bool              // all is compared after each command
	then   map[uint64]string // the state as it was after some records
}

// traced is something that happened, to be told when the game is lost.
type traced struct {
	at   time.Time
	what any // a Command, a replay.Fact or a text
}

func (e traced) String() string {
	switch e := e.what.(type) {
	case replay.Fact:
		text, _ := json.Marshal(e.Event)
		return fmt.Sprintf("    %d run %d %s %s", e.Seq, e.Run, e.Event.Type(), text)
	case Submit:
		return fmt.Sprintf("  submit %s %s", e.Plan.Workflow.Name, e.Key)
	case Command:
		return fmt.Sprintf("  %T%+v", e, e)
	}
	return e.at.Format("15:04:05.000 ") + fmt.Sprint(e.what)
}

func (p *play) note(what any) { p.trace = append(p.trace, traced{p.now, what}) }

// strictly is the share of the games in which all is compared after each
// command; in the others that happens at random moments, at each crash and at
// the end. The laws see every fact of every game.
const strictly = 64

func newPlay(t *testing.T, seed uint64) *play {
	rng := rand.New(rand.NewPCG(seed, 1))
	log := eventlog.OpenMemory(eventlog.Options{})
	p := &play{core: &core{log: log, state: replay.NewState(), now: epoch}, t: t, seed: seed, rng: rng,
		referee: newReferee(), replica: replay.NewState(), ids: map[uint64]bool{}, wanted: map[uint64]bool{},
		checks: rand.New(rand.NewPCG(seed, 3)), strict: seed%strictly == 0 || os.Getenv("GLEITZEIT_SEED") != "", then: map[uint64]string{},
		keys: map[string]time.Time{}}
	p.policy = Policy{Slots: 1 + rng.IntN(8), CrashLimit: rng.IntN(4), KeyLife: time.Duration(rng.IntN(3)) * 10 * time.Second}
	p.codec = replay.NewCodec(func(h eventlog.Hash) ([]byte, error) { return p.log.Value(h) })
	for i := range 1 + rng.IntN(2) {
		p.setups = append(p.setups, replay.Setup{Config: json.RawMessage(strconv.Itoa(i)), Providers: []replay.ProviderSlots{
			{Name: "fast", Protocol: "echo/v1", Slots: 1 + rng.IntN(6)}, {Name: "slow", Protocol: "echo/v1", Slots: 1 + rng.IntN(2)}}})
	}
	p.newSaver()
	p.command(Start{PID: 1})
	return p
}

func (p *play) newSaver() {
	var err error
	if p.saver, err = replay.NewCheckpointer(p.log); err != nil {
		p.fatal("checkpointer: %v", err)
	}
}

func (p *play) fatal(format string, args ...any) {
	p.t.Helper()
	var last strings.Builder
	for _, e := range p.trace[max(0, len(p.trace)-60):] {
		fmt.Fprintln(&last, e)
	}
	p.t.Fatalf("seed %d, move %d: %s\n%s", p.seed, p.moves, fmt.Sprintf(format, args...), last.String())
}

// move makes one random move.
func (p *play) move() {
	switch n := p.rng.IntN(100); {
	case n < 14:
		p.submit()
	case n < 58:
		p.finish()
	case n < 66:
		p.late()
	case n < 78:
		p.advance()
	case n < 81:
		p.command(Cancel{Run: p.anyRun(), By: "anna"})
	case n < 84:
		p.command(Interrupt{Run: p.anyRun()})
	case n < 91:
		p.resume()
	case n < 95:
		p.crash()
	case n < 97:
		p.save()
	case n < 98:
		p.command(Start{PID: 3})
	case n < 99:
		p.policy.Closed = !p.policy.Closed
		p.command()
	default:
		p.evaluated()
	}
}

// command carries out commands in one turn and holds what comes of them, which
// it returns, against the laws.
func (p *play) command(cmds ...Command) []replay.Fact {
	p.t.Helper()
	p.moves += max(1, len(cmds))
	p.note("")
	for _, c := range cmds {
		p.note(c)
	}
	before := p.state.Seq
	fresh, err := p.step(cmds...)
	if err != nil && len(cmds) == 1 && p.state.Seq != before {
		p.fatal("refused (%v), and yet something happened", err)
	}
	p.judge(fresh)
	p.compare()
	return fresh
}

// judge lets the referee see the facts.
func (p *play) judge(fresh []replay.Fact) {
	p.t.Helper()
	p.referee.allow(p.policy)
	for _, f := range fresh {
		p.note(f)
		if err := p.referee.fact(f); err != nil {
			p.fatal("%v", err)
		}
		switch f.Event.(type) {
		case *replay.WorkflowSubmitted:
			p.ids[f.Run] = true
		case *replay.EvaluationRequested:
			p.wanted[f.Run] = true
		}
	}
	if err := p.referee.settled(p.now); err != nil {
		p.fatal("%v", err)
	}
}

// compare holds the live state against what the log replays to: after every
// command of a strict game, else now and then.
func (p *play) compare() {
	p.t.Helper()
	if !p.strict && p.checks.IntN(32) > 0 {
		return
	}
	p.replayed()
	if len(p.then) < 3 && p.checks.IntN(8) == 0 {
		p.then[uint64(p.state.Seq)] = dump(p.t, p.state)
	}
	if p.checks.IntN(4) == 0 {
		p.reloaded()
	}
}

// replayed compares with a replay of all records.
func (p *play) replayed() {
	p.t.Helper()
	p.fold()
	p.same(p.replica, "a replay of the log")
	if err := p.state.CheckIndexes(); err != nil {
		p.fatal("indexes: %v", err)
	}
}

// reloaded compares with what checkpoints and the tail give, and each run with
// its own stream.
func (p *play) reloaded() {
	p.t.Helper()
	loaded, err := replay.Load(p.log)
	if err != nil {
		p.fatal("load: %v", err)
	}
	p.same(loaded, "a replay from checkpoints")
	p.state.Each(p.history)
}

// over compares all once more, also with what the log says of earlier moments,
// and ends the game.
func (p *play) over() {
	p.t.Helper()
	p.replayed()
	p.reloaded()
	for seq, want := range p.then {
		past, err := replay.At(p.log, eventlog.Seq(seq))
		if err != nil {
			p.fatal("at %d: %v", seq, err)
		}
		if got := dump(p.t, past); got != want {
			p.fatal("the state after record %d was\n%s\nthe log says\n%s", seq, want, got)
		}
	}
	p.log.Close()
}

// fold goes on with the replay of the records.
func (p *play) fold() {
	for rec, err := range p.log.Read(p.replica.Seq + 1) {
		if err != nil {
			p.fatal("%v", err)
		}
		f, err := decode(p.codec, rec)
		if err != nil {
			p.fatal("%v", err)
		}
		p.replica.Apply(f)
	}
}

// same fails when the state differs from the live one.
func (p *play) same(s *replay.State, what string) {
	p.t.Helper()
	if g, w := dump(p.t, s), dump(p.t, p.state); g != w {
		p.fatal("%s differs:\n--- replayed\n%s\n--- live\n%s", what, g, w)
	}
	if err := s.CheckIndexes(); err != nil {
		p.fatal("%s: %v", what, err)
	}
}

// history compares a run with what its own stream gives.
func (p *play) history(r *replay.Run) {
	h, err := replay.LoadHistory(p.log, r.Number)
	if err != nil {
		p.fatal("%v", err)
	}
	got, _ := h.Run().Dump()
	want, _ := r.Dump()
	if got != want {
		p.fatal("the history of run %d differs:\n%s\n%s", r.Number, got, want)
	}
}

// submit submits something new, or something old again.
func (p *play) submit() {
	if len(p.plans) > 0 && p.rng.IntN(4) == 0 {
		again := *p.plans[p.rng.IntN(len(p.plans))]
		p.sameKey(again)
		return
	}
	s := &Scheduler{}
	sub := Submission{Workflow: randomWorkflow(p.rng, len(p.plans)), Setup: p.setups[p.rng.IntN(len(p.setups))],
		Priority: protocols.Priority(p.rng.IntN(4) - 1)}
	if p.rng.IntN(2) == 0 {
		sub.Inputs = map[string]json.RawMessage{"n": json.RawMessage(strconv.Itoa(p.rng.IntN(3)))}
	}
	if p.rng.IntN(3) == 0 {
		sub.Key = fmt.Sprintf("key%d", p.rng.IntN(6))
	}
	cmd, err := s.submit(sub)
	if err != nil {
		p.fatal("submit: %v", err)
	}
	p.plans = append(p.plans, cmd)
	p.sameKey(*cmd)
}

// sameKey submits and checks that a key makes a second run only when it has
// expired.
func (p *play) sameKey(c Submit) {
	if err := lookBack(p.log, &c); err != nil {
		p.fatal("%v", err)
	}
	if p.now.Before(p.state.Time) {
		p.now = p.state.Time
	}
	at, taken := p.keys[c.Key]
	taken = taken && (p.policy.KeyLife == 0 || p.now.Before(at.Add(p.policy.KeyLife)))
	runs := len(p.ids)
	p.command(c)
	if made := len(p.ids) - runs; made != 1 && !taken || made != 0 && taken {
		p.fatal("%d runs were made, key taken: %v", made, taken)
	}
	if c.Key != "" && !taken {
		p.keys[c.Key] = p.now
	}
}

// anyRun returns a run, most often a live one.
func (p *play) anyRun() uint64 {
	live := p.live()
	if len(live) == 0 || p.rng.IntN(20) == 0 {
		return 1 + p.rng.Uint64N(p.state.NextRun)
	}
	return live[p.rng.IntN(len(live))]
}

// live returns the live runs in order.
func (p *play) live() []uint64 {
	var live []uint64
	p.state.Each(func(r *replay.Run) { live = append(live, r.Number) })
	slices.Sort(live)
	return live
}

// running returns the attempts that could report.
func (p *play) running() []Finish { return p.attempts(false) }

// dead returns the attempts that could not, as their process died.
func (p *play) dead() []Finish { return p.attempts(true) }

func (p *play) attempts(doubt bool) (all []Finish) {
	for _, n := range p.live() {
		r := p.state.Run(n)
		for i := range r.Tasks {
			if r.Tasks[i].Status == replay.TaskRunning && r.Doubt == doubt {
				all = append(all, Finish{Run: n, Task: i, Attempt: r.Tasks[i].Attempts})
			}
		}
	}
	return all
}

// finish lets running attempts report, often several at once, and sometimes
// together with a cancel or an interrupt.
func (p *play) finish() {
	all := p.running()
	if len(all) == 0 {
		p.evaluated()
		return
	}
	p.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	var cmds []Command
	for _, f := range all[:1+p.rng.IntN(min(3, len(all)))] {
		cmds = append(cmds, p.outcome(f))
	}
	switch p.rng.IntN(20) {
	case 0:
		cmds = append(cmds, Cancel{Run: p.anyRun(), By: "anna"})
	case 1:
		cmds = append(cmds, Interrupt{Run: p.anyRun()})
	}
	p.command(cmds...)
}

// outcome gives an attempt a random outcome.
func (p *play) outcome(f Finish) Finish {
	f.Duration, f.Jitter = protocols.Duration(p.rng.IntN(1e9)), p.rng.Float64()
	switch p.rng.IntN(10) {
	case 0, 1, 2, 3, 4, 5:
		f.Result = replay.NewValue(p.result())
	case 6:
		f.Interrupted = true
	default:
		f.Error = p.failure()
	}
	p.past = append(p.past, f)
	return f
}

func (p *play) result() json.RawMessage {
	if p.rng.IntN(8) == 0 {
		return json.RawMessage(fmt.Sprintf(`"%d%s"`, p.rng.IntN(3), strings.Repeat("x", 2*replay.MaxInline)))
	}
	return json.RawMessage(strconv.Itoa(p.rng.IntN(100)))
}

func (p *play) failure() *protocols.Error {
	codes := []protocols.Code{protocols.TaskExecutionFailed, protocols.TaskTimeout, protocols.RateLimitExceeded,
		protocols.TaskParameterError, protocols.ConnectionLost}
	e := protocols.Errorf(codes[p.rng.IntN(len(codes))], "it broke <&> %d", p.rng.IntN(9))
	if p.rng.IntN(5) == 0 {
		e = e.With(map[string]float64{"retry_after": float64(p.rng.IntN(20)) / 10})
	}
	return e
}

// late reports an outcome a second time, or one of an attempt that can't have
// one any more: nothing may come of it.
func (p *play) late() {
	if len(p.past) == 0 {
		return
	}
	f := p.past[p.rng.IntN(len(p.past))]
	if dead := p.dead(); len(dead) > 0 && p.rng.IntN(2) == 0 {
		f = dead[p.rng.IntN(len(dead))]
	}
	if r := p.state.Run(f.Run); r != nil && !r.Doubt && r.Tasks[f.Task].Status == replay.TaskRunning {
		f.Attempt = p.rng.IntN(r.Tasks[f.Task].Attempts)
	}
	if p.rng.IntN(2) == 0 {
		f.Interrupted, f.Error = false, p.failure()
	}
	if fresh := p.command(f); len(fresh) > 0 {
		p.fatal("a late outcome changed something: %v", fresh)
	}
}

// evaluated reports the outputs of a run, wanted or not.
func (p *play) evaluated() {
	o := Answer{Run: p.anyRun(), What: replay.AskOutputs}
	for _, n := range p.live() {
		if p.state.Run(n).Outputs && p.rng.IntN(4) > 0 {
			o.Run = n
		}
	}
	if p.rng.IntN(4) == 0 {
		o.Error = protocols.Errorf(protocols.TaskParameterError, "no such thing")
	} else {
		o.Value = replay.NewValue(p.result())
	}
	p.command(o)
}

// advance lets time pass, most often until something is due.
func (p *play) advance() {
	if at, ok := Wake(p.state, p.policy, p.now); ok && p.rng.IntN(3) > 0 {
		p.now = at
	} else {
		p.now = p.now.Add(time.Duration(p.rng.Int64N(int64(5 * time.Second))))
	}
	if p.rng.IntN(20) == 0 {
		p.now = p.now.Add(-time.Hour) // somebody set the clock back
	}
	p.command()
}

// resume takes a run on, in some of the ways that there are.
func (p *play) resume() {
	c := Resume{Run: p.anyRun(), Explicit: p.rng.IntN(2) == 0}
	if r := p.state.Run(c.Run); r != nil && p.rng.IntN(2) == 0 {
		c.Answers = p.answers(r)
	}
	p.command(c)
}

// answers decides what is in doubt, and sometimes what isn't.
func (p *play) answers(r *replay.Run) map[int]protocols.OnCrash {
	choices := []protocols.OnCrash{protocols.CrashRetry, protocols.CrashFail, protocols.CrashSkip}
	answers := map[int]protocols.OnCrash{}
	for i := range r.Tasks {
		asked := r.Tasks[i].Status == replay.TaskDoubtful || r.Doubt && r.Tasks[i].Status == replay.TaskRunning
		if asked && p.rng.IntN(3) > 0 || p.rng.IntN(40) == 0 {
			answers[i] = choices[p.rng.IntN(len(choices))]
		}
	}
	return answers
}

// save writes checkpoints.
func (p *play) save() {
	p.note("save")
	if _, err := p.saver.Save(); err != nil {
		p.fatal("save: %v", err)
	}
}

// lose forgets all that isn't in the log, sometimes with only a part of the
// last checkpoints.
func (p *play) lose() {
	if p.rng.IntN(2) == 0 {
		p.halfSaved()
	}
	loaded, err := replay.Load(p.log)
	if err != nil {
		p.fatal("load: %v", err)
	}
	p.note("crash")
	p.same(loaded, "the state after a crash")
	p.state, p.policy.Closed = loaded, false
	p.newSaver()
}

// crash forgets all that isn't in the log and starts again.
func (p *play) crash() {
	p.lose()
	clear(p.wanted)
	if p.rng.IntN(8) == 0 {
		p.crash()
		return
	}
	p.command(Start{PID: 2})
}

// halfSaved lets the process die between two batches of checkpoints: those of
// the first streams are new, the others and the system's are old.
func (p *play) halfSaved() {
	system, found, err := p.log.Checkpoint(replay.SystemStream)
	if err != nil {
		p.fatal("%v", err)
	}
	old := p.checkpoints()
	p.save()
	mixed, left := slices.Clone(old), copyLog(p.t, p.log)
	for _, c := range p.checkpoints() {
		if p.rng.IntN(4) == 0 {
			break
		}
		mixed = append(mixed, c)
	}
	if found {
		mixed = append(mixed, system)
	}
	p.log.Close()
	p.log = left
	if err := p.log.SaveCheckpoints(mixed, nil); err != nil {
		p.fatal("%v", err)
	}
}

// checkpoints returns those of the schedules and runs, in the order in which
// they are written.
func (p *play) checkpoints() (all []eventlog.Checkpoint) {
	for _, prefix := range []string{replay.ScheduleStream(""), replay.RunPrefix} {
		for c, err := range p.log.Checkpoints(prefix) {
			if err != nil {
				p.fatal("%v", err)
			}
			all = append(all, c)
		}
	}
	return all
}

// copyLog makes a log with the same records and no checkpoints.
func copyLog(t *testing.T, from *eventlog.Log) *eventlog.Log {
	t.Helper()
	to := eventlog.OpenMemory(eventlog.Options{})
	var b eventlog.Batch
	for r, err := range from.Read(1) {
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range r.Refs {
			v, err := from.Value(h)
			if err != nil {
				t.Fatal(err)
			}
			b.Put(v)
		}
		b.Add(r)
	}
	if b.Len() == 0 {
		return to
	}
	if _, err := to.Append(&b); err != nil {
		t.Fatal(err)
	}
	return to
}

// rest lets everything report and every clock run down: what lives then waits
// for something that its status names. Then it is taken on and must end.
func (p *play) rest() {
	p.policy.Closed = false
	p.command()
	p.drive()
	for _, n := range p.live() {
		r := p.state.Run(n)
		if status, _, why := r.Stand(); status != replay.Waiting && status != replay.Parked || why == "" {
			p.fatal("run %d rests, and is said to be %q (%s)", n, status, why)
		}
	}
	for range 20 {
		for _, n := range p.live() {
			answers := map[int]protocols.OnCrash{}
			for i, t := range p.state.Run(n).Tasks {
				if t.Status == replay.TaskDoubtful {
					answers[i] = protocols.CrashRetry
				}
			}
			p.command(Resume{Run: n, Explicit: true, Answers: answers})
		}
		p.drive()
	}
	if live := p.live(); len(live) > 0 {
		p.fatal("runs %v don't end", live)
	}
	p.acknowledged()
}

// drive lets all that runs report until nothing runs and no clock goes.
func (p *play) drive() {
	for range 10_000 {
		all := p.running()
		if len(all) > 0 {
			f := all[p.rng.IntN(len(all))]
			if p.rng.IntN(4) == 0 {
				f.Error = p.failure()
			}
			p.command(f)
			continue
		}
		if p.deliverOutputs() {
			continue
		}
		at, ok := Wake(p.state, p.policy, p.now)
		if !ok {
			return
		}
		p.now = at
		p.command()
	}
	p.fatal("it doesn't come to rest")
}

// deliverOutputs evaluates what this process was asked for.
func (p *play) deliverOutputs() bool {
	for _, n := range p.live() {
		if p.wanted[n] {
			delete(p.wanted, n)
			p.command(Answer{Run: n, What: replay.AskOutputs, Value: replay.NewValue(p.result())})
			return true
		}
	}
	return false
}

// acknowledged checks that every run that was accepted has a history that
// ends, and can be shown with all its values.
func (p *play) acknowledged() {
	for n := range p.ids {
		h, err := replay.LoadHistory(p.log, n)
		if err != nil || h == nil || !h.Ended() {
			p.fatal("run %d was accepted: %v %v", n, h, err)
		}
		if _, err := h.View(p.log.Value); err != nil {
			p.fatal("run %d can't be shown: %v", n, err)
		}
	}
}

// randomWorkflow makes a document of up to 12 tasks.
func randomWorkflow(rng *rand.Rand, n int) *protocols.Workflow {
	w := &protocols.Workflow{Version: protocols.DocumentVersion, Name: fmt.Sprintf("w%d", n)}
	if rng.IntN(4) == 0 {
		w.Timeout = protocols.Duration(time.Duration(1+rng.IntN(20)) * time.Second)
	}
	if rng.IntN(3) == 0 {
		w.MaxParallel = 1 + rng.IntN(3)
	}
	if rng.IntN(2) == 0 {
		w.ErrorStrategy = protocols.Continue
	}
	if rng.IntN(3) == 0 {
		w.Outputs = []protocols.Output{{Name: "x", Value: json.RawMessage("1")}}
	}
	density := rng.Float64()
	for i := range 1 + rng.IntN(12) {
		w.Tasks = append(w.Tasks, randomTask(rng, i, density))
	}
	return w
}

func randomTask(rng *rand.Rand, i int, density float64) *protocols.Task {
	t := &protocols.Task{ID: fmt.Sprintf("t%d", i), Name: fmt.Sprintf("t%d", i), Protocol: "echo/v1", Method: "echo/echo",
		Parameters: json.RawMessage("{}"), Literal: true, Priority: protocols.Priority(rng.IntN(4) - 1),
		ContinueOnError: rng.IntN(4) == 0, Provider: []string{"", "fast", "slow"}[rng.IntN(3)],
		OnCrash: []protocols.OnCrash{"", protocols.CrashRetry, protocols.CrashFail, protocols.CrashSkip, protocols.CrashAsk}[rng.IntN(5)]}
	for d := range i {
		if rng.Float64() < density/2 {
			t.Dependencies = append(t.Dependencies, d)
		}
	}
	if rng.IntN(2) == 0 {
		t.Retry = &protocols.Retry{Deadline: protocols.Duration(rng.IntN(3)/2) * protocols.Duration(5*time.Second), MaxAttempts: 1 + rng.IntN(4), Jitter: rng.IntN(2) == 0, MaxDelay: protocols.Duration(3 * time.Second),
			Backoff:   []protocols.Backoff{protocols.Exponential, protocols.Linear, protocols.Fixed}[rng.IntN(3)],
			BaseDelay: protocols.Duration(rng.IntN(2000)) * protocols.Duration(time.Millisecond)}
	}
	return t
}
