package eventlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// This file puts logs into archives and takes them out again.

// Backup writes the whole log, as it is at one moment, into an archive, while
// others read and write. (In a Redis nobody can write meanwhile.) A record that
// is damaged ends it with an error: a backup is sound or there is none.
func (l *Log) Backup(ctx context.Context, w io.Writer) (info ArchiveInfo, err error) {
	if err := l.enter(); err != nil {
		return info, err
	}
	defer l.leave()
	view, err := l.store.view()
	if err != nil {
		return info, fmt.Errorf("backup: %w", err)
	}
	defer func() { err = errors.Join(err, view.close()) }()
	sums, err := view.totals()
	if err != nil {
		return info, fmt.Errorf("backup: %w", err)
	}
	a := newArchiveWriter(w, archiveTitle, ArchiveHeader{Kind: WholeLog, Store: l.id, Last: sums.last, Writer: thisProgram()})
	if err := l.archiveRecords(ctx, view, sums.last, a); err != nil {
		return info, fmt.Errorf("backup: %w", err)
	}
	if err := archiveCheckpoints(view, a); err != nil {
		return info, fmt.Errorf("backup: %w", err)
	}
	if a.err == nil && (a.info.Records != sums.records || a.info.Values != sums.values) {
		return info, fmt.Errorf("backup: there are %d records and %d values, the totals say %d and %d: the store is damaged",
			a.info.Records, a.info.Values, sums.records, sums.values)
	}
	return a.finish()
}

func (l *Log) archiveRecords(ctx context.Context, s store, last Seq, a *archiveWriter) error {
	var (
		p   page
		dec decoder
	)
	for next := Seq(1); next <= last; {
		if err := errors.Join(ctx.Err(), l.hasEnded(), a.err); err != nil {
			return err
		}
		p.reset()
		if err := s.records(next, last, &p); err != nil {
			return err
		}
		if len(p.rows) == 0 {
			return nil
		}
		for _, w := range p.rows {
			r, err := dec.record(w)
			if err != nil {
				return err
			}
			a.record(s, w.body, r.Refs)
			next = w.seq + 1
		}
	}
	return a.err
}

func (l *Log) hasEnded() error {
	select {
	case <-l.ended:
		return ErrClosed
	default:
		return nil
	}
}

func archiveCheckpoints(s store, a *archiveWriter) error {
	for after := ""; ; {
		some, err := s.checkpoints("", after, pageRows)
		if err != nil || len(some) == 0 {
			return err
		}
		for _, c := range some {
			a.checkpoint(c)
			after = c.Stream
		}
	}
}

// Export writes whole streams into an archive, as they were at one moment: up to
// the record last. A stream that is not there, or was deleted, is an error.
func (l *Log) Export(ctx context.Context, w io.Writer, streams []string, last Seq) (ArchiveInfo, error) {
	if err := l.enter(); err != nil {
		return ArchiveInfo{}, err
	}
	defer l.leave()
	a := newArchiveWriter(w, archiveTitle, ArchiveHeader{Kind: SomeStream, Store: l.id, Last: last, Writer: thisProgram()})
	if err := l.archiveStreams(ctx, streams, last, a); err != nil {
		return a.info, err
	}
	return a.finish()
}

func (l *Log) archiveStreams(ctx context.Context, streams []string, last Seq, a *archiveWriter) error {
	for _, name := range streams {
		if err := errors.Join(ctx.Err(), l.hasEnded()); err != nil {
			return err
		}
		if err := l.archiveStream(name, last, a); err != nil {
			return fmt.Errorf("export stream %q: %w", name, err)
		}
	}
	return nil
}

// Part are streams of one partition.
type Part struct {
	Number  int
	Log     *Log // a mirror does
	Streams []string
	Last    Seq // up to where
}

// Export is Log.Export for streams of several partitions, in the order of their
// numbers. Those of each are as they were at one moment.
func (p *Partitions) Export(ctx context.Context, w io.Writer, parts []Part) (ArchiveInfo, error) {
	a := newArchiveWriter(w, partsTitle, ArchiveHeader{Kind: SomeStream, Store: p.ID(), Writer: thisProgram()})
	for _, one := range parts {
		a.part(one.Number)
		if err := one.Log.exportPart(ctx, one, a); err != nil {
			return a.info, fmt.Errorf("partition %d: %w", one.Number, err)
		}
	}
	return a.finish()
}

func (l *Log) exportPart(ctx context.Context, p Part, a *archiveWriter) error {
	if err := l.enter(); err != nil {
		return err
	}
	defer l.leave()
	return l.archiveStreams(ctx, p.Streams, p.Last, a)
}

func (l *Log) archiveStream(name string, last Seq, a *archiveWriter) error {
	var (
		p   page
		dec decoder
	)
	for next := Seq(1); ; {
		p.reset()
		if err := l.store.stream(name, next, last, &p); err != nil {
			return err
		}
		if len(p.rows) == 0 && next == 1 {
			return ErrNotFound
		}
		if len(p.rows) == 0 {
			return a.err
		}
		for _, w := range p.rows {
			r, err := dec.record(w)
			if err != nil {
				return err
			}
			if r.Type == StreamDeleted {
				return ErrNotFound
			}
			a.record(l.store, w.body, r.Refs)
			next = w.seq + 1
		}
	}
}

// Restore makes a store of what Backup wrote, with the same id, records and
// sums, in the folder dir, in which there may be no store yet. The engine may be
// another one. The archive is read twice: a damaged one changes nothing. The
// store appears in dir when it is complete.
func Restore(ctx context.Context, archive io.ReadSeeker, dir string, o Options) (ArchiveInfo, error) {
	info, err := ReadArchive(archive, func(h ArchiveHeader, _ ArchiveItem) error {
		if h.Kind != WholeLog {
			return fmt.Errorf("restore: the archive has single runs, no whole store: import it")
		}
		return ctx.Err()
	})
	if err != nil {
		return info, err
	}
	if info.Kind != WholeLog {
		return info, fmt.Errorf("restore: the archive is no backup of a store")
	}
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		return info, fmt.Errorf("restore: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return info, fmt.Errorf("restore: %w", err)
	}
	if some, err := os.ReadDir(dir); err == nil && len(some) > 0 {
		return info, fmt.Errorf("restore: the folder %s is not empty", dir)
	}
	making := dir + ".restoring"
	if err := os.RemoveAll(making); err != nil {
		return info, fmt.Errorf("restore: %w", err)
	}
	if err := restoreInto(ctx, archive, making, info, o); err != nil {
		return info, errors.Join(fmt.Errorf("restore: %w", err), os.RemoveAll(making))
	}
	_ = os.Remove(dir) // if it is there and empty
	if err := os.Rename(making, dir); err != nil {
		return info, fmt.Errorf("restore: %w", err)
	}
	return info, syncDir(filepath.Dir(dir))
}

func restoreInto(ctx context.Context, archive io.Reader, dir string, info ArchiveInfo, o Options) (err error) {
	o.id = info.Store
	l, err := Open(dir, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if l.Last() != 0 {
		return fmt.Errorf("there are %d records already", l.Last())
	}
	r := restorer{store: l.store}
	if _, err := ReadArchive(archive, func(_ ArchiveHeader, it ArchiveItem) error {
		return errors.Join(ctx.Err(), r.item(it))
	}); err != nil {
		return err
	}
	return r.finish(info.Last)
}

// restorer puts items into an empty store as they were.
type restorer struct {
	store  store
	sums   totals
	change change
	size   int
	at     map[string]int // of a stream in change.touched
}

// restoreBytes is about how much one commit takes.
const restoreBytes = 8 << 20

func (r *restorer) item(it ArchiveItem) error {
	switch {
	case it.Record != nil:
		if err := r.room(it.Record); err != nil {
			return err
		}
		r.record(it)
	case it.Checkpoint != nil:
		r.change.checkpoints = append(r.change.checkpoints, *it.Checkpoint)
		r.size += len(it.Checkpoint.Data)
	default:
		r.change.values = append(r.change.values, value{it.Hash, it.Value})
		r.sums.values++
		r.sums.valueBytes += uint64(len(it.Value))
		r.size += len(it.Value)
	}
	return nil
}

// room commits what there is when it is enough, or when a mark of a deletion
// would share an entry with other records.
func (r *restorer) room(rec *Record) error {
	i, touched := r.at[rec.Stream]
	if r.size < restoreBytes && !(touched && (rec.Type == StreamDeleted || r.change.touched[i].mark)) {
		return nil
	}
	// The values that came last belong to the record that comes next.
	return r.commit(false)
}

func (r *restorer) record(it ArchiveItem) {
	rec, c := it.Record, &r.change
	c.records = append(c.records, row{seq: rec.Seq, body: it.body})
	i, ok := r.at[rec.Stream]
	if !ok {
		if r.at == nil {
			r.at = map[string]int{}
		}
		i = len(c.touched)
		r.at[rec.Stream] = i
		c.touched = append(c.touched, touch{stream: rec.Stream, mark: rec.Type == StreamDeleted})
	}
	c.touched[i].seqs = append(c.touched[i].seqs, rec.Seq)
	for _, h := range rec.Refs {
		c.uses = append(c.uses, use{h, rec.Stream})
	}
	for k, key := range rec.Keys {
		if it.claimed[k] {
			c.claims = append(c.claims, claim{key, rec.Stream, rec.Seq})
		}
	}
	r.sums.last = rec.Seq
	r.sums.records++
	r.size += len(it.body)
}

func (r *restorer) commit(sync bool) error {
	if len(r.change.records) == 0 {
		return nil
	}
	sums := r.sums
	r.change.totals = &sums
	if err := r.store.commit(&r.change, sync); err != nil {
		return err
	}
	r.change = change{before: r.sums.last}
	r.size = 0
	clear(r.at)
	return nil
}

func (r *restorer) finish(last Seq) error {
	if r.sums.last != last {
		return fmt.Errorf("the last record is %d, the archive says %d", r.sums.last, last)
	}
	if len(r.change.records) == 0 && len(r.change.checkpoints) > 0 {
		return r.store.commit(&r.change, true)
	}
	return r.commit(true)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
