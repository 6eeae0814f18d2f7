package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// asksOne is a workflow of one task, which asks.
const asksOne = "name: one\ntasks: [{id: a, method: echo/ask, parameters: {message: x}, timeout: 1h}]\n"

// count counts the events of that type.
func count(t *testing.T, log *eventlog.Log, kind string) (n int) {
	for _, r := range allRecords(t, log) {
		if r.Type == kind {
			n++
		}
	}
	return n
}

// approveSoon answers as soon as somebody asks.
func approveSoon(s *Scheduler, c Approve) (err error) {
	for range 1000 {
		if err = s.Approve(context.Background(), c); err == nil || !strings.Contains(err.Error(), "no task that waits") {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

func TestAskIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan providers.Answer, 1)
		log, s := open(t, Options{}, func(ctx context.Context, _ providers.Call) (json.RawMessage, error) {
			a, err := hostOf(ctx).Ask(ctx, providers.Question{Message: "where?", Schema: json.RawMessage(`{"type":"object","required":["city"],"properties":{"city":{"type":"string"}}}`)})
			got <- a
			return json.RawMessage("{}"), err
		})
		id := submit(t, s, Submission{Workflow: compile(t, asksOne)})
		err := approveSoon(s, Approve{Run: 1, Task: -1, Approved: true, Fields: map[string]string{"town": "Ulm"}})
		if err == nil || !strings.Contains(err.Error(), "there is no field town") {
			t.Errorf("%v", err)
		}
		if err := approveSoon(s, Approve{Run: 1, Task: -1, Approved: true, Fields: map[string]string{"city": "Ulm"}}); err != nil {
			t.Fatal(err)
		}
		if a := <-got; a.Action != providers.Accept || string(a.Content) != `{"city":"Ulm"}` {
			t.Errorf("%+v", a)
		}
		waitEnd(t, soon(t), log, id)
	})
}

// TestAskWithdrawn: a question that the call doesn't want answered any more is
// taken back; one whose attempt ends needs no event.
func TestAskWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s := open(t, Options{}, func(ctx context.Context, c providers.Call) (json.RawMessage, error) {
			patience, cancel := context.WithCancel(ctx)
			if c.Run == "one-1" {
				time.AfterFunc(time.Minute, cancel)
			}
			defer cancel()
			_, err := hostOf(ctx).Ask(patience, providers.Question{Message: "well?"})
			if c.Run == "one-1" && !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
			time.Sleep(time.Second)
			return json.RawMessage("{}"), ctx.Err()
		})
		first, second := submit(t, s, Submission{Workflow: compile(t, asksOne)}), submit(t, s, Submission{Workflow: compile(t, asksOne)})
		waitEnd(t, soon2(t), log, first)
		waitEnd(t, soon2(t), log, second)
		if asked, withdrawn := count(t, log, "question.asked"), count(t, log, "question.withdrawn"); asked != 2 || withdrawn != 1 {
			t.Errorf("%d asked, %d withdrawn", asked, withdrawn)
		}
		if how := status(t, log, 2); how != replay.Failed {
			t.Errorf("%s after its timeout", how)
		}
	})
}

// soon2 bounds a wait of hours in a bubble.
func soon2(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Hour)
	t.Cleanup(cancel)
	return ctx
}

// TestAskScrubbed: no secret that somebody has offered gets into the log with a
// question or its answer.
func TestAskScrubbed(t *testing.T) {
	got := make(chan providers.Answer, 1)
	log, s := open(t, Options{}, func(ctx context.Context, _ providers.Call) (json.RawMessage, error) {
		a, err := hostOf(ctx).Ask(ctx, providers.Question{Message: "is it s3cret-pin?",
			Schema: json.RawMessage(`{"type":"object","properties":{"pin":{"type":"string","description":"not s3cret-pin"}}}`)})
		got <- a
		return json.RawMessage("{}"), err
	})
	w := compile(t, "name: one\nsecrets: {PIN: 'env:PIN'}\ntasks: [{id: a, method: echo/ask, parameters: {message: '${secrets.PIN}'}}]\n")
	id := submit(t, s, Submission{Workflow: w, Secrets: map[string]string{"env:PIN": "s3cret-pin"}})
	if err := approveSoon(s, Approve{Run: 1, Task: -1, Approved: true, Fields: map[string]string{"pin": "it is s3cret-pin"}}); err != nil {
		t.Fatal(err)
	}
	if a := <-got; string(a.Content) != `{"pin":"it is ***"}` {
		t.Errorf("%s", a.Content)
	}
	waitEnd(t, soon(t), log, id)
	for _, r := range allRecords(t, log) {
		if strings.Contains(string(r.Data), "s3cret") {
			t.Errorf("%s: %s", r.Type, r.Data)
		}
	}
}

// TestAskBounds: a task can't ask for ever, nor with a form that is none.
func TestAskBounds(t *testing.T) {
	var s *Scheduler
	ready := make(chan struct{})
	log, opened := open(t, Options{}, func(ctx context.Context, _ providers.Call) (json.RawMessage, error) {
		<-ready
		h := hostOf(ctx)
		for _, bad := range []string{`{"type":"strange"}`, `[`, `{"type":"object","description":"` + strings.Repeat("x", maxForm) + `"}`} {
			if _, err := h.Ask(ctx, providers.Question{Schema: json.RawMessage(bad)}); err == nil {
				t.Errorf("%.40s was asked", bad)
			}
		}
		for i := range maxQuestions + 1 {
			gone, cancel := context.WithCancel(ctx)
			failed := make(chan error, 1)
			go func() {
				_, err := h.Ask(gone, providers.Question{Message: "again?"})
				failed <- err
			}()
			if i < maxQuestions {
				if err := approveSoon(s, Approve{Run: 1, Task: 0}); err != nil {
					t.Error(err)
				}
			}
			err := <-failed
			cancel()
			var e *protocols.Error
			if i == maxQuestions && !(errors.As(err, &e) && e.Code == protocols.ResourceExhausted) || i < maxQuestions && err != nil {
				t.Errorf("question %d: %v", i, err)
			}
		}
		return json.RawMessage("{}"), nil
	})
	s = opened
	close(ready)
	id := submit(t, s, Submission{Workflow: compile(t, asksOne)})
	waitEnd(t, soon(t), log, id)
}

// TestSample: what a model costs that is asked for a call is the attempt's, and
// it is asked only so often.
func TestSample(t *testing.T) {
	log, s := open(t, Options{}, func(ctx context.Context, c providers.Call) (json.RawMessage, error) {
		if c.Method == "llm/chat" {
			if _, err := hostOf(ctx).Sample(ctx, providers.Sample{}); err == nil {
				t.Error("a model asks a model")
			}
			hostOf(ctx).Progress(providers.Progress{Stream: "tokens", Message: "words of another"})
			return chat(c)
		}
		for i := range maxSamples + 1 {
			_, err := hostOf(ctx).Sample(ctx, providers.Sample{Provider: "near", Parameters: json.RawMessage(`{"prompt":"hello"}`)})
			if (err != nil) != (i == maxSamples) {
				t.Errorf("sample %d: %v", i, err)
			}
		}
		return nil, errors.New("it fails in the end")
	})
	id := submit(t, s, Submission{Workflow: compile(t, asksOne)})
	waitEnd(t, soon(t), log, id)
	h, err := replay.LoadHistory(log, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := h.Run().Spent.Tokens; got != 20*maxSamples {
		t.Errorf("%d tokens", got)
	}
	if n := count(t, log, "task.text"); n > 0 {
		t.Error("the words of a model that was asked are taken for the call's")
	}
}

// TestSampleUnfinished: what models have cost counts, though one is asked still
// when the call ends.
func TestSampleUnfinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := make(chan struct{})
		defer close(never)
		asked := 0
		log, s := open(t, Options{}, func(ctx context.Context, c providers.Call) (json.RawMessage, error) {
			if c.Method == "llm/chat" {
				if asked++; asked == 2 {
					<-never
				}
				return json.RawMessage(`{"response":"x","usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}`), nil
			}
			host := hostOf(ctx)
			if _, err := host.Sample(ctx, providers.Sample{Provider: "near"}); err != nil {
				t.Error(err)
			}
			go host.Sample(ctx, providers.Sample{Provider: "near"})
			synctest.Wait()
			return json.RawMessage("{}"), nil
		})
		id := submit(t, s, Submission{Workflow: compile(t, "name: one\ntasks: [{id: a, method: echo/echo}]\n")})
		waitEnd(t, soon(t), log, id)
		h, err := replay.LoadHistory(log, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := h.Run().Spent.Tokens; got != 7 {
			t.Errorf("%d tokens", got)
		}
	})
}
