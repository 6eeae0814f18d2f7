package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/replay"
)

// signalCmd sends a run a signal.
type signalCmd struct {
	ID   string `arg:"" help:"${id}"`
	Name string `arg:"" help:"The signal's name, as the waiting task has it."`
	Data string `placeholder:"JSON" help:"What is sent with it: JSON, @FILE, or - for standard input."`
}

// Help shows how it is used.
func (signalCmd) Help() string {
	return `The task of the run that waits for the signal takes it, and its data is the task's
result. If no task waits for it yet, it is kept for the first that will: nothing is
lost, whether anybody runs the run or not.

Examples:

	gleitzeit signal order-7 paid
	gleitzeit signal order-7 paid --data '{"amount": 42}'
	gleitzeit signal @last upload --data @upload.json
	date +%s | gleitzeit signal order-7 time --data -`
}

// Run does it.
func (c *signalCmd) Run(s *session) error {
	data, err := readData(s.env, c.Data)
	if err != nil {
		return usage(err)
	}
	return s.act(c.ID, func(ctx context.Context, store *client.Client, id string) error {
		p := server.SignalParams{ID: id, Name: c.Name, Data: data, By: s.env.user()}
		return store.Call(ctx, server.SignalSend, p, nil)
	})
}

// readData reads what is sent: JSON, a file's or standard input's.
func readData(env *environment, given string) (json.RawMessage, error) {
	raw, from := []byte(given), "--data"
	var err error
	switch file, isFile := strings.CutPrefix(given, "@"); {
	case given == "":
		return nil, nil
	case given == "-":
		raw, err = io.ReadAll(io.LimitReader(env.stdin, maxFile))
		from = "standard input"
	case isFile:
		raw, err = os.ReadFile(env.expand(file, env.cwd))
		from = file
	}
	if err != nil {
		return nil, fmt.Errorf("read the data: %w", err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return nil, fmt.Errorf("%s: the data must be JSON: %w (a text needs quotes: --data '\"text\"')", from, err)
	}
	return compact.Bytes(), nil
}

// act does something to one live run, and shows how it stands then.
func (s *session) act(id string, do func(context.Context, *client.Client, string) error) error {
	return s.wish(func(ctx context.Context, store *client.Client) error {
		v, err := s.acted(ctx, store, id, do)
		if err != nil {
			return err
		}
		return s.print.show(v, func(w io.Writer) { s.writeStand(w, v) })
	})
}

// wish is look for commands that make something happen.
func (s *session) wish(do func(context.Context, *client.Client) error) error {
	c, err := s.config("")
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	return s.use(ctx, c, works, func(store *client.Client) error { return do(ctx, store) })
}

// acted does something to a live run, returns how it stands then, and tells
// how to go on with it.
func (s *session) acted(ctx context.Context, store *client.Client, id string, do func(context.Context, *client.Client, string) error) (*replay.RunView, error) {
	v, err := getRun(ctx, store, id, false)
	if err != nil {
		return nil, err
	}
	if err := do(ctx, store, v.ID); err != nil {
		return nil, err
	}
	if v, err = getRun(ctx, store, v.ID, false); err != nil {
		return nil, err
	}
	s.sayHowToGoOn(v)
	return fold(v), nil
}

// sayHowToGoOn tells what a run needs that doesn't go on by itself.
func (s *session) sayHowToGoOn(v *replay.RunView) {
	switch {
	case v.WaitsFor == "process":
		s.print.say("Nobody runs %s now. To go on: gleitzeit%s resume %s", v.ID, s.storeFlag(), v.ID)
	case v.Status == replay.Waiting || v.Status == replay.Paused || v.Status == replay.Parked:
		s.print.say("%s", s.standing(v))
	}
}

func (s *session) writeStand(w io.Writer, v *replay.RunView) {
	fmt.Fprintf(w, "%s %s\n", v.ID, s.print.outInk.status(string(v.Status)))
}
