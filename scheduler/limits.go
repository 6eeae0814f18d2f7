package scheduler

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// A record of the log holds little (eventlog.MaxData), and a batch only so
// much (eventlog.MaxBatch); a batch that breaks this is refused when its facts
// have been applied already, and the process has to stop. So nothing that
// comes from outside may make an event that doesn't fit: this file is where
// that is seen to.
const (
	// maxSubmitted bounds the names and tags of a run, as JSON; the run's last
	// event repeats them.
	maxSubmitted = eventlog.MaxData / 4
	// maxMessage and maxErrorData bound an error; as JSON a message may take
	// six times as much.
	maxMessage   = 4 << 10
	maxErrorData = eventlog.MaxData / 2
	// DefaultMaxSignals bounds the signals that wait for a task of their run.
	DefaultMaxSignals = 10_000
	// maxBy bounds who asks for something.
	maxBy = 1 << 10
	// maxSkipped is how many tasks one TaskSkipped names.
	maxSkipped = 4 << 10
	// maxValue bounds what one command brings along, in bytes.
	maxValue = eventlog.MaxBatch / 4 * 3
	// maxTurn is how much the commands of one turn bring along, but for the
	// last of them.
	maxTurn = eventlog.MaxBatch / 16
)

// fits refuses a submission that the log couldn't keep.
func fits(c Submit, e *replay.WorkflowSubmitted) error {
	raw, err := json.Marshal(e)
	if err != nil {
		return protocols.Errorf(protocols.InvalidRequest, "the submission can't be written: %v", err)
	}
	if len(raw) > maxSubmitted {
		return protocols.Errorf(protocols.InvalidRequest,
			"the run's name, tags and source have %d bytes, the limit is %d", len(raw), maxSubmitted)
	}
	if n := weight(c); n > maxValue {
		return protocols.Errorf(protocols.InvalidRequest, "the document, inputs and files have %d bytes, the limit is %d", n, maxValue)
	}
	return nil
}

// weight is how many bytes of values a command brings along.
func weight(c Command) (n int) {
	switch c := c.(type) {
	case Submit:
		for _, v := range c.Values {
			n += len(v)
		}
		return n + c.Context.Size()
	case AddSchedule:
		return weight(c.Each)
	case Finish:
		if c.Text != nil {
			n = c.Text.Text.Size()
		}
		return n + c.Result.Size()
	case Say:
		return c.Text.Size()
	case Answer:
		n = c.Value.Size()
		for _, v := range c.Items {
			n += v.Size()
		}
		return n
	case Signal:
		return c.Data.Size()
	case Ask:
		return c.Schema.Size()
	case Approve:
		return c.Content.Size()
	}
	return 0
}

// fitting is a result that the log can keep, or the error that it can't.
func fitting(result json.RawMessage) (json.RawMessage, *protocols.Error) {
	switch {
	case len(result) > maxValue:
		return nil, protocols.Errorf(protocols.TaskResultInvalid, "the result has %d bytes, the limit is %d", len(result), maxValue)
	case !json.Valid(result):
		return nil, protocols.Errorf(protocols.TaskResultInvalid, "the provider's answer is not JSON")
	}
	return result, nil
}

// clip is the error as a record can hold it: what is too long is cut out of
// the middle, and what can't be written as JSON left out.
func clip(e *protocols.Error) *protocols.Error {
	c := &protocols.Error{Code: e.Code, Message: shorten(e.Message, maxMessage), Data: e.Data}
	switch {
	case len(e.Data) == 0:
		c.Data = nil
	case !json.Valid(e.Data):
		c = c.With(map[string]any{"left_out": len(e.Data)})
	case len(e.Data) > maxErrorData:
		c.Data = clipData(e)
	}
	return c
}

// clipData shortens the texts of an error's data, for example what a script
// has printed, until it fits. If that doesn't help all is left out, but for
// what the retry needs.
func clipData(e *protocols.Error) json.RawMessage {
	var fields map[string]any
	if json.Unmarshal(e.Data, &fields) == nil {
		for most := maxErrorData / 4; most > 64; most /= 2 {
			for name, v := range fields {
				if text, ok := v.(string); ok {
					fields[name] = shorten(text, most)
				}
			}
			if raw, err := json.Marshal(fields); err == nil && len(raw) <= maxErrorData {
				return raw
			}
		}
	}
	return e.With(map[string]any{"left_out": len(e.Data), "retry_after": e.RetryAfter().Seconds()}).Data
}

// shorten is the text as valid UTF-8 of at most n bytes; the first quarter and
// the end of a long one are kept.
func shorten(text string, n int) string {
	const gap = "\n… bytes are left out …\n"
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= n {
		return text
	}
	head, tail := n/4, len(text)-(n-n/4-len(gap))
	for head > 0 && !utf8.RuneStart(text[head]) {
		head--
	}
	for tail < len(text) && !utf8.RuneStart(text[tail]) {
		tail++
	}
	return text[:head] + gap + text[tail:]
}
