package eventlog

import (
	"errors"
	"fmt"
	"iter"
)

// Checkpoint is what a reader derived from a stream's records up to At, so that
// it can go on from there. The log doesn't look into Data. A checkpoint may be
// lost in a crash (then an older one, or none, is found), but it is never there
// without the records that it was made from.
type Checkpoint struct {
	Stream string
	At     Seq // the last record that went into Data
	Data   []byte
}

// Checkpoint returns the last checkpoint of a stream, and whether there is one.
func (l *Log) Checkpoint(stream string) (Checkpoint, bool, error) {
	if err := l.enter(); err != nil {
		return Checkpoint{}, false, err
	}
	defer l.leave()
	c, ok, err := l.store.checkpoint(stream)
	if err != nil {
		return Checkpoint{}, false, fmt.Errorf("read the checkpoint of stream %q: %w", stream, err)
	}
	return c, ok, nil
}

// Checkpoints gives the checkpoints of all streams whose names begin with
// prefix, in byte order of the names.
func (l *Log) Checkpoints(prefix string) iter.Seq2[Checkpoint, error] {
	return func(yield func(Checkpoint, error) bool) {
		after := ""
		for {
			some, err := l.checkpoints(prefix, after)
			if err != nil {
				yield(Checkpoint{}, err)
				return
			}
			for _, c := range some {
				if !yield(c, nil) {
					return
				}
				after = c.Stream
			}
			if len(some) == 0 {
				return
			}
		}
	}
}

func (l *Log) checkpoints(prefix, after string) ([]Checkpoint, error) {
	if err := l.enter(); err != nil {
		return nil, err
	}
	defer l.leave()
	some, err := l.store.checkpoints(prefix, after, pageRows)
	if err != nil {
		return nil, fmt.Errorf("read the checkpoints: %w", err)
	}
	return some, nil
}

// SaveCheckpoints replaces the checkpoints of the streams in save and removes
// those of the streams in drop, all at once. It does not wait for the disk.
// A checkpoint of records that are not durable is refused.
func (l *Log) SaveCheckpoints(save []Checkpoint, drop []string) error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	if l.readOnly != nil {
		return fmt.Errorf("save checkpoints: %w", l.readOnly)
	}
	for _, c := range save {
		if err := checkStream(c.Stream); err != nil {
			return fmt.Errorf("save checkpoints: %w", err)
		}
		if last := l.Last(); c.At > last {
			return fmt.Errorf("save checkpoints: stream %q at record %d, but the last one is %d", c.Stream, c.At, last)
		}
	}
	c := change{checkpoints: save, drop: drops{checkpoints: drop}}
	err := l.store.commit(&c, false)
	if l.whenFenced != nil && errors.Is(err, ErrFenced) {
		l.fence(err)
		return err
	}
	if err != nil {
		l.doom.fail(fmt.Errorf("save checkpoints: %w", err))
	}
	return nil
}
