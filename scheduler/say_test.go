package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// saysOne is a workflow of one task, which says something.
const saysOne = "name: one\ntasks: [{id: a, method: echo/echo, timeout: 1h}]\n"

// tokens shows a piece of a stream.
func tokens(ctx context.Context, text string) {
	hostOf(ctx).Progress(providers.Progress{Stream: "tokens", Message: text})
}

// pieces are the events of what was said, and all of it.
func pieces(t *testing.T, log *eventlog.Log) (events []*replay.TextStreamed, at []time.Time, all string) {
	t.Helper()
	for rec, err := range log.ReadStream(replay.TextStream(1), 1) {
		if err != nil {
			t.Fatal(err)
		}
		f, err := decode(replay.NewCodec(log.Value), rec)
		if err != nil {
			t.Fatal(err)
		}
		e := f.Event.(*replay.TextStreamed)
		raw, err := e.Text.Load(log.Value)
		if err != nil {
			t.Fatal(err)
		}
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			t.Fatal(err)
		}
		events, at, all = append(events, e), append(at, f.At), all+text
	}
	return events, at, all
}

// TestSay: words go into the log together, two seconds after the first of them,
// or when they are many; the last ones with the failure.
func TestSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := ""
		log, s := open(t, Options{}, func(ctx context.Context, _ providers.Call) (json.RawMessage, error) {
			for i := range 101 {
				word := fmt.Sprintf("<wörd %d>\n", i)
				tokens(ctx, word)
				want += word
				time.Sleep(100 * time.Millisecond)
			}
			long := strings.Repeat("x", sayBytes)
			tokens(ctx, long)
			synctest.Wait() // else the loop is busy with it
			tokens(ctx, "the end")
			want += long + "the end"
			return nil, errors.New("it broke")
		})
		id := submit(t, s, Submission{Workflow: compile(t, saysOne)})
		waitEnd(t, soon(t), log, id)
		events, at, all := pieces(t, log)
		if all != want {
			t.Errorf("%d bytes are kept of %d", len(all), len(want))
		}
		if len(events) < 6 || len(events) > 7 { // some of ten seconds, the long one, the last
			t.Fatalf("%d events", len(events))
		}
		for i := range len(events) - 3 {
			if gap := at[i+1].Sub(at[i]); gap < sayEvery {
				t.Errorf("%v between two events", gap)
			}
		}
		last := events[len(events)-1]
		if last.Bytes != len(want) || last.Cut || !strings.HasSuffix(last.Tail, "the end") {
			t.Errorf("%+v", last)
		}
		h, err := replay.LoadHistory(log, 1)
		if err != nil {
			t.Fatal(err)
		}
		v, err := h.View(log.Value)
		if err != nil || v.Tasks[0].Partial == nil || v.Tasks[0].Partial.Text != want || v.Tasks[0].Partial.Attempt != 1 {
			t.Errorf("%+v %v", v.Tasks[0].Partial, err)
		}
		lines := 0
		for _, e := range h.Timeline() {
			if e.Type == "task.text" {
				lines++
			}
		}
		if lines != 1 {
			t.Errorf("%d lines of history", lines)
		}
	})
}

// TestSayResult: of what came to a result nothing is shown, and what came soon
// isn't written at all.
func TestSayResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, s := open(t, Options{}, func(ctx context.Context, c providers.Call) (json.RawMessage, error) {
			tokens(ctx, "soon")
			if c.Run == "one-1" {
				time.Sleep(time.Minute)
			}
			tokens(ctx, "er or later")
			return json.RawMessage(`"sooner or later"`), nil
		})
		for n := range uint64(2) {
			waitEnd(t, soon2(t), log, submit(t, s, Submission{Workflow: compile(t, saysOne)}))
			h, err := replay.LoadHistory(log, n+1)
			if err != nil {
				t.Fatal(err)
			}
			if v, err := h.View(log.Value); err != nil || v.Tasks[0].Partial != nil || strings.Contains(fmt.Sprint(h.Timeline()), "written") {
				t.Errorf("%+v %v %v", v.Tasks[0].Partial, h.Timeline(), err)
			}
		}
		if n := count(t, log, "task.text"); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

// TestSaySlowLog: a stream doesn't wait for a loop that is busy.
func TestSaySlowLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const words = 20_000
		var took time.Duration
		log, s := open(t, Options{}, func(ctx context.Context, _ providers.Call) (json.RawMessage, error) {
			time.Sleep(time.Second)
			began := time.Now()
			for i := range words {
				tokens(ctx, "word ")
				if i%1000 == 0 {
					time.Sleep(time.Second)
				}
			}
			took = time.Since(began)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		id := submit(t, s, Submission{Workflow: compile(t, saysOne)})
		go s.Query(context.Background(), func(*replay.State) { time.Sleep(10 * time.Minute) })
		waitEnd(t, soon2(t), log, id)
		if took != words/1000*time.Second {
			t.Errorf("the stream took %v", took)
		}
		if events, _, all := pieces(t, log); len(all) != 5*words || len(events) > 4 {
			t.Errorf("%d bytes in %d events", len(all), len(events))
		}
	})
}

// TestSayBounds: of very much only the beginning is kept, and no secret, in
// whatever pieces it comes.
func TestSayBounds(t *testing.T) {
	log, s := open(t, Options{}, func(ctx context.Context, c providers.Call) (json.RawMessage, error) {
		for _, piece := range []string{"the s3", "cret", "-p", "in, s3cret", "-pub ", "\xff and "} {
			tokens(ctx, piece)
		}
		for range 300 {
			tokens(ctx, strings.Repeat("ä", 2048))
		}
		tokens(ctx, "the s3cret-p")
		return nil, errors.New("it broke")
	})
	w := compile(t, "name: one\nsecrets: {PIN: 'env:PIN'}\ntasks: [{id: a, method: echo/ask, parameters: {message: '${secrets.PIN}'}}]\n")
	waitEnd(t, soon(t), log, submit(t, s, Submission{Workflow: w, Secrets: map[string]string{"env:PIN": "s3cret-pin"}}))
	events, _, all := pieces(t, log)
	last := events[len(events)-1]
	if strings.Contains(all, "s3cret-p") && !strings.HasPrefix(all, "the ***, s3cret-pub \uFFFD and ") || len(all) > maxSaid+3 || !last.Cut || last.Bytes > maxSaid {
		t.Errorf("%d bytes, %d in %+.100v: %.60s", len(all), last.Bytes, last, all)
	}
	// The beginning of one at the end.
	log, s = open(t, Options{}, func(ctx context.Context, c providers.Call) (json.RawMessage, error) {
		tokens(ctx, "it is s3cret-p")
		return nil, errors.New("it broke")
	})
	waitEnd(t, soon(t), log, submit(t, s, Submission{Workflow: w, Secrets: map[string]string{"env:PIN": "s3cret-pin"}}))
	if _, _, all := pieces(t, log); all != "it is ***" {
		t.Errorf("%q", all)
	}
}
