package eventlog

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// This file folds the marks that deletions leave, so that a log from which
// streams are deleted for ever doesn't grow for ever: many marks make place for
// one, in a stream of its own, that covers what they covered and themselves.
// What is deleted in the order in which it came leaves few gaps, so that the one
// stays small. Of a folded stream nothing is known any more.

// Folded is the stream whose one record stands for folded marks. It is of type
// StreamDeleted, too.
const Folded = "folded"

// Mark is all that is left of a stream: see Delete.
type Mark struct {
	Stream string
	seq    Seq
	covers spans
	refs   []Hash
}

// Marks returns the marks of deletions that nothing came after in their
// streams, up to record to, in byte order of the streams' names.
func (l *Log) Marks(ctx context.Context, to Seq) (marks []Mark, err error) {
	to = min(to, l.Last())
	live := lister{log: l, listing: listing{to: l.Last(), limit: pageRows}}
	every := lister{log: l, listing: live.listing}
	every.deleted = true
	var dead []string
	for {
		name, found, err := every.next()
		if err != nil {
			return nil, err
		}
		if !found {
			break
		}
		alive, err := live.reaches(name)
		switch {
		case err != nil:
			return nil, err
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !alive && name != Folded:
			dead = append(dead, name)
		}
	}
	marks = make([]Mark, len(dead))
	err = abreast(len(dead), func(i int) error {
		m, found, err := l.mark(dead[i])
		if err == nil && found && m.seq <= to {
			marks[i] = m
		}
		return cmp.Or(err, ctx.Err())
	})
	return slices.DeleteFunc(marks, func(m Mark) bool { return m.seq == 0 }), err
}

// mark reads the end of a stream, if it is a mark.
func (l *Log) mark(stream string) (m Mark, found bool, err error) {
	r, found, err := l.Head(stream)
	if err != nil || !found || r.Type != StreamDeleted {
		return m, false, err
	}
	if err := l.enter(); err != nil {
		return m, false, err
	}
	defer l.leave()
	covers, err := readCovers(l.store, r)
	return Mark{stream, r.Seq, covers, r.Refs}, err == nil, err
}

// lister walks through the names of streams.
type lister struct {
	listing
	log  *Log
	page []string
	done bool
}

// next returns the next name, if there is one.
func (w *lister) next() (name string, found bool, err error) {
	if err := w.fill(); err != nil || len(w.page) == 0 {
		return "", false, err
	}
	name, w.page = w.page[0], w.page[1:]
	return name, true, nil
}

// reaches goes on up to a name and tells whether it is among them. Names are
// asked for in order.
func (w *lister) reaches(name string) (bool, error) {
	for {
		if err := w.fill(); err != nil || len(w.page) == 0 || w.page[0] > name {
			return false, err
		}
		if w.page[0] == name {
			return true, nil
		}
		w.page = w.page[1:]
	}
}

func (w *lister) fill() (err error) {
	if len(w.page) > 0 || w.done {
		return nil
	}
	if err := w.log.enter(); err != nil {
		return err
	}
	defer w.log.leave()
	if w.page, err = w.log.store.streams(w.listing); err != nil {
		return fmt.Errorf("list the streams: %w", err)
	}
	w.done = len(w.page) == 0
	if !w.done {
		w.after = w.page[len(w.page)-1]
	}
	return nil
}

// Fold folds marks. Those that have been folded or have got company since they
// were read are left alone. It is atomic and durable when it returns.
func (l *Log) Fold(marks []Mark) error {
	if len(marks) == 0 {
		return nil
	}
	_, err := l.submit(&request{fold: marks})
	return err
}

// fold makes the change, which is empty before, a folding.
func (w *writer) fold(marks []Mark) error {
	f := folding{replacing: replacing{writer: w}}
	if err := f.run(marks); err != nil {
		return fmt.Errorf("fold: %w", err)
	}
	return nil
}

// folding gathers what goes.
type folding struct {
	replacing
	covered spans // in no order
}

func (f *folding) run(marks []Mark) error {
	for _, m := range marks {
		if err := f.add(m); err != nil {
			return err
		}
	}
	folded := f.gone.streams
	if len(folded) == 0 {
		return nil
	}
	own, err := f.writer.head(Folded)
	if err == nil && own.seq > 0 {
		err = f.addEarlier()
	}
	if err != nil {
		return err
	}
	f.marks = []ending{{own, f.covered.merged()}}
	if err := f.write(); err != nil {
		return err
	}
	for _, s := range folded {
		f.writer.heads.delete(s)
	}
	return nil
}

// add lets a mark go, if it still stands at the end of its stream.
func (f *folding) add(m Mark) error {
	h, err := f.writer.head(m.Stream)
	if err != nil || h.seq != m.seq {
		return err
	}
	f.gone.streams = append(f.gone.streams, m.Stream)
	f.gone.records = append(f.gone.records, m.seq)
	f.gone.checkpoints = append(f.gone.checkpoints, m.Stream)
	f.covered = append(append(f.covered, m.covers...), span{m.seq, m.seq})
	for _, ref := range m.refs {
		f.gone.uses = append(f.gone.uses, use{ref, m.Stream})
	}
	return nil
}

// addEarlier lets the mark go that stands for those that were folded before.
func (f *folding) addEarlier() error {
	end, err := f.writer.store.head(Folded, f.writer.sums.last)
	if err != nil {
		return err
	}
	var dec decoder
	r, err := dec.record(end)
	if err != nil {
		return err
	}
	covers, err := readCovers(f.writer.store, r)
	if err != nil {
		return err
	}
	return f.add(Mark{Folded, r.Seq, covers, r.Refs})
}
