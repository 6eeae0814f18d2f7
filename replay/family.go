package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// This file moves runs from one log to another. A run goes with all runs that
// it started, and becomes a new one there: with another number, and another id
// unless its submitter chose it. Nobody holds it there, as after a crash, which an
// event of its own says (WorkflowImported); `resume` goes on with it.

// Family returns the streams of runs and of all runs that they started, each
// once, as they were up to a record. What has been removed since is left out: a
// run that has ended may outlive those that it started.
func Family(log *eventlog.Log, runs []uint64, to eventlog.Seq) (streams []string, err error) {
	seen := map[uint64]bool{}
	for todo := slices.Clone(runs); len(todo) > 0; {
		n := todo[0]
		todo = todo[1:]
		if seen[n] {
			continue
		}
		seen[n] = true
		there := false
		for rec, err := range log.ReadStream(Stream(n), 1) {
			if err != nil {
				return nil, err
			}
			if rec.Seq > to || rec.Type == eventlog.StreamDeleted {
				break
			}
			there = true
			child, err := childOf(rec)
			if err != nil {
				return nil, err
			}
			if child != 0 {
				todo = append(todo, child)
			}
		}
		if there {
			streams = append(streams, Stream(n))
		}
	}
	return streams, nil
}

// childOf returns the run that a task waits for from this record on, or 0.
func childOf(rec eventlog.Record) (uint64, error) {
	if rec.Type != (*TaskWaiting)(nil).Type() {
		return 0, nil
	}
	var e TaskWaiting
	if err := json.Unmarshal(rec.Data, &e); err != nil {
		return 0, fmt.Errorf("record %d (%s): %w", rec.Seq, rec.Type, err)
	}
	return e.Wait.Child, nil
}

// Moved is a run that was imported.
type Moved struct {
	From   string `json:"from"` // its id where it was
	ID     string `json:"id"`   // its id now
	Number uint64 `json:"number"`
	Status Status `json:"status,omitempty"` // how it ended; "": it hasn't
}

// Arrivals are the runs of an archive that was read, on their way into a log.
type Arrivals struct {
	// Key names the call that brings them, should it come again (CallKey); "" is
	// of one that comes once.
	Key string

	store   string // that they were in
	values  map[eventlog.Hash][]byte
	records []arrival
	size    int // bytes of both
}

// arrival is a record on its way, and the partition that it was in.
type arrival struct {
	eventlog.Record
	partition int
}

// was is the run's place where it comes from.
func (a arrival) was() place {
	number, _ := RunOf(a.Stream)
	return place{a.partition, number}
}

// place is a run's number, and the partition in which it is.
type place struct {
	partition int
	number    uint64
}

// ReadRuns reads an archive by what read gives, which is that of
// eventlog.ReadArchive.
func ReadRuns(read func(func(eventlog.ArchiveHeader, eventlog.ArchiveItem) error) error) (*Arrivals, error) {
	a := &Arrivals{values: map[eventlog.Hash][]byte{}}
	if err := read(a.item); err != nil {
		return nil, err
	}
	if len(a.records) == 0 {
		return nil, protocols.Errorf(protocols.InvalidParams, "the archive has no runs")
	}
	return a, nil
}

// item notes what the archive has.
func (a *Arrivals) item(h eventlog.ArchiveHeader, it eventlog.ArchiveItem) error {
	a.store = h.Store
	switch {
	case h.Kind != eventlog.SomeStream:
		return protocols.Errorf(protocols.InvalidParams, "the archive is a backup of a whole store: restore it")
	case it.Value != nil:
		a.values[it.Hash] = it.Value
		a.size += len(it.Value)
	case it.Record != nil:
		if _, ok := RunOf(it.Record.Stream); !ok {
			return protocols.Errorf(protocols.InvalidParams, "the archive has a stream %q, which is no run", it.Record.Stream)
		}
		a.records = append(a.records, arrival{*it.Record, it.Partition})
		a.size += len(it.Record.Data)
	}
	if a.size > eventlog.MaxBatch { // else whoever serves the store would hold all of it, to be refused at the end
		return protocols.Errorf(protocols.InvalidParams, "the archive has more than %d MiB, which is the most that comes in at once: export fewer runs into a file", eventlog.MaxBatch>>20)
	}
	return nil
}

// Import puts runs into the log of a state: all of them or none. They become
// part of the state, in which nobody holds them, so that it may be one in which
// others go on.
func (s *State) Import(log *eventlog.Log, a *Arrivals, now time.Time) ([]Moved, error) {
	m := mover{Arrivals: a, state: s, next: max(s.NextRun, 1), numbers: map[place]uint64{}, ids: map[string]string{}, places: map[place]int{}, taken: map[string]bool{}}
	before, err := m.before(log)
	if err != nil {
		return nil, err
	}
	for _, rec := range a.records {
		if err := m.note(rec); err != nil {
			return nil, err
		}
	}
	if before {
		return m.moved, nil
	}
	if err := m.meet(log); err != nil {
		return nil, err
	}
	batch, facts, err := m.batch(now)
	if err != nil {
		return nil, err
	}
	first, err := log.Append(batch)
	if err != nil {
		return nil, err
	}
	for i, f := range facts {
		f.Seq = first + eventlog.Seq(i)
		s.Apply(f)
	}
	return m.moved, nil
}

// mover gives the runs of an archive their new names.
type mover struct {
	*Arrivals
	state   *State
	next    uint64           // that a run of the archive gets
	numbers map[place]uint64 // old → new
	ids     map[string]string
	moved   []Moved
	places  map[place]int   // in moved
	last    []time.Time     // of each in moved, when it was last heard of
	part    int             // the partition of the record that is renamed
	taken   map[string]bool // idempotency keys of arrivals that runs here have
}

// before tells whether the same call has brought the runs in already, and has
// them get the numbers that they got then.
func (m *mover) before(log *eventlog.Log) (bool, error) {
	if m.Key == "" {
		return false, nil
	}
	stream, before, err := log.Lookup(CallKey(m.Key))
	if before {
		m.next, _ = RunOf(stream)
	}
	return before, err
}

func (m *mover) note(rec arrival) error {
	old := rec.was()
	if at, known := m.places[old]; known {
		m.last[at] = rec.Time
		if Ends(rec.Record) {
			m.moved[at].Status = Status(strings.TrimPrefix(rec.Type, "workflow."))
		} else if rec.Type == (*WorkflowRetried)(nil).Type() {
			m.moved[at].Status = ""
		}
		return nil
	}
	var e WorkflowSubmitted
	if rec.Type != e.Type() {
		return protocols.Errorf(protocols.InvalidParams, "run %d of the archive does not begin with its submission", old.number)
	}
	if err := json.Unmarshal(rec.Data, &e); err != nil {
		return fmt.Errorf("record %d (%s): %w", rec.Seq, rec.Type, err)
	}
	if strings.HasPrefix(e.Key, schedulePrefixOfKeys) && (e.Schedule == "" || !strings.HasPrefix(e.Key, schedulePrefixOfKeys+e.Schedule+":")) {
		return protocols.Errorf(protocols.InvalidParams, "run %d of the archive has the key %q, which only a schedule gives its own runs", old.number, e.Key)
	}
	id := e.ID
	if e.Named {
		if err := freeID(id, m.state.NextRun); err != nil {
			return err
		}
	}
	if p, n, ok := PlaceOf(id); ok && !e.Named && old == (place{p, n}) {
		id = fmt.Sprintf("%s-%d", id[:strings.LastIndexByte(id, '-')], m.next)
	}
	m.places[old] = len(m.moved)
	m.moved = append(m.moved, Moved{From: e.ID, ID: id, Number: m.next})
	m.last = append(m.last, rec.Time)
	m.numbers[old], m.ids[e.ID] = m.next, id
	m.next++
	return nil
}

// meet refuses runs whose names are taken, and finds the idempotency keys that
// are: such a key goes on to stand for the run that has it here.
func (m *mover) meet(log *eventlog.Log) error {
	for i := range m.records {
		if m.records[i].Type != (*WorkflowSubmitted)(nil).Type() {
			continue
		}
		for _, key := range m.records[i].Keys {
			if id, chosen := strings.CutPrefix(key, idPrefix); chosen {
				taken, err := IDTaken(log, id)
				if taken {
					err = protocols.Errorf(protocols.WorkflowInvalidState, "there is a run %q already", id)
				}
				if err != nil {
					return err
				}
				continue
			}
			holder, err := FindKey(log, key)
			if err != nil {
				return err
			}
			m.taken[key] = holder != nil
		}
	}
	return nil
}

// batch writes all records with their new names, and reads them as the log's
// readers will. Behind them it says of each run that has not ended that nobody
// holds it.
func (m *mover) batch(now time.Time) (*eventlog.Batch, []Fact, error) {
	b, runs := new(eventlog.Batch), newTrial()
	codec := NewCodec(func(h eventlog.Hash) ([]byte, error) {
		if v, ok := m.values[h]; ok {
			return v, nil
		}
		return nil, eventlog.ErrNotFound
	})
	var facts []Fact
	now = latest(now, m.state.Time)
	for i, came := range m.records {
		old, rec := came.was(), came.Record
		if i == 0 && m.Key != "" {
			rec.Keys = append(slices.Clone(rec.Keys), CallKey(m.Key))
		}
		m.part = old.partition
		rec.Time = earliest(rec.Time, now) // a clock that is ahead elsewhere must not put that of all runs here forward
		rec.Stream, rec.Seq = Stream(m.numbers[old]), 0
		if err := m.rename(&rec); err != nil {
			return nil, nil, fmt.Errorf("%s of %s: %w", rec.Type, m.moved[m.places[old]].From, err)
		}
		for _, h := range rec.Refs {
			v, ok := m.values[h]
			if !ok {
				return nil, nil, protocols.Errorf(protocols.InvalidParams, "the archive lacks value %s", h)
			}
			b.Put(v)
		}
		f, found, err := codec.Decode(rec)
		if err == nil && !found {
			err = protocols.Errorf(protocols.InvalidParams, "the archive has a record %s, which is no event of a run", rec.Type)
		}
		if err == nil {
			err = runs.apply(f)
		}
		if err != nil {
			return nil, nil, err
		}
		facts = append(facts, f)
		b.Add(rec)
	}
	for i, one := range m.moved {
		if one.Status != "" {
			continue
		}
		f := Fact{Run: one.Number, At: now, Event: &WorkflowImported{From: one.From, Store: m.store, Last: earliest(m.last[i], now)}}
		if err := errors.Join(runs.apply(f), Encode(f, b)); err != nil {
			return nil, nil, err
		}
		facts = append(facts, f)
	}
	return b, facts, runs.end()
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// rename gives a record's event the new numbers and ids. Everything else of it
// stays as it is, known to this program or not.
func (m *mover) rename(rec *eventlog.Record) (err error) {
	switch {
	case rec.Type == (*WorkflowSubmitted)(nil).Type():
		rec.Data, err = edit(rec.Data, m.submitted)
	case rec.Type == (*TaskWaiting)(nil).Type():
		rec.Data, err = edit(rec.Data, func(e object) error { return e.inside("wait", m.wait) })
	case rec.Type == (*WorkflowPaused)(nil).Type():
		rec.Data, err = edit(rec.Data, func(e object) error { return m.id(e, "with") })
	case rec.Type == (*WorkflowRetried)(nil).Type():
		err = m.retried(rec)
	case Ends(*rec):
		rec.Data, err = edit(rec.Data, func(e object) error { return m.id(e, "id") })
	}
	return err
}

func (m *mover) submitted(e object) error {
	if err := m.number(e, "number"); err != nil {
		return err
	}
	if err := m.id(e, "id"); err != nil {
		return err
	}
	var key string
	if raw := e["key"]; raw != nil {
		if err := json.Unmarshal(raw, &key); err != nil {
			return err
		}
	}
	if m.taken[key] {
		delete(e, "key")
	}
	var parent Parent
	if raw := e["parent"]; raw != nil {
		if err := json.Unmarshal(raw, &parent); err != nil {
			return err
		}
		if m.numbers[place{m.part, parent.Run}] == 0 { // it is not in the archive: the run stands alone
			delete(e, "parent")
			return nil
		}
	}
	return e.inside("parent", func(p object) error { return m.number(p, "run") })
}

func (m *mover) wait(w object) error {
	if err := m.number(w, "child"); err != nil {
		return err
	}
	return m.id(w, "child_id")
}

// retried changes the run that the event carries, which may be a value.
func (m *mover) retried(rec *eventlog.Record) error {
	var e WorkflowRetried
	if err := json.Unmarshal(rec.Data, &e); err != nil {
		return err
	}
	raw, err := e.Run.Load(func(h eventlog.Hash) ([]byte, error) { return m.values[h], nil })
	if err != nil {
		return err
	}
	raw, err = edit(raw, func(run object) error {
		if err := run.inside("submitted", m.submitted); err != nil {
			return err
		}
		return run.insideEach("tasks", func(task object) error { return task.inside("v", m.wait) })
	})
	if err != nil {
		return err
	}
	now := NewValue(raw)
	if e.Run.Big != nil {
		rec.Refs = slices.DeleteFunc(rec.Refs, func(h eventlog.Hash) bool { return h == e.Run.Big.Hash })
	}
	if now.Big != nil {
		m.values[now.Big.Hash] = raw
		rec.Refs = append(rec.Refs, now.Big.Hash)
	}
	rec.Data, err = edit(rec.Data, func(o object) (err error) {
		o["run"], err = marshal(now)
		return err
	})
	return err
}

// number and id replace a field that names a run, if it is there. The number of
// one that isn't in the archive goes: here it is another's.
func (m *mover) number(o object, field string) error {
	var n uint64
	if o[field] == nil {
		return nil
	}
	if err := json.Unmarshal(o[field], &n); err != nil {
		return err
	}
	now := m.numbers[place{m.part, n}]
	if now == 0 {
		delete(o, field)
		return nil
	}
	o[field] = strconv.AppendUint(nil, now, 10)
	return nil
}

func (m *mover) id(o object, field string) (err error) {
	var id string
	if o[field] == nil {
		return nil
	}
	if err := json.Unmarshal(o[field], &id); err != nil {
		return err
	}
	if now, ok := m.ids[id]; ok {
		o[field], err = marshal(now)
	}
	return err
}

// object is a JSON object of which only some fields are of interest.
type object map[string]json.RawMessage

// edit changes an object and leaves the numbers and texts in it as they stand.
func edit(raw []byte, change func(object) error) ([]byte, error) {
	var o object
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, err
	}
	if err := change(o); err != nil {
		return nil, err
	}
	return marshal(o)
}

func (o object) inside(field string, change func(object) error) (err error) {
	if raw := o[field]; raw != nil && !bytes.Equal(raw, []byte("null")) {
		o[field], err = edit(raw, change)
	}
	return err
}

func (o object) insideEach(field string, change func(object) error) (err error) {
	var list []json.RawMessage
	if o[field] == nil {
		return nil
	}
	if err := json.Unmarshal(o[field], &list); err != nil {
		return err
	}
	for i := range list {
		if list[i], err = edit(list[i], change); err != nil {
			return err
		}
	}
	o[field], err = marshal(list)
	return err
}
