package eventlog

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"unicode/utf8"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteStore keeps the log in one SQLite file. A record lies in columns, so
// that any program that reads SQLite can read the log; its body is put together
// again from them (columns.go). sqliteopen.go opens and makes the file,
// sqliteread.go reads.
type sqliteStore struct {
	sqliteReader
	path    string
	readers *sql.DB
	writer  *sqliteWriter
	release func() error // gives up what the store holds
	acked   *ackedBook   // the evidence of what was acknowledged; nil: none is kept
}

// sqliteSchema makes the tables. Names that SQL reserves are avoided.
const sqliteSchema = `
CREATE TABLE store (
	name  TEXT PRIMARY KEY,
	value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE records (
	seq     INTEGER PRIMARY KEY,
	stream  TEXT    NOT NULL,
	type    TEXT    NOT NULL,
	seconds INTEGER NOT NULL, -- since 1970, UTC
	nanos   INTEGER NOT NULL,
	data    ANY     NOT NULL, -- text where it is text
	refs    BLOB,             -- hashes of content, 32 bytes each
	keys    BLOB,             -- as in a body
	sum     BLOB    NOT NULL  -- chains the records of the stream
) STRICT;
CREATE INDEX records_of_stream ON records (stream, seq);

CREATE TABLE content (
	hash  TEXT PRIMARY KEY,   -- SHA-256 of bytes, in hexadecimal
	bytes ANY NOT NULL        -- text where it is text
) STRICT;

CREATE TABLE uses (
	hash   TEXT NOT NULL,
	stream TEXT NOT NULL,
	PRIMARY KEY (hash, stream)
) STRICT, WITHOUT ROWID;

CREATE TABLE claims (
	key    TEXT PRIMARY KEY,
	stream TEXT    NOT NULL,
	seq    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
	stream TEXT PRIMARY KEY,
	seq    INTEGER NOT NULL,
	data   BLOB    NOT NULL
) STRICT;

CREATE TABLE totals (
	one      INTEGER PRIMARY KEY CHECK (one = 1),
	last     INTEGER NOT NULL,
	records  INTEGER NOT NULL,
	contents INTEGER NOT NULL,
	bytes    INTEGER NOT NULL
) STRICT;
`

// sqliteWriter is the one connection that writes, once the log is open only
// with mu: checkpoints are saved beside appends.
type sqliteWriter struct {
	mu    sync.Mutex
	db    *sql.DB
	conn  *sql.Conn
	known map[string]*sql.Stmt
	err   error // the first of a commit
}

func (w *sqliteWriter) exec(text string, args ...any) {
	if w.err != nil {
		return
	}
	stmt := w.known[text]
	if stmt == nil {
		if stmt, w.err = w.conn.PrepareContext(context.Background(), text); w.err != nil {
			return
		}
		w.known[text] = stmt
	}
	_, w.err = stmt.Exec(args...)
}

func (w *sqliteWriter) close() error {
	var errs []error
	for _, stmt := range w.known {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, w.conn.Close(), w.db.Close())...)
}

// commit is one transaction. With PRAGMA synchronous = FULL its end waits for
// the disk, with NORMAL it doesn't; the write-ahead log keeps the order.
func (s *sqliteStore) commit(c *change, sync bool) error {
	w := s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = nil
	if !sync {
		w.exec("PRAGMA synchronous = NORMAL")
	}
	w.exec("BEGIN IMMEDIATE")
	w.drop(&c.drop)
	for i := range c.records {
		w.record(&c.records[i])
	}
	for _, v := range c.values {
		w.exec("INSERT INTO content VALUES (?, ?)", v.hash.String(), textual(v.bytes))
	}
	for _, u := range c.uses {
		w.exec("INSERT OR IGNORE INTO uses VALUES (?, ?)", u.hash.String(), u.stream)
	}
	for _, k := range c.claims {
		w.exec("INSERT INTO claims VALUES (?, ?, ?)", k.key, k.stream, int64(k.seq))
	}
	for _, p := range c.checkpoints {
		w.exec("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?)", p.Stream, int64(p.At), append([]byte{}, p.Data...))
	}
	if t := c.totals; t != nil {
		w.exec("INSERT OR REPLACE INTO totals VALUES (1, ?, ?, ?, ?)", int64(t.last), int64(t.records), int64(t.values), int64(t.valueBytes))
	}
	w.exec("COMMIT")
	if !sync {
		w.exec("PRAGMA synchronous = FULL")
	}
	if w.err == nil && sync && c.totals != nil {
		s.acked.note(acked{last: c.totals.last})
	}
	return explainSQLite(w.err)
}

func (w *sqliteWriter) drop(d *drops) {
	for _, s := range d.streams {
		w.exec("DELETE FROM records WHERE stream = ?", s)
	}
	for _, h := range d.values {
		w.exec("DELETE FROM content WHERE hash = ?", h.String())
	}
	for _, u := range d.uses {
		w.exec("DELETE FROM uses WHERE hash = ? AND stream = ?", u.hash.String(), u.stream)
	}
	for _, k := range d.claims {
		w.exec("DELETE FROM claims WHERE key = ?", k)
	}
	for _, name := range d.checkpoints {
		w.exec("DELETE FROM checkpoints WHERE stream = ?", name)
	}
}

func (w *sqliteWriter) record(r *row) {
	c, err := splitBody(r.body)
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("record %d: %w", r.seq, err)
	}
	w.exec("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", int64(r.seq), string(c.stream), string(c.kind),
		c.seconds, c.nanos, textual(c.data), orNull(c.refs), orNull(c.keys), c.sum)
}

// textual returns what is text as text, so that it can be read and searched.
func textual(b []byte) any {
	if utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 {
		return string(b)
	}
	return b
}

func orNull(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// explainSQLite gives errors the causes that callers look for.
func explainSQLite(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case e.Code()&0xff == sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w (%w)", err, syscall.ENOSPC)
	case isSQLiteDamage(err):
		return fmt.Errorf("it is damaged: %w", err)
	}
	return err
}

// isSQLiteDamage tells whether SQLite can't make sense of its file.
func isSQLiteDamage(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && (e.Code()&0xff == sqlite3.SQLITE_CORRUPT || e.Code()&0xff == sqlite3.SQLITE_NOTADB)
}

func (s *sqliteStore) about() (Engine, int, Promise) { return SQLite, Format, onDisk }

// size counts the file and its write-ahead log.
func (s *sqliteStore) size() (n int64) {
	for _, name := range []string{s.path, s.path + "-wal"} {
		if info, err := os.Stat(name); err == nil {
			n += info.Size()
		}
	}
	return n
}

// view holds a read transaction on a connection of its own.
func (s *sqliteStore) view() (store, error) {
	ctx := context.Background()
	conn, err := s.readers.Conn(ctx)
	if err != nil {
		return nil, err
	}
	v := &sqliteStore{path: s.path}
	v.sqliteReader.prepare = conn.PrepareContext
	v.release = func() error {
		_, err := conn.ExecContext(ctx, "ROLLBACK")
		return errors.Join(v.forget(), err, conn.Close())
	}
	// The transaction sees what is there at its first reading.
	if _, err = conn.ExecContext(ctx, "BEGIN"); err == nil {
		_, err = v.totals()
	}
	if err != nil {
		return nil, errors.Join(err, v.release())
	}
	return v, nil
}

// compact gives back to the system what deletions left. It needs as much room
// again, and nobody can write meanwhile.
func (s *sqliteStore) compact(ctx context.Context) error {
	w := s.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.conn.ExecContext(ctx, "VACUUM")
	if err == nil {
		_, err = w.conn.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	}
	return explainSQLite(err)
}

func (s *sqliteStore) close() error { return s.release() }
