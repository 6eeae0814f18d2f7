package eventlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// This file repairs a damaged store, as far as that can be done without making
// anything up: its end is cut off before the first record that is damaged, and
// all indexes are made anew from the records that stay. What can't be cut off,
// because sound records follow it, is not repaired.
//
//	open, or else cut Pebble's write-ahead log in a copy    repairwal.go
//	  └─► read all records, find what stays and what goes   repairscan.go
//	        └─► agreed? ─► a new store of what stays ─► change places
//
// The damaged store is left beside the new one, whole.

// ErrNotTail is returned by Repair for damage that sound records follow.
var ErrNotTail = errors.New("the damage is not at the end: cutting there would lose sound records; " +
	"restore a backup, or export the runs that can be read into a new store")

// ErrSound is returned by Repair if there is nothing to repair.
var ErrSound = errors.New("the store is sound: there is nothing to repair")

// Damage is what Repair found.
type Damage struct {
	// Problems says what is wrong, in the words of Verify or of Open.
	Problems []string
	// Keep is the last record that stays.
	Keep Seq
	// Lost are the streams that lose records, and Bytes those of a write-ahead
	// log that go with them.
	Lost  []Loss
	Bytes int64
}

// Loss is what a stream loses.
type Loss struct {
	Stream  string
	Records int // that are known of
	First   Seq // of them
	// Types are those of the lost records that can still be read, by number.
	Types map[string]int
	// Begin is the stream's first record, nil if it can't be read.
	Begin *Record
}

// Repaired is what Repair did.
type Repaired struct {
	Damage
	Records, Values uint64 // that stayed
	Backup          string // the damaged store, as it was
}

// Repair repairs the store in the folder dir. Nothing is changed before agree
// has been told what will be lost and returns true. ErrSound, ErrNotTail and an
// error of agree's refusal (ErrNotAgreed) leave the store as it is.
func Repair(ctx context.Context, dir string, o Options, agree func(Damage) bool) (done Repaired, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return done, fmt.Errorf("repair: %w", err)
	}
	if _, err := os.Stat(dir); err != nil {
		return done, fmt.Errorf("repair: %w", err)
	}
	f, err := claimFolder(dir, vfs.Default)
	if err != nil {
		return done, err
	}
	r := repairer{ctx: ctx, folder: f, o: o, agree: agree, began: time.Now().UTC()}
	err = errors.Join(r.run(), f.release())
	if err != nil {
		err = fmt.Errorf("repair store %s: %w", dir, err)
	}
	return r.done, err
}

// ErrNotAgreed is returned by Repair if agree returned false.
var ErrNotAgreed = errors.New("nothing was changed")

// repairer is one repair.
type repairer struct {
	ctx    context.Context
	folder *folder
	o      Options
	agree  func(Damage) bool
	began  time.Time
	marker marker
	acked  acked
	done   Repaired
}

func (r *repairer) run() error {
	m, found, err := readMarker(r.folder)
	if err != nil {
		return err
	}
	if !found {
		return errors.New("there is no store")
	}
	r.marker = m
	r.acked, _ = readAcked(r.folder, m.id)
	engine, err := r.folder.engine(m, found, r.o.Engine)
	if err != nil {
		return err
	}
	switch engine {
	case Redis:
		return errors.New("its bytes are kept by Redis: repair its files (redis-check-aof --fix), or restore a backup")
	case SQLite:
		return r.sqlite()
	}
	return r.pebble()
}

// pebble repairs a store of Pebble: in place if it can be opened, else in a copy
// whose write-ahead log is cut.
func (r *repairer) pebble() error {
	work := r.folder.dir + ".repairing"
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	made := filepath.Join(work, "made")
	if err := os.MkdirAll(work, 0o700); err != nil {
		return err
	}
	s, err := r.openPebble(filepath.Join(work, "copy"))
	if err != nil {
		return err
	}
	if err := r.rebuild(s, made); err != nil {
		return err
	}
	r.done.Backup = r.aside(r.folder.dir)
	return errors.Join(carryOver(r.folder.dir, made), syncDir(made), changePlaces(made, r.folder.dir, r.done.Backup), syncDir(filepath.Dir(r.folder.dir)))
}

// sqlite repairs a file of SQLite's.
func (r *repairer) sqlite() (err error) {
	path, unlock, err := r.folder.database(r.o.SQLitePath)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	work := path + ".repairing"
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	from, err := r.undisturbed(path, filepath.Join(work, "copy"))
	if err != nil {
		return err
	}
	s, err := connectSQLite(from, true)
	if err == nil {
		if _, err = s.prepareFile(r.marker, true); err != nil {
			err = errors.Join(err, s.close())
		}
	}
	switch {
	case isSQLiteDamage(err):
		return fmt.Errorf("%w: %w", ErrNotTail, err)
	case err != nil && len(r.done.Problems) > 0:
		return fmt.Errorf("%s, and nothing stands before that: restore a backup", r.done.Problems[0])
	case err != nil:
		return err
	}
	made := filepath.Join(work, "made")
	if err := r.rebuild(s, made); err != nil {
		return err
	}
	r.done.Backup = r.aside(path)
	for _, end := range []string{"-wal", "-shm", ""} {
		if err := os.Rename(path+end, r.done.Backup+end); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	// The folder may lie on another disk than the file.
	return errors.Join(copyFile(filepath.Join(made, ackedFile), r.folder.path(ackedFile)), os.Rename(filepath.Join(made, sqliteFile), path), syncDir(filepath.Dir(path)))
}

// undisturbed returns which file is to be read: that of the store, or a copy if
// a process that was killed left a write-ahead log, which SQLite would remove
// when it is through with it.
func (r *repairer) undisturbed(path, copyTo string) (string, error) {
	if info, err := os.Stat(path + "-wal"); err != nil || info.Size() == 0 {
		return path, nil
	}
	if err := os.MkdirAll(copyTo, 0o700); err != nil {
		return "", err
	}
	from := filepath.Join(copyTo, filepath.Base(path))
	if err := errors.Join(copyFile(path, from), copyFile(path+"-wal", from+"-wal")); err != nil {
		return "", err
	}
	if err := checkSQLiteLog(from, r.acked); err != nil {
		r.done.Damage = Damage{Problems: []string{walProblem(err)}}
	}
	return from, nil
}

// aside is where the damaged store goes.
func (r *repairer) aside(path string) string {
	return path + ".damaged-" + r.began.Format("20060102-150405.000")
}

// rebuild makes a new store of what stays in s, which it closes, if there is
// damage that can be cut off, and if that is agreed to.
func (r *repairer) rebuild(s store, dir string) (err error) {
	open := true
	closeOnce := func() (err error) {
		if open {
			open, err = false, s.close()
		}
		return err
	}
	defer func() { err = errors.Join(err, closeOnce()) }()
	scan := newScan(r.ctx, s)
	if err := scan.run(); err != nil {
		return err
	}
	if why := r.acked.missing(scan.last); why != "" {
		scan.problems = append(scan.problems, why)
	}
	scan.lost(&r.done.Damage)
	switch {
	case len(r.done.Problems) == 0:
		return ErrSound
	case scan.follows:
		return fmt.Errorf("%w: %s", ErrNotTail, strings.Join(r.done.Problems[:min(3, len(r.done.Problems))], "; "))
	case !r.agree(r.done.Damage):
		return ErrNotAgreed
	}
	o := Options{Engine: r.marker.engine, Writer: r.marker.writer, Views: r.o.Views, Fatal: r.o.Fatal, id: r.marker.id}
	l, err := Open(dir, o)
	if err != nil {
		return err
	}
	return errors.Join(r.copy(s, l), closeOnce(), l.Close())
}

// copy puts the records that stay into a new log, and looks whether it is sound.
func (r *repairer) copy(s store, l *Log) error {
	put := restorer{store: l.store}
	values := map[Hash]bool{}
	for next := Seq(1); next <= r.done.Keep; {
		var p page
		if err := errors.Join(r.ctx.Err(), s.records(next, r.done.Keep, &p)); err != nil {
			return err
		}
		if len(p.rows) == 0 {
			break
		}
		for _, w := range p.rows {
			if err := put.row(s, w, values); err != nil {
				return err
			}
			next = w.seq + 1
		}
	}
	r.done.Records, r.done.Values = put.sums.records, put.sums.values
	if err := put.finish(put.sums.last); err != nil {
		return err
	}
	v := verifier{store: l.store, ctx: r.ctx, ended: l.ended}
	err := v.run()
	if len(v.report.Problems) > 0 {
		err = errors.Join(err, fmt.Errorf("what could be saved is not sound: %s", v.report.Problems[0]))
	}
	return err
}

// row puts a record into the new store behind the values that it needs.
func (p *restorer) row(from store, w row, has map[Hash]bool) error {
	var dec decoder
	rec, err := dec.record(w)
	if err != nil {
		return err
	}
	for _, h := range rec.Refs {
		if has[h] {
			continue
		}
		v, err := from.value(h)
		if err != nil {
			return err
		}
		has[h] = true
		if err := p.item(ArchiveItem{Hash: h, Value: v}); err != nil {
			return err
		}
	}
	return p.item(ArchiveItem{Record: &rec, body: w.body, claimed: dec.claimed})
}
