package providers

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// puzzle is a link with calls under way, of which a server asks.
type puzzle struct {
	*mcpLink
	leave map[string]func()
	end   map[string]context.CancelFunc
}

// newPuzzle has calls under way, oldest first, each named as its run and a number.
func newPuzzle(t *testing.T, calls ...string) *puzzle {
	p := &puzzle{&mcpLink{server: "desk", ending: make(chan struct{}), calls: map[string]*mcpCall{}}, map[string]func(){}, map[string]context.CancelFunc{}}
	for _, name := range calls {
		p.begin(t, name)
	}
	return p
}

func (p *puzzle) begin(t *testing.T, name string) {
	run, _, _ := strings.Cut(name, " ")
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), runKey{}, run))
	p.end[name] = cancel
	p.leave[name] = p.enter(ctx, name, &mcpCall{host: silent{}, ctx: ctx, number: int64(len(p.leave))})
}

// whom tells, once nothing moves, whose the question is.
func (p *puzzle) whom(ctx context.Context) func() string {
	said, done := "nobody knows yet", func() {}
	go func() {
		call, _, over, err := p.asker(ctx)
		switch {
		case err != nil:
			said = err.Error()
		case call == nil:
			said = "nobody's"
		default:
			done = over
			for name, c := range p.calls {
				if c == call {
					said = name
				}
			}
		}
	}()
	return func() string {
		synctest.Wait()
		done()
		done = func() {}
		return said
	}
}

func wantWhom(t *testing.T, ask func() string, want string) {
	t.Helper()
	if got := ask(); !strings.Contains(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestMCPWhose: a question reaches the run that it is of, or none.
func TestMCPWhose(t *testing.T) {
	for name, test := range map[string]func(t *testing.T){
		"no call":       func(t *testing.T) { wantWhom(t, newPuzzle(t).whom(t.Context()), "nobody's") },
		"the only one":  func(t *testing.T) { wantWhom(t, newPuzzle(t, "a 1").whom(t.Context()), "a 1") },
		"of one run":    func(t *testing.T) { wantWhom(t, newPuzzle(t, "a 1", "a 2").whom(t.Context()), "a 2") },
		"it is told":    isTold,
		"others end":    othersEnd,
		"others ask":    othersAsk,
		"all ask":       allAsk,
		"one is lost":   oneIsLost,
		"taken back":    takenBack,
		"the next call": nextCall,
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
	}
}

func isTold(t *testing.T) {
	p := newPuzzle(t, "a 1", "b 1")
	wantWhom(t, p.whom(context.WithValue(t.Context(), callKey{}, p.calls["a 1"])), "a 1")
}

// Whoever is answered didn't ask.
func othersEnd(t *testing.T) {
	p := newPuzzle(t, "a 1", "b 1", "c 1")
	ask := p.whom(t.Context())
	wantWhom(t, ask, "nobody knows yet")
	p.begin(t, "d 1") // too late to have asked
	p.leave["c 1"]()
	wantWhom(t, ask, "nobody knows yet")
	p.leave["b 1"]()
	wantWhom(t, ask, "a 1")
}

// Whoever is being asked for asks nothing else meanwhile, and may do so later.
func othersAsk(t *testing.T) {
	p := newPuzzle(t, "a 1")
	_, _, done, _ := p.asker(t.Context())
	p.begin(t, "b 1")
	wantWhom(t, p.whom(t.Context()), "b 1")
	done()
	ask := p.whom(t.Context())
	wantWhom(t, ask, "nobody knows yet")
	p.leave["b 1"]()
	wantWhom(t, ask, "a 1")
}

// Of two that both ask the second is refused, so that the first can be told.
func allAsk(t *testing.T) {
	p := newPuzzle(t, "a 1", "b 1")
	first := p.whom(t.Context())
	wantWhom(t, first, "nobody knows yet")
	wantWhom(t, p.whom(t.Context()), "gleitzeit can't tell for which of 2 calls of several runs this is asked; slots: 1 in mcpServers.desk")
	wantWhom(t, first, "nobody knows yet")
	p.leave["a 1"]()
	wantWhom(t, first, "b 1")
	_, _, _, _ = p.asker(t.Context())
	p.begin(t, "c 1")
	_, _, _, _ = p.asker(t.Context())
	wantWhom(t, p.whom(t.Context()), "can't tell") // both ask already
}

// A call that was given up may be the one that asked.
func oneIsLost(t *testing.T) {
	p := newPuzzle(t, "a 1", "b 1")
	ask := p.whom(t.Context())
	wantWhom(t, ask, "nobody knows yet")
	p.end["a 1"]()
	p.leave["a 1"]()
	wantWhom(t, ask, "can't tell")
}

func takenBack(t *testing.T) {
	p := newPuzzle(t, "a 1", "b 1")
	ctx, cancel := context.WithCancel(t.Context())
	ask, other := p.whom(ctx), newPuzzle(t, "a 1", "b 1")
	wantWhom(t, ask, "nobody knows yet")
	cancel()
	wantWhom(t, ask, "context canceled")
	ask = other.whom(t.Context())
	wantWhom(t, ask, "nobody knows yet")
	close(other.ending)
	wantWhom(t, ask, "MCP server desk has ended")
}

// What was asked and answered leaves nothing behind.
func nextCall(t *testing.T) {
	p := newPuzzle(t, "a 1")
	wantWhom(t, p.whom(t.Context()), "a 1")
	p.leave["a 1"]()
	p.begin(t, "b 1")
	wantWhom(t, p.whom(t.Context()), "b 1")
	if p.puzzles != 0 || p.calls["b 1"].asks != 0 {
		t.Errorf("%d puzzles, %d questions", p.puzzles, p.calls["b 1"].asks)
	}
}

// asked notes what comes to a call of a run.
type asked struct {
	adviser
	began chan struct{}
}

func (a *asked) Progress(Progress) {
	select {
	case a.began <- struct{}{}:
	default:
	}
}

// TestMCPAsksItsRun: a server asks for a run while a younger call of another one
// is under way.
func TestMCPAsksItsRun(t *testing.T) {
	s := openSet(t, Config{MCPServers: map[string]MCPServer{"x": serverRole("asker")}})
	call := func(run, tool string) (*asked, chan string) {
		host, over := &asked{began: make(chan struct{}, 1)}, make(chan string, 1)
		host.asked = make(chan Question, 1)
		host.answer = func(context.Context, Question) (Answer, error) {
			return Answer{Action: Accept, Content: json.RawMessage(`{"run":"` + run + `"}`)}, nil
		}
		go func() {
			raw, err := s.Call(patience(t, time.Minute), "x", Call{Method: "mcp/tool." + tool, Parameters: json.RawMessage(`{}`), Run: run}, host)
			over <- string(raw) + wrongText(err)
		}()
		return host, over
	}
	mine, waits := call("a-1", "wait")
	within(t, "the call began", mine.began)
	_, pokes := call("b-1", "poke")
	if got := <-waits; !strings.Contains(got, `"run":"a-1"`) {
		t.Errorf("asked of another: %s", got)
	}
	<-pokes
}
