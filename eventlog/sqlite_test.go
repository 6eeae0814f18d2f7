package eventlog

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// outside opens the file of a store as another program would.
func outside(t *testing.T, path string) *sql.DB {
	db, err := sql.Open("sqlite", sqliteAddress(path, "rw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// TestSQLiteIsDurable: nothing else would notice if a commit stopped waiting
// for the disk.
func TestSQLiteIsDurable(t *testing.T) {
	l := openSQLiteIn(t, t.TempDir())
	conn := l.store.(*sqliteStore).writer.conn
	expect := func(pragma, want string) {
		t.Helper()
		var got string
		if err := conn.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, want %s: %v", pragma, got, want, err)
		}
	}
	add(t, l, rec("a", "1"))
	if err := l.SaveCheckpoints([]Checkpoint{{"a", 1, nil}}, nil); err != nil {
		t.Fatal(err)
	}
	expect("synchronous", "2")
	expect("journal_mode", "wal")
}

// TestSQLiteEachColumnCounts changes each column of each row, and takes each
// row away: Verify must tell, and name the place.
func TestSQLiteEachColumnCounts(t *testing.T) {
	l := openSQLiteIn(t, t.TempDir())
	full(t, l)
	db := outside(t, l.store.(*sqliteStore).path)
	tested := 0
	for table, name := range map[string]string{
		"records": "'record ' || seq", "content": "hash", "uses": "hash", "claims": "key", "totals": "'totals'",
	} {
		for _, r := range sqliteRows(t, db, table, name) {
			for column, old := range r.values {
				if table == "totals" && column == "one" {
					continue // there is but one
				}
				r.set(t, db, table, column, otherThan(old))
				r.blamed(t, l, table+"."+column)
				r.set(t, db, table, column, old)
				tested++
			}
			r.remove(t, db, table)
			r.blamed(t, l, table)
			r.restore(t, db, table)
			sound(t, l)
		}
	}
	// 9 records of 9 columns, 2 values of 2, 2 uses of 2, 2 keys of 3, the totals of 4
	if tested != 81+4+4+6+4 {
		t.Errorf("%d columns", tested)
	}
}

// sqliteRow is a row of any table.
type sqliteRow struct {
	name   string // how Verify names it
	values map[string]any
}

func sqliteRows(t *testing.T, db *sql.DB, table, name string) (out []*sqliteRow) {
	rows, err := db.Query("SELECT " + name + ", * FROM " + table)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		into := make([]any, len(columns))
		for i := range into {
			into[i] = new(any)
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		r := &sqliteRow{name: fmt.Sprint(*into[0].(*any)), values: map[string]any{}}
		for i, c := range columns[1:] {
			r.values[c] = *into[i+1].(*any)
		}
		out = append(out, r)
	}
	return out
}

// where finds the row when one column may be other than it was.
func (r *sqliteRow) where(but string) (string, []any) {
	var text []string
	var args []any
	for c, v := range r.values {
		if c != but {
			text, args = append(text, c+" IS ?"), append(args, v)
		}
	}
	return strings.Join(text, " AND "), args
}

func mustExec(t *testing.T, db *sql.DB, text string, args ...any) {
	t.Helper()
	done, err := db.Exec(text, args...)
	if err != nil {
		t.Fatal(text, err)
	}
	if n, _ := done.RowsAffected(); n != 1 {
		t.Fatalf("%s: %d rows", text, n)
	}
}

func (r *sqliteRow) set(t *testing.T, db *sql.DB, table, column string, v any) {
	t.Helper()
	where, args := r.where(column)
	mustExec(t, db, "UPDATE "+table+" SET "+column+" = ? WHERE "+where, append([]any{v}, args...)...)
}

func (r *sqliteRow) remove(t *testing.T, db *sql.DB, table string) {
	where, args := r.where("")
	mustExec(t, db, "DELETE FROM "+table+" WHERE "+where, args...)
}

func (r *sqliteRow) restore(t *testing.T, db *sql.DB, table string) {
	var names, marks []string
	var args []any
	for c, v := range r.values {
		names, marks, args = append(names, c), append(marks, "?"), append(args, v)
	}
	mustExec(t, db, fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", table, strings.Join(names, ","), strings.Join(marks, ",")), args...)
}

func (r *sqliteRow) blamed(t *testing.T, l *Log, what string) {
	t.Helper()
	_, _ = state(l)
	for range l.Streams("", true, "") {
	}
	report, err := l.Verify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if said := strings.Join(report.Problems, "\n"); !strings.Contains(said, r.name) {
		t.Errorf("%s: want %s to be named in:\n%s", what, r.name, said)
	}
}

// otherThan returns something else of a type that the column takes.
func otherThan(v any) any {
	switch v := v.(type) {
	case int64:
		return v + 1000
	case string:
		return strings.Repeat("0", len(v)-1) + "1"
	case []byte:
		return append(bytes.Clone(v[:len(v)-1]), v[len(v)-1]^1)
	case nil:
		return make([]byte, len(Hash{}))
	}
	panic(fmt.Sprintf("a %T", v))
}

// TestSQLiteDamagedFile flips bytes all over the file. Either somebody tells or
// what is read is right all the same.
func TestSQLiteDamagedFile(t *testing.T) {
	dir := t.TempDir()
	l := openSQLiteIn(t, dir)
	full(t, l)
	want, err := state(l)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, sqliteFile)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	told, harmless := 0, 0
	for at := 0; at < len(good); at += 307 {
		bad := bytes.Clone(good)
		bad[at] ^= 0x10
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readDamagedSQLite(dir)
		switch {
		case err != nil:
			told++
		case got == want:
			harmless++
		default:
			t.Errorf("byte %d: nobody tells, and the log reads\n%s", at, got)
		}
	}
	t.Logf("%d flips were told, %d did no harm", told, harmless)
	if told < 10 {
		t.Error("that is too few")
	}
}

func readDamagedSQLite(dir string) (string, error) {
	l, err := Open(dir, Options{})
	if err != nil {
		return "", err
	}
	defer l.Close()
	r, err := l.Verify(context.Background())
	if err != nil {
		return "", err
	}
	if len(r.Problems) > 0 {
		return "", errors.New(strings.Join(r.Problems, "\n"))
	}
	return state(l)
}

// TestSQLitePowerCut leaves of the write-ahead log what a power cut may leave:
// everything up to a commit, and any part of what was written after it.
func TestSQLitePowerCut(t *testing.T) {
	states := lifeStates(t)
	dir := t.TempDir()
	l := openSQLiteIn(t, dir)
	file := filepath.Join(dir, sqliteFile)
	cuts, before := 0, walSize(t, file)
	for done, step := range life() {
		if err := step(l); err != nil {
			t.Fatal(err)
		}
		after := walSize(t, file)
		for part := range 4 {
			keep := before + (after-before)*int64(part)/3
			if after <= before {
				break // it began anew
			}
			left := t.TempDir()
			copyStore(t, dir, left)
			if err := os.Truncate(filepath.Join(left, sqliteFile+"-wal"), keep); err != nil {
				t.Fatal(err)
			}
			got, err := readDamagedSQLite(left)
			if err != nil {
				t.Fatalf("after step %d, %d of %d bytes kept: %v", done, keep, after, err)
			}
			if got != states[done] && got != states[done+1] || part == 3 && got != states[done+1] {
				t.Errorf("after step %d, %d of %d bytes kept, the log has\n%s", done, keep, after, got)
			}
			cuts++
		}
		before = after
	}
	if cuts < 20 {
		t.Errorf("only %d cuts", cuts)
	}
}

func walSize(t *testing.T, file string) int64 {
	info, err := os.Stat(file + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func copyStore(t *testing.T, from, to string) {
	for _, name := range []string{"STORE", sqliteFile, sqliteFile + "-wal"} {
		text, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEngineOfAStore: a store is opened with its own engine or not at all.
func TestEngineOfAStore(t *testing.T) {
	dir := t.TempDir()
	refused := func(want string, o Options) {
		t.Helper()
		l, err := Open(dir, o)
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want …%s…", err, want)
		}
	}
	opens := func(o Options) *Log {
		t.Helper()
		l, err := Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := opens(Options{Engine: SQLite})
	add(t, l, rec("a", "1"))
	id := l.ID()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	refused("it is a store of sqlite, not of pebble", Options{Engine: Pebble})
	refused(`no engine "oracle"`, Options{Engine: "oracle"})
	if l = opens(Options{}); l.Last() != 1 {
		t.Errorf("it has %d records", l.Last())
	}
	l.Close()

	// Without the folder's marker the file is a store all the same, and never
	// becomes the neighbour of a new one.
	if err := os.Remove(filepath.Join(dir, markerFile)); err != nil {
		t.Fatal(err)
	}
	refused("holds log.db, but no file STORE", Options{Engine: Pebble})
	if l = opens(Options{}); l.Last() != 1 || l.ID() != id {
		t.Errorf("it has %d records, id %s", l.Last(), l.ID())
	}
	l.Close()

	// Without the file there is no store, whatever the marker says.
	file := filepath.Join(dir, sqliteFile)
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	refused("no such file", Options{})
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("no store", Options{})

	// That of another store is refused.
	other := t.TempDir()
	if err := openSQLiteIn(t, other).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(other, sqliteFile), file); err != nil {
		t.Fatal(err)
	}
	refused("but the folder to store "+id, Options{})
}

// TestSQLiteElsewhere: the file may lie outside of the folder; it serves one
// folder at a time and finds its way into another.
func TestSQLiteElsewhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "with space & 100%?#", "my.db")
	one, two := t.TempDir(), t.TempDir()
	l, err := Open(one, Options{Engine: SQLite, SQLitePath: path})
	if err != nil {
		t.Fatal(err)
	}
	add(t, l, rec("a", "1"))
	if _, err := Open(two, Options{Engine: SQLite, SQLitePath: path}); err == nil || !strings.Contains(err.Error(), "in use by a store in another folder") {
		t.Errorf("a second folder gets %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(two, Options{Engine: SQLite, SQLitePath: path})
	if err != nil {
		t.Fatal(err)
	}
	closeAtEnd(t, again)
	if again.Last() != 1 || again.ID() != l.ID() {
		t.Errorf("it has %d records, id %s", again.Last(), again.ID())
	}

	foreign := filepath.Join(t.TempDir(), "shop.db")
	db, err := sql.Open("sqlite", foreign)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE orders (id)"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.TempDir(), Options{Engine: SQLite, SQLitePath: foreign}); err == nil || !strings.Contains(err.Error(), "it is a database, but no store") {
		t.Errorf("another program's database: %v", err)
	}
}

// TestSQLiteViews: another program reads while the log is written, through
// views that are renewed when they change.
func TestSQLiteViews(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"SELECT seq, type FROM records", "SELECT type FROM records"} {
		l, err := Open(dir, Options{Engine: SQLite, Views: map[string]string{"facts": text}})
		if err != nil {
			t.Fatal(err)
		}
		add(t, l, rec("a", "1"))
		var kind string
		if err := outside(t, filepath.Join(dir, sqliteFile)).QueryRow("SELECT type FROM facts").Scan(&kind); err != nil || kind != "test.1" {
			t.Errorf("the view says %q, %v", kind, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var text string
	if err := outside(t, filepath.Join(dir, sqliteFile)).QueryRow("SELECT sql FROM sqlite_schema WHERE type = 'view'").Scan(&text); err != nil ||
		text != "CREATE VIEW facts AS SELECT type FROM records" {
		t.Errorf("the view is %q, %v", text, err)
	}
}
