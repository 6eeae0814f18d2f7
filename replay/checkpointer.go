package replay

import (
	"maps"
	"slices"
	"time"

	"gleitzeit/eventlog"
)

// Checkpointer writes checkpoints of the runs that have changed, as a reader
// of the log: it takes no part in deciding and may be late or die at any time.
type Checkpointer struct {
	log  *eventlog.Log
	at   eventlog.Seq // what the written checkpoints cover
	next uint64
	time time.Time
	life eventlog.Seq

	lives []life
}

// saveChunk is how many runs' checkpoints go into one batch.
const saveChunk = 256

// NewCheckpointer continues from the checkpoints that the log has.
func NewCheckpointer(log *eventlog.Log) (*Checkpointer, error) {
	c := &Checkpointer{log: log, next: 1}
	cp, found, err := log.Checkpoint(SystemStream)
	if err != nil || !found {
		return c, err
	}
	s := NewState()
	if s.restoreSystem(cp) != nil {
		return c, nil // it is of no use: begin anew
	}
	c.at, c.next, c.time, c.life, c.lives = cp.At, s.NextRun, s.Time, s.Life, s.lives
	return c, nil
}

// Behind returns how many records the checkpoints don't cover yet.
func (c *Checkpointer) Behind() int { return int(c.log.Last() - c.at) }

// Save covers the log up to its present end. It returns how many tasks it
// wrote, which is what it costs.
func (c *Checkpointer) Save() (tasks int, err error) {
	last := c.log.Last()
	found, err := c.scan(last)
	if err != nil {
		return 0, err
	}
	return c.write(last, found)
}

// write covers the log up to last: with checkpoints of what has changed, which
// may be newer than last, and without those of what is no more.
func (c *Checkpointer) write(last eventlog.Seq, found changes) (tasks int, err error) {
	codec := NewCodec(c.log.Value)
	save, ended, err := saveSchedules(c.log, codec, found.schedules)
	if err != nil {
		return 0, err
	}
	ended = append(ended, found.ended...)
	for _, number := range found.runs {
		r, err := LoadRun(c.log, codec, number)
		if err != nil {
			return tasks, err
		}
		if r == nil {
			// It has ended meanwhile. Its old checkpoint has to go: the records
			// between that and last will not be read any more.
			ended = append(ended, Stream(number))
			continue
		}
		data, err := encodeRun(r)
		if err != nil {
			return tasks, err
		}
		tasks += len(r.Tasks)
		save = append(save, eventlog.Checkpoint{Stream: Stream(number), At: r.Seq, Data: data})
		if len(save) == saveChunk {
			if err := c.log.SaveCheckpoints(save, nil); err != nil {
				return tasks, err
			}
			save = save[:0]
		}
	}
	system, err := marshal(savedSystem{NextRun: c.next, Time: c.time, Life: c.life, Lives: c.lives})
	if err != nil {
		return tasks, err
	}
	save = append(save, eventlog.Checkpoint{Stream: SystemStream, At: last, Data: system})
	if err := c.log.SaveCheckpoints(save, ended); err != nil {
		return tasks, err
	}
	c.at = last
	return tasks, nil
}

// changes are what the records hold that the checkpoints don't cover.
type changes struct {
	runs      []uint64 // that live
	ended     []string // the streams of those that don't
	schedules []string // there or not
}

// scan reads those records.
func (c *Checkpointer) scan(last eventlog.Seq) (found changes, err error) {
	live, schedules := map[uint64]bool{}, map[string]bool{}
	for rec, err := range c.log.Read(c.at + 1) {
		if err != nil {
			return changes{}, err
		}
		if rec.Seq > last {
			break
		}
		if rec.Stream == SystemStream && rec.Type == (*SystemStarted)(nil).Type() {
			c.life, c.lives = rec.Seq, begins(c.lives, rec.Seq, c.time)
		}
		if rec.Time.After(c.time) {
			c.time = rec.Time
		}
		if name, ok := scheduleOf(rec.Stream); ok {
			schedules[name] = true
		}
		number, ok := RunOf(rec.Stream)
		if !ok {
			continue
		}
		c.next = max(c.next, number+1)
		live[number] = !IsEnd(rec.Type)
	}
	for number, lives := range live {
		if lives {
			found.runs = append(found.runs, number)
		} else {
			found.ended = append(found.ended, Stream(number))
		}
	}
	slices.Sort(found.runs)
	slices.Sort(found.ended)
	found.schedules = slices.Sorted(maps.Keys(schedules))
	return found, nil
}

// IsEnd tells whether an event of that name ends its run (or removes it).
func IsEnd(name string) bool {
	switch name {
	case "workflow.completed", "workflow.failed", "workflow.cancelled", "workflow.timed_out", eventlog.StreamDeleted:
		return true
	}
	return false
}
