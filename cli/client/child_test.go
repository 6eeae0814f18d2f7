package client_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// This file is the test binary as another process: a terminal in which one
// command runs on the store.

// order is what a child is to do.
type order struct {
	Store    string
	Tasks    int
	Delay    time.Duration
	Notes    string        // a file: every attempt that succeeds adds a line
	Patience time.Duration // 0: the default
}

// sign is a line of a child's output.
type sign struct {
	Run    string        `json:",omitempty"` // it was submitted
	Entry  *replay.Entry `json:",omitempty"`
	Holder bool          `json:",omitempty"`
	Error  string        `json:",omitempty"`
	Done   bool          `json:",omitempty"`
}

// beChild carries an order out and tells what happens on standard output.
func beChild(text string) int {
	out := json.NewEncoder(os.Stdout)
	err := carryOut(text, func(s sign) { out.Encode(s) })
	if err != nil {
		out.Encode(sign{Error: err.Error()})
		return 1
	}
	out.Encode(sign{Done: true})
	return 0
}

func carryOut(text string, tell func(sign)) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c, err := client.Open(ctx, client.Options{Store: o.Store, Patience: o.Patience, Scheduler: servertest.Options(&servertest.Fake{Note: note(o.Notes)})})
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	tell(sign{Holder: c.Holder()})
	var r server.RunResult
	if err := c.Call(ctx, server.WorkflowSubmit, chain(o), &r); err != nil {
		return err
	}
	tell(sign{Run: r.ID, Holder: c.Holder()})
	err = c.Follow(ctx, r.ID, client.Follower{Entry: func(e replay.Entry) { tell(sign{Entry: &e, Holder: c.Holder()}) }})
	if err != nil {
		return err
	}
	return c.Close(ctx)
}

func chain(o order) server.SubmitParams {
	work := make([]servertest.Work, o.Tasks)
	for i := range work {
		work[i] = servertest.Work{Delay: o.Delay, Value: i}
	}
	return servertest.Chain("child", work...)
}

// note adds a line for each attempt that succeeds.
func note(file string) func(providers.Call) {
	return func(c providers.Call) {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(f, "%s %s\n", c.Run, c.Task)
		f.Close()
	}
}

// child is another process at work.
type child struct {
	cmd   *exec.Cmd
	signs chan sign // closed when it has ended
	err   error     // how; to be read after that
}

func spawn(t *testing.T, o order) *child {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "GLEITZEIT_TEST_CHILD="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, signs: make(chan sign, 10_000)}
	go c.read(out)
	t.Cleanup(func() {
		cmd.Process.Kill()
		for range c.signs {
		}
	})
	return c
}

func (c *child) read(out io.Reader) {
	defer close(c.signs)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var s sign
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			s.Error = fmt.Sprintf("%v: %s", err, lines.Bytes())
		}
		c.signs <- s
	}
	c.err = c.cmd.Wait()
}
