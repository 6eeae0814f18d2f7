package eventlog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"modernc.org/sqlite"
)

// This file opens and makes the SQLite file of a store. The file has all that
// the store is; STORE in the folder only says which file's. So a file that lies
// elsewhere (Options.SQLitePath) may get another folder, and keeps its id.

// sqliteFile is the name of the file if it lies in the store's folder.
const sqliteFile = "log.db"

// SQLite's own marks of a file.
const (
	sqliteApplication = 0x676c7a74 // "glzt"
	sqliteVersion     = 1          // of the schema
)

func openSQLite(f *folder, d *doom, m marker, found bool, o Options) (*Log, error) {
	if o.FS != nil {
		return nil, errors.New("SQLite needs a real disk")
	}
	path, unlock, err := f.database(o.SQLitePath)
	if err != nil {
		return nil, err
	}
	var known acked
	var line int64
	if found {
		known, line = readAcked(f, m.id)
	}
	if err := checkSQLiteLog(path, known); err != nil {
		return nil, errors.Join(err, unlock())
	}
	s, err := connectSQLite(path, found)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", path, err), unlock())
	}
	free := s.release
	s.release = func() error { return errors.Join(free(), unlock()) }
	if m, err = s.settle(f, m, found, o); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", path, err), s.release())
	}
	l, err := newLog(s, m.id, d)
	if err == nil {
		err = sqliteDamage(path, known.missing(l.Last()))
	}
	if err != nil {
		return nil, errors.Join(err, s.release())
	}
	s.acked = keepAcked(f, m.id, line)
	closeAll := s.release
	s.release = func() error {
		defer s.acked.close()
		return errors.Join(closeAll(), f.release())
	}
	return l, nil
}

// database returns the file's path. One that lies elsewhere could be named by
// two folders, so it has a lock of its own.
func (f *folder) database(elsewhere string) (path string, unlock func() error, err error) {
	path = f.path(sqliteFile)
	if elsewhere == "" || elsewhere == path {
		return path, func() error { return nil }, nil
	}
	if path, err = filepath.Abs(elsewhere); err != nil {
		return "", nil, err
	}
	if err := makeFolder(filepath.Dir(path), vfs.Default); err != nil {
		return "", nil, err
	}
	lock, err := vfs.Default.Lock(path + "-lock")
	if err != nil {
		if isContention(err) {
			err = fmt.Errorf("database %s is in use by a store in another folder", path)
		}
		return "", nil, err
	}
	return path, lock.Close, nil
}

// connectSQLite opens the file, which must be there if it is known to be.
func connectSQLite(path string, known bool) (*sqliteStore, error) {
	flags := os.O_RDWR
	if !known {
		flags |= os.O_CREATE
	}
	file, err := os.OpenFile(path, flags, 0o600) // for its owner alone, which SQLite leaves so
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	w := &sqliteWriter{known: map[string]*sql.Stmt{}}
	if w.db, err = sql.Open("sqlite", sqliteAddress(path, "rw", "journal_mode(WAL)", "synchronous(FULL)", "cache_size(-16000)")); err != nil {
		return nil, err
	}
	if w.conn, err = w.db.Conn(context.Background()); err != nil {
		return nil, errors.Join(explainSQLite(err), w.db.Close())
	}
	readers, err := sql.Open("sqlite", sqliteAddress(path, "rw", "query_only(1)"))
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	readers.SetMaxIdleConns(4)
	s := &sqliteStore{path: path, readers: readers, writer: w}
	s.prepare = readers.PrepareContext
	s.release = func() error { return errors.Join(s.forget(), readers.Close(), w.close()) }
	return s, nil
}

// readSQLite opens the file for reading only, without a trace. SQLite would make
// an index of the write-ahead log beside it, unless a connection has the file for
// itself: then it keeps one in memory. Nobody writes while we hold our lock, so
// the connections need none of SQLite's. Without a write-ahead log it would make
// that one, unless it is told that the file doesn't change.
func readSQLite(f *folder, d *doom, m marker, o Options) (*Log, error) {
	path, unlock, err := f.databaseToRead(o.SQLitePath)
	if err != nil {
		return nil, err
	}
	how := url.Values{"mode": {"ro"}, "immutable": {"1"}}
	if wal, err := os.Stat(path + "-wal"); err == nil && wal.Size() > 0 {
		how = url.Values{"mode": {"ro"}, "vfs": {sqliteUnlocked}, "_pragma": {"locking_mode(EXCLUSIVE)"}}
	}
	connector, err := sqlite.NewConnector(sqliteURL(path, how))
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	readers := sql.OpenDB(keepsLog{connector})
	s := &sqliteStore{path: path, readers: readers}
	s.prepare = readers.PrepareContext
	free := func() error { return errors.Join(s.forget(), readers.Close(), unlock()) }
	s.release = func() error { return errors.Join(free(), f.release()) }
	if last, err := lastIn(readers); err == nil {
		known, _ := readAcked(f, m.id)
		if err := sqliteDamage(path, known.missing(last)); err != nil {
			return nil, errors.Join(err, free())
		}
	}
	id, err := s.storeID()
	if err == nil && id != m.id {
		err = foreign(id, m)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", path, err), free())
	}
	l, err := newLog(s, id, d)
	if err != nil {
		return nil, errors.Join(err, free())
	}
	return l, nil
}

// databaseToRead returns the file's path, like database, and takes a share of
// its lock if it has one of its own.
func (f *folder) databaseToRead(elsewhere string) (path string, unlock func() error, err error) {
	path = f.path(sqliteFile)
	if elsewhere == "" || elsewhere == path {
		return path, func() error { return nil }, nil
	}
	if path, err = filepath.Abs(elsewhere); err != nil {
		return "", nil, err
	}
	lock, err := shareLock(path + "-lock")
	if err != nil {
		if isContention(err) {
			err = fmt.Errorf("database %s is in use by a store in another folder", path)
		}
		return "", nil, err
	}
	return path, lock.Close, nil
}

// sqliteAddress is how the driver is told what to open and how. Whoever only
// reads the file waits for nobody; a writer of another program makes us wait.
func sqliteAddress(path, mode string, pragmas ...string) string {
	q := url.Values{"mode": {mode}, "_pragma": append([]string{"busy_timeout(20000)"}, pragmas...)}
	return sqliteURL(path, q)
}

func sqliteURL(path string, q url.Values) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/…
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// settle makes sure that the file and the folder belong together, and makes
// the store if there is none.
func (s *sqliteStore) settle(f *folder, m marker, found bool, o Options) (marker, error) {
	if !found {
		m = newMarker(o, SQLite)
		if err := beginMarker(f, m); err != nil {
			return m, err
		}
	}
	id, err := s.prepareFile(m, found)
	switch {
	case err != nil:
		return m, err
	case found && id != m.id:
		return m, foreign(id, m)
	case !found:
		m.id = id
		err = errors.Join(beginMarker(f, m), syncFolder(filepath.Dir(s.path), vfs.Default), finishMarker(f))
	}
	if err != nil {
		return m, err
	}
	return m, s.setViews(o.Views)
}

func foreign(id string, m marker) error {
	return fmt.Errorf("it belongs to store %s, but the folder to store %s", id, m.id)
}

// prepareFile makes the tables in an empty file and returns the id of the store
// that the file is.
func (s *sqliteStore) prepareFile(m marker, found bool) (id string, err error) {
	var mode string
	var tables int
	for _, ask := range []struct {
		text string
		into any
	}{
		{"PRAGMA journal_mode", &mode},
		{"SELECT count(*) FROM sqlite_schema", &tables},
	} {
		if err := s.writer.conn.QueryRowContext(context.Background(), ask.text).Scan(ask.into); err != nil {
			return "", explainSQLite(err)
		}
	}
	switch {
	case mode != "wal":
		return "", fmt.Errorf("it can't have a write-ahead log here (its journal is %q): choose another disk", mode)
	case tables == 0 && !found:
		return m.id, s.writer.make(m)
	}
	return s.storeID()
}

// storeID returns the id of the store that the file is.
func (s *sqliteReader) storeID() (id string, err error) {
	var application, version int
	for text, into := range map[string]any{"PRAGMA application_id": &application, "PRAGMA user_version": &version} {
		if _, err := s.one([]any{into}, text); err != nil {
			return "", err
		}
	}
	switch {
	case application != sqliteApplication:
		return "", errors.New("it is a database, but no store")
	case version > sqliteVersion:
		return "", fmt.Errorf("its tables are of version %d, this program knows up to %d: use a newer version", version, sqliteVersion)
	}
	_, err = s.one([]any{&id}, "SELECT value FROM store WHERE name = 'id'")
	return id, err
}

// make makes the tables, all or none.
func (w *sqliteWriter) make(m marker) error {
	ctx := context.Background()
	tx, err := w.conn.BeginTx(ctx, nil)
	if err != nil {
		return explainSQLite(err)
	}
	defer tx.Rollback()
	text := sqliteSchema + fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d;", sqliteApplication, sqliteVersion)
	if _, err := tx.Exec(text); err != nil {
		return explainSQLite(err)
	}
	for name, value := range map[string]string{"id": m.id, "writer": m.writer} {
		if _, err := tx.Exec("INSERT INTO store VALUES (?, ?)", name, value); err != nil {
			return explainSQLite(err)
		}
	}
	return explainSQLite(tx.Commit())
}

// setViews makes the views anew that are not as they should be.
func (s *sqliteStore) setViews(views map[string]string) error {
	have := map[string]string{}
	err := s.each(func(scan func(...any) error) error {
		var name, text string
		err := scan(&name, &text)
		have[name] = text
		return err
	}, "SELECT name, sql FROM sqlite_schema WHERE type = 'view'")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(views)) {
		text := "CREATE VIEW " + name + " AS " + strings.TrimSpace(views[name])
		if have[name] == text {
			continue
		}
		if _, err := s.writer.conn.ExecContext(context.Background(), "BEGIN; DROP VIEW IF EXISTS "+name+"; "+text+"; COMMIT"); err != nil {
			return fmt.Errorf("view %s: %w", name, explainSQLite(err))
		}
	}
	return nil
}
