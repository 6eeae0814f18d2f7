package eventlog

import (
	"bufio"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// This file looks at the write-ahead log of SQLite's that a killed process left,
// before SQLite itself goes on with it. To SQLite the log ends at the first frame
// that isn't sound; it would copy what stands before into its file and remove the
// rest. Nothing in the log tells a damaged frame from one that was cut short, so
// only ACKED does: if acknowledged records are missing, the database is left as
// it is.

// checkSQLiteLog returns an error if what the file and its log have together
// lacks records that were acknowledged. It changes neither.
func checkSQLiteLog(path string, a acked) error {
	if info, err := os.Stat(path + "-wal"); err != nil || info.Size() == 0 {
		return nil // there is none, as after a Close
	}
	last, err := lastSQLite(path)
	if err != nil {
		return nil // whoever opens it to write is told
	}
	return sqliteDamage(path, a.missing(last))
}

// sqliteDamage says why a database is damaged, if anything is missing, and where
// its log ends.
func sqliteDamage(path, missing string) error {
	if missing == "" {
		return nil
	}
	log := path + "-wal"
	at, err := sqliteLogEnd(log)
	if err != nil { // there is none
		return fmt.Errorf("database %s: it is damaged: %s", path, missing)
	}
	return fmt.Errorf("database %s: it is damaged: %w", path, &walDamage{file: filepath.Base(log), at: at, proof: missing})
}

// lastSQLite returns the last record as one who only reads finds it. Only a
// connection that can write cleans up behind a process that was killed.
func lastSQLite(path string) (last Seq, err error) {
	db, err := sql.Open("sqlite", sqliteAddress(path, "ro", "query_only(1)"))
	if err != nil {
		return 0, err
	}
	last, err = lastIn(db)
	return last, errors.Join(err, db.Close())
}

func lastIn(db *sql.DB) (Seq, error) {
	var n int64
	err := db.QueryRowContext(context.Background(), "SELECT last FROM totals").Scan(&n)
	var e *sqlite.Error
	if errors.Is(err, sql.ErrNoRows) || errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_ERROR {
		err = nil // nothing was ever appended, or not even the table is there
	}
	return Seq(n), err
}

// keepsLog makes connections that leave the write-ahead log where it is. One that
// has the file for itself would remove it at the end if no frame of it is sound.
type keepsLog struct{ driver.Connector }

func (k keepsLog) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := k.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.(sqlite.FileControl).FileControlPersistWAL("main", 1); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// The format of the log, all numbers with the highest byte first:
//
//	header  magic 4, version 4, page size 4, count 4, salts 8, sums 8
//	frames  page number 4, size of the file after a commit 4, salts 8, sums 8, page
//
// The sums go on from frame to frame. They are over the first 24 bytes of the
// header, then over the first 8 of each frame and its page, as numbers in the
// byte order that the magic says.
const (
	sqliteLogHeader = 32
	sqliteLogFrame  = 24
	sqliteLogMagic  = 0x377f0682 // plus 1: the highest byte first
)

// sqliteLogEnd returns where the first frame lies that isn't sound.
func sqliteLogEnd(name string) (at int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	head := make([]byte, sqliteLogHeader)
	if _, err := io.ReadFull(in, head); err != nil {
		return 0, nil
	}
	var sums sqliteSums
	magic, page := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[8:])
	if magic&^1 != sqliteLogMagic || page < 512 || page > 64<<10 {
		return 0, nil
	}
	sums.order = binary.LittleEndian
	if magic&1 != 0 {
		sums.order = binary.BigEndian
	}
	if sums.add(head[:24]); !sums.are(head[24:]) {
		return 0, nil
	}
	frame := make([]byte, sqliteLogFrame+int(page))
	for at = sqliteLogHeader; ; at += int64(len(frame)) {
		if _, err := io.ReadFull(in, frame); err != nil {
			return at, nil
		}
		sums.add(frame[:8])
		sums.add(frame[sqliteLogFrame:])
		if string(frame[8:16]) != string(head[16:24]) || !sums.are(frame[16:]) {
			return at, nil
		}
	}
}

// sqliteSums are the two checksums of a log, up to some place.
type sqliteSums struct {
	order binary.ByteOrder
	a, b  uint32
}

func (s *sqliteSums) add(text []byte) {
	for ; len(text) >= 8; text = text[8:] {
		s.a += s.order.Uint32(text) + s.b
		s.b += s.order.Uint32(text[4:]) + s.a
	}
}

// are tells whether these are the sums as they stand in the log.
func (s *sqliteSums) are(text []byte) bool {
	return binary.BigEndian.Uint32(text) == s.a && binary.BigEndian.Uint32(text[4:]) == s.b
}
