package eventlog

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
)

// This file finds, for Repair, where the damage of a log begins and whether
// anything sound follows. Verify names every disagreement; here only the records
// and their values count, for everything else can be made of them.

// scan reads all records of a store in their order.
type scan struct {
	ctx     context.Context
	store   store
	last    Seq // that there is any sign of
	covered bits
	sums    map[string]Hash
	values  map[Hash]bool // looked at, and whether it is sound

	first    Seq  // record that is damaged, 0 if none is
	follows  bool // a sound record comes after it
	keep     Seq  // the last sound record before it
	problems []string
	losses   map[string]*Loss
}

func newScan(ctx context.Context, s store) *scan {
	return &scan{ctx: ctx, store: s, sums: map[string]Hash{}, values: map[Hash]bool{}, losses: map[string]*Loss{}}
}

func (c *scan) run() error {
	v := verifier{store: c.store, ctx: c.ctx}
	if err := v.run(); err != nil {
		return err
	}
	c.problems = v.report.Problems
	t, _ := c.store.totals() // Verify has told
	last, _ := c.store.last()
	c.last = max(t.last, last)
	if err := c.each(c.cover, func(Seq, Seq, error) {}); err != nil {
		return err
	}
	return c.each(c.record, c.absent)
}

// each reads all records, and tells of the places where there is none, with an
// error if it can't be read.
func (c *scan) each(there func(row), gone func(from, before Seq, err error)) error {
	for next := Seq(1); next <= c.last; {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		var p page
		err := c.store.records(next, c.last, &p)
		for _, w := range p.rows {
			gone(next, w.seq, nil)
			there(w)
			next = w.seq + 1
		}
		switch {
		case err != nil:
			gone(next, next+1, err)
			next++
		case len(p.rows) == 0:
			gone(next, c.last+1, nil)
			next = c.last + 1
		}
	}
	return nil
}

// cover notes the records that a mark of a deletion stands for.
func (c *scan) cover(w row) {
	var dec decoder
	r, err := dec.record(w)
	if err != nil || r.Type != StreamDeleted {
		return
	}
	if covered, err := readCovers(c.store, r); err == nil {
		for q := range covered.all() {
			if q < w.seq {
				c.covered.set(q)
			}
		}
	}
}

// absent notes the records from..before, which are not there, but for deleted
// ones.
func (c *scan) absent(from, before Seq, err error) {
	why := "is missing"
	if err != nil {
		why = "can't be read: " + firstLine(err)
	}
	for q := from; q < before; q++ {
		if !c.covered.has(q) {
			c.damaged(q, "", "", fmt.Sprintf("record %d %s", q, why))
		}
	}
}

func (c *scan) record(w row) {
	var dec decoder
	r, err := dec.record(w)
	if err != nil {
		c.damaged(w.seq, "", "", err.Error())
		return
	}
	why := c.unsound(r, w.body)
	c.sums[r.Stream], _ = bodySum(w.body)
	switch {
	case why != "":
		c.damaged(w.seq, r.Stream, r.Type, why)
	case c.first != 0:
		c.follows = true
		c.loses(w.seq, r.Stream, r.Type)
	default:
		c.keep = w.seq
	}
}

// unsound says why a record is not as it was written, "" if it is.
func (c *scan) unsound(r Record, body []byte) string {
	before := c.sums[r.Stream]
	if r.Type == StreamDeleted {
		d, err := ParseDeletion(r)
		if err != nil {
			return err.Error()
		}
		before = d.Sum
	}
	if sum, _ := bodySum(body); sum != sumBody(before, body) {
		return fmt.Sprintf("record %d does not match its sum", r.Seq)
	}
	for _, h := range r.Refs {
		sound, known := c.values[h]
		if !known {
			v, err := c.store.value(h)
			sound = err == nil && Sum(v) == h
			c.values[h] = sound
		}
		if !sound {
			return fmt.Sprintf("record %d needs value %s, which is missing or damaged", r.Seq, h)
		}
	}
	return ""
}

// damaged notes a record that can't stay, and where there may be one.
func (c *scan) damaged(q Seq, stream, kind, why string) {
	if c.first == 0 {
		c.first = q
	}
	c.problems = append(c.problems, why)
	c.loses(q, stream, kind)
}

// loses notes a record that goes.
func (c *scan) loses(q Seq, stream, kind string) {
	if stream == "" {
		return // streams tells, if it can
	}
	l := c.losses[stream]
	if l == nil {
		l = &Loss{Stream: stream, First: q, Types: map[string]int{}}
		c.losses[stream] = l
	}
	l.Records++
	l.First = min(l.First, q)
	if kind != "" {
		l.Types[kind]++
	}
}

// lost says what goes when all behind the last sound record does.
func (c *scan) lost(d *Damage) {
	d.Keep = c.keep
	slices.Sort(c.problems)
	d.Problems = append(d.Problems, slices.Compact(c.problems)...)
	if c.first != 0 {
		c.unreadable()
	}
	for _, stream := range slices.Sorted(maps.Keys(c.losses)) {
		d.Lost = append(d.Lost, *c.losses[stream])
	}
	for i := range d.Lost {
		d.Lost[i].Begin = c.begin(d.Lost[i].Stream)
	}
}

// unreadable finds the streams of lost records that can't be read themselves.
func (c *scan) unreadable() {
	for after := ""; ; {
		names, err := c.store.streams(listing{after: after, to: c.last, limit: pageRows, deleted: true})
		if err != nil || len(names) == 0 {
			return
		}
		for _, name := range names {
			after = name
			if c.losses[name] != nil {
				continue
			}
			var p page
			err := c.store.stream(name, c.first, c.last, &p)
			if one, ok := err.(*recordError); ok {
				c.loses(one.seq, name, "")
			}
			for _, w := range p.rows {
				c.loses(w.seq, name, "")
			}
		}
	}
}

// begin returns the first record of a stream if it can be read.
func (c *scan) begin(stream string) *Record {
	var p page
	_ = c.store.stream(stream, 1, c.last, &p) // what can be read is in the page
	if len(p.rows) == 0 {
		return nil
	}
	var dec decoder
	r, err := dec.record(row{seq: p.rows[0].seq, body: bytes.Clone(p.rows[0].body)})
	if err != nil {
		return nil
	}
	return &r
}
