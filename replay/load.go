package replay

import (
	"fmt"
	"math"

	"gleitzeit/eventlog"
)

// Load makes the state from the log: from the checkpoints of the live runs
// and the records after them. What it reads grows with the live runs and the
// tail, not with the past; only when a checkpoint is of no use (it is damaged,
// or of another version) all of the log is read.
func Load(log *eventlog.Log) (*State, error) {
	s := NewState()
	codec := NewCodec(log.Value)
	from, err := s.restore(log, codec)
	if err != nil {
		s, from = NewState(), 1
	}
	return s, s.fold(log, codec, from, math.MaxUint64)
}

// fold applies the records from one place up to another.
func (s *State) fold(log *eventlog.Log, codec *Codec, from, to eventlog.Seq) error {
	for rec, err := range log.Read(from) {
		if err != nil {
			return err
		}
		if rec.Seq > to {
			break
		}
		f, found, err := codec.Decode(rec)
		if err != nil {
			return err
		}
		if found {
			s.Apply(f)
		}
		if n, ok := RunOf(rec.Stream); ok { // a deleted run's, too: no number is used twice
			s.NextRun = max(s.NextRun, n+1)
		}
		s.Seq = rec.Seq
	}
	return nil
}

// restore reads the checkpoints and returns the first record they don't cover.
func (s *State) restore(log *eventlog.Log, codec *Codec) (from eventlog.Seq, err error) {
	cp, found, err := log.Checkpoint(SystemStream)
	if err != nil || !found {
		return 1, err
	}
	if err := s.restoreSystem(cp); err != nil {
		return 0, err
	}
	if err := s.restoreHealth(log, codec); err != nil { // before the runs, whose attempts may be trials
		return 0, err
	}
	for cp, err := range log.Checkpoints(runPrefix) {
		if err != nil {
			return 0, err
		}
		if err := s.restoreRun(codec, cp); err != nil {
			return 0, err
		}
	}
	for _, r := range s.runs {
		s.orphan(r)
	}
	for cp, err := range log.Checkpoints(schedulePrefix) {
		if err != nil {
			return 0, err
		}
		if err := s.restoreSchedule(codec, cp); err != nil {
			return 0, err
		}
	}
	return cp.At + 1, nil
}

// LoadRun returns the state of one live run alone, as it is at the end of the
// log, or nil when there is no such run or it has ended.
func LoadRun(log *eventlog.Log, codec *Codec, number uint64) (*Run, error) {
	s := NewState()
	from := eventlog.Seq(1)
	cp, found, err := log.Checkpoint(Stream(number))
	if err != nil {
		return nil, err
	}
	if found && s.restoreRun(codec, cp) == nil { // else all of the stream is read
		from = cp.At + 1
	}
	for rec, err := range log.ReadStream(Stream(number), from) {
		if err != nil {
			return nil, err
		}
		f, _, err := codec.Decode(rec)
		if err != nil {
			return nil, err
		}
		s.Apply(f)
	}
	return s.Run(number), nil
}

// At returns the state as it was after the record seq, from the log alone.
func At(log *eventlog.Log, seq eventlog.Seq) (*State, error) {
	s := NewState()
	return s, s.fold(log, NewCodec(log.Value), 1, seq)
}

// Facts returns all that happened to one run, oldest first.
func Facts(log *eventlog.Log, run uint64) ([]Fact, error) {
	var facts []Fact
	codec := NewCodec(log.Value)
	for rec, err := range log.ReadStream(Stream(run), 1) {
		if err != nil {
			return nil, err
		}
		f, found, err := codec.Decode(rec)
		if err != nil {
			return nil, err
		}
		if found {
			facts = append(facts, f)
		}
	}
	if len(facts) > 0 {
		if _, ok := facts[0].Event.(*WorkflowSubmitted); !ok {
			return nil, fmt.Errorf("run %d: its history does not begin with its submission", run)
		}
	}
	return facts, nil
}
