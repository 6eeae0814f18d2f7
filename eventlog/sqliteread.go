package eventlog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
)

// sqliteReader reads what lies in an SQLite file. It may be used by several
// goroutines.
type sqliteReader struct {
	prepare func(context.Context, string) (*sql.Stmt, error)
	known   sync.Map // text → *sql.Stmt
}

func (r *sqliteReader) stmt(text string) (*sql.Stmt, error) {
	if s, ok := r.known.Load(text); ok {
		return s.(*sql.Stmt), nil
	}
	s, err := r.prepare(context.Background(), text)
	if err != nil {
		return nil, explainSQLite(err)
	}
	if first, loaded := r.known.LoadOrStore(text, s); loaded {
		return first.(*sql.Stmt), s.Close()
	}
	return s, nil
}

// forget closes all that was prepared.
func (r *sqliteReader) forget() error {
	var errs []error
	for _, s := range r.known.Range {
		errs = append(errs, s.(*sql.Stmt).Close())
	}
	return errors.Join(errs...)
}

// one reads the first row of an answer and tells whether there is one.
func (r *sqliteReader) one(into []any, text string, args ...any) (bool, error) {
	stmt, err := r.stmt(text)
	if err != nil {
		return false, err
	}
	err = stmt.QueryRow(args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, explainSQLite(err)
}

// each calls row for each row of an answer.
func (r *sqliteReader) each(row func(scan func(...any) error) error, text string, args ...any) (err error) {
	stmt, err := r.stmt(text)
	if err != nil {
		return err
	}
	rows, err := stmt.Query(args...)
	if err != nil {
		return explainSQLite(err)
	}
	defer func() { err = explainSQLite(errors.Join(err, rows.Close())) }()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (r *sqliteReader) totals() (t totals, err error) {
	_, err = r.one([]any{&t.last, &t.records, &t.values, &t.valueBytes},
		"SELECT last, records, contents, bytes FROM totals")
	return t, err
}

func (r *sqliteReader) last() (q Seq, err error) {
	_, err = r.one([]any{&q}, "SELECT coalesce(max(seq), 0) FROM records")
	return q, err
}

// recordColumns are what a page reads.
const recordColumns = "SELECT seq, stream, type, seconds, nanos, data, refs, keys, sum FROM records "

// record adds one row to the page. The columns are SQLite's until the next.
func (p *page) record(scan func(...any) error) error {
	var (
		q   Seq
		c   columns
		raw [6]sql.RawBytes
	)
	if err := scan(&q, &raw[0], &raw[1], &c.seconds, &c.nanos, &raw[2], &raw[3], &raw[4], &raw[5]); err != nil {
		return err
	}
	c.stream, c.kind, c.data, c.refs, c.keys, c.sum = raw[0], raw[1], raw[2], raw[3], raw[4], raw[5]
	at := len(p.buf)
	p.buf = c.appendBody(p.buf, q)
	p.rows = append(p.rows, row{seq: q, body: p.buf[at:len(p.buf):len(p.buf)], mark: string(c.kind) == StreamDeleted})
	return nil
}

// errFull ends a reading early.
var errFull = errors.New("the page is full")

func (r *sqliteReader) page(p *page, where string, args ...any) error {
	err := r.each(func(scan func(...any) error) error {
		if p.full() {
			return errFull
		}
		return p.record(scan)
	}, recordColumns+where, args...)
	if errors.Is(err, errFull) {
		return nil
	}
	return err
}

func (r *sqliteReader) records(from, to Seq, p *page) error {
	err := r.page(p, "WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?", place(from), place(to), pageRows-len(p.rows))
	for i := range p.rows {
		p.rows[i].mark = false // only stream says it
	}
	return err
}

func (r *sqliteReader) stream(name string, from, to Seq, p *page) error {
	return r.page(p, "WHERE stream = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?",
		name, place(from), place(to), pageRows-len(p.rows))
}

func (r *sqliteReader) head(name string, to Seq) (row, error) {
	var p page
	err := r.page(&p, "WHERE stream = ? AND seq <= ? ORDER BY seq DESC LIMIT 1", name, place(to))
	if err != nil || len(p.rows) == 0 {
		return row{}, err
	}
	return row{seq: p.rows[0].seq, body: append([]byte{}, p.rows[0].body...)}, nil
}

// place is a Seq as SQLite has it.
func place(q Seq) int64 { return int64(min(q, 1<<63-1)) }

// The streams are found by leaping from name to name through the index. ?1 is
// the first that is wanted or what lies before it, ?2 the bound, ?3 the last
// record, ?4 whether the deleted are wanted, ?5 the limit.
const (
	streamsForward = `
WITH RECURSIVE names (name) AS (
	SELECT (SELECT min(stream) FROM records WHERE stream %s ?1)
	UNION ALL
	SELECT (SELECT min(stream) FROM records WHERE stream > name) FROM names
	WHERE name IS NOT NULL AND (?2 IS NULL OR name < ?2)
)` + streamsChosen + ` AND (?2 IS NULL OR name < ?2) LIMIT ?5`
	streamsReverse = `
WITH RECURSIVE names (name) AS (
	SELECT (SELECT max(stream) FROM records WHERE ?1 IS NULL OR stream < ?1)
	UNION ALL
	SELECT (SELECT max(stream) FROM records WHERE stream < name) FROM names
	WHERE name IS NOT NULL AND name >= ?2
)` + streamsChosen + ` AND name >= ?2 LIMIT ?5`
	streamsChosen = `
SELECT name FROM names WHERE name IS NOT NULL AND EXISTS
	(SELECT 1 FROM records WHERE stream = name AND seq <= ?3 AND (?4 OR type <> '` + StreamDeleted + `'))`
)

func (r *sqliteReader) streams(l listing) (out []string, err error) {
	text, args := l.inSQL()
	err = r.each(func(scan func(...any) error) error {
		var name string
		err := scan(&name)
		out = append(out, name)
		return err
	}, text, append(args, place(l.to), l.deleted, l.limit)...)
	return out, err
}

// inSQL returns the text of a listing and its first two arguments.
func (l listing) inSQL() (string, []any) {
	end := prefixEnd([]byte(l.prefix))
	var bound any
	if end != nil {
		bound = string(end)
	}
	switch {
	case l.reverse && l.after != "" && (end == nil || l.after < string(end)):
		return streamsReverse, []any{l.after, l.prefix}
	case l.reverse:
		return streamsReverse, []any{bound, l.prefix}
	case l.after >= l.prefix && l.after != "":
		return fmt.Sprintf(streamsForward, ">"), []any{l.after, bound}
	}
	return fmt.Sprintf(streamsForward, ">="), []any{l.prefix, bound}
}

func (r *sqliteReader) value(h Hash) ([]byte, error) {
	v := []byte{}
	ok, err := r.one([]any{&v}, "SELECT bytes FROM content WHERE hash = ?", h.String())
	if err == nil && !ok {
		err = ErrNotFound
	}
	return v, err
}

func (r *sqliteReader) hasValue(h Hash) (bool, error) {
	return r.one([]any{new(int)}, "SELECT 1 FROM content WHERE hash = ?", h.String())
}

func (r *sqliteReader) values(after Hash, limit int) (out []Hash, err error) {
	err = r.each(func(scan func(...any) error) error {
		var h Hash
		err := scanHash(scan, &h)
		out = append(out, h)
		return err
	}, "SELECT hash FROM content WHERE hash > ? ORDER BY hash LIMIT ?", after.String(), limit)
	return out, err
}

// scanHash reads a row that begins with a hash.
func scanHash(scan func(...any) error, h *Hash, rest ...any) (err error) {
	var text string
	if err := scan(append([]any{&text}, rest...)...); err != nil {
		return err
	}
	*h, err = ParseHash(text)
	return err
}

func (r *sqliteReader) hasUse(u use) (bool, error) {
	return r.one([]any{new(int)}, "SELECT 1 FROM uses WHERE hash = ? AND stream = ?", u.hash.String(), u.stream)
}

func (r *sqliteReader) users(h Hash, limit int) (out []string, err error) {
	err = r.each(func(scan func(...any) error) error {
		var name string
		err := scan(&name)
		out = append(out, name)
		return err
	}, "SELECT stream FROM uses WHERE hash = ? ORDER BY stream LIMIT ?", h.String(), limit)
	return out, err
}

func (r *sqliteReader) uses(after use, limit int) (out []use, err error) {
	err = r.each(func(scan func(...any) error) error {
		var u use
		err := scanHash(scan, &u.hash, &u.stream)
		out = append(out, u)
		return err
	}, "SELECT hash, stream FROM uses WHERE (hash, stream) > (?, ?) ORDER BY hash, stream LIMIT ?",
		after.hash.String(), after.stream, limit)
	return out, err
}

func (r *sqliteReader) claim(key string) (claim, bool, error) {
	c := claim{key: key}
	ok, err := r.one([]any{&c.stream, &c.seq}, "SELECT stream, seq FROM claims WHERE key = ?", key)
	return c, ok, err
}

func (r *sqliteReader) claims(after string, limit int) (out []claim, err error) {
	err = r.each(func(scan func(...any) error) error {
		var c claim
		err := scan(&c.key, &c.stream, &c.seq)
		out = append(out, c)
		return err
	}, "SELECT key, stream, seq FROM claims WHERE key > ? ORDER BY key LIMIT ?", after, limit)
	return out, err
}

func (r *sqliteReader) checkpoint(stream string) (Checkpoint, bool, error) {
	c := Checkpoint{Stream: stream}
	ok, err := r.one([]any{&c.At, &c.Data}, "SELECT seq, data FROM checkpoints WHERE stream = ?", stream)
	if !ok {
		return Checkpoint{}, false, err
	}
	return c, true, nil
}

func (r *sqliteReader) checkpoints(prefix, after string, limit int) (out []Checkpoint, err error) {
	var bound any
	if end := prefixEnd([]byte(prefix)); end != nil {
		bound = string(end)
	}
	err = r.each(func(scan func(...any) error) error {
		var c Checkpoint
		err := scan(&c.Stream, &c.At, &c.Data)
		out = append(out, c)
		return err
	}, `SELECT stream, seq, data FROM checkpoints
WHERE stream >= ?1 AND stream > ?2 AND (?3 IS NULL OR stream < ?3) ORDER BY stream LIMIT ?4`, prefix, after, bound, limit)
	return out, err
}

// check asks SQLite itself whether its file is sound.
func (r *sqliteReader) check(ctx context.Context) (problems []string, err error) {
	stmt, err := r.prepare(ctx, "PRAGMA integrity_check")
	if err != nil {
		return nil, explainSQLite(err)
	}
	defer func() { err = errors.Join(err, stmt.Close()) }()
	rows, err := stmt.QueryContext(ctx)
	if err != nil {
		return nil, explainSQLite(err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var said string
		if err := rows.Scan(&said); err != nil {
			return problems, explainSQLite(err)
		}
		if said != "ok" {
			problems = append(problems, said)
		}
	}
	return problems, explainSQLite(rows.Err())
}
