package mcp

import (
	"context"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/replay"
)

// progress tells a client that wants to know how far a run is: how many of its
// tasks have ended, and in between ever closer to one more.
type progress struct {
	req   *sdk.CallToolRequest
	token any // nil: the client doesn't want to know

	tasks, ended, steps int
	allowed             float64 // how many messages may go out now
	last                time.Time
}

// A client is told the first few things at once, and then ten a second.
const (
	atOnce    = 50
	perSecond = 10
)

func newProgress(req *sdk.CallToolRequest) *progress {
	return &progress{req: req, token: req.Params.GetProgressToken(), allowed: atOnce, last: time.Now()}
}

// begin tells which run it is about.
func (p *progress) begin(ctx context.Context, id string, load func() (*replay.RunView, error)) {
	if p.token == nil {
		return
	}
	if v, err := load(); err == nil {
		p.tasks = v.Counts.Total
	}
	p.say(ctx, "run "+id)
}

// entry tells an event.
func (p *progress) entry(ctx context.Context, e *replay.Entry) {
	switch v := e.Event.(type) {
	case *replay.TaskExpanded:
		p.tasks += v.Count
	case *replay.AgentStepped:
		p.tasks += len(v.Steps)
	case *replay.TaskCompleted, *replay.TaskFailed:
		p.ended, p.steps = p.ended+1, 0
	case *replay.TaskSkipped:
		p.ended, p.steps = p.ended+len(v.Tasks), 0
	}
	text := e.Text
	if e.Task != "" {
		text = "task " + e.Task + ": " + text
	}
	p.say(ctx, text)
}

// sign tells a sign of life.
func (p *progress) sign(ctx context.Context, task, text string) {
	if text != "" {
		p.say(ctx, "task "+task+": "+text)
	}
}

// say sends a message, unless there were too many.
func (p *progress) say(ctx context.Context, text string) {
	now := time.Now()
	p.allowed = min(p.allowed+perSecond*now.Sub(p.last).Seconds(), atOnce)
	p.last = now
	if p.token == nil || p.allowed < 1 {
		return
	}
	p.allowed--
	p.steps++
	params := &sdk.ProgressNotificationParams{ProgressToken: p.token, Message: shorten(text, 500),
		Progress: float64(p.ended) + 1 - 1/float64(p.steps)}
	if p.tasks > 0 {
		params.Total = float64(max(p.tasks, p.ended+1))
	}
	_ = p.req.Session.NotifyProgress(ctx, params) // a client that is gone doesn't need it
}
