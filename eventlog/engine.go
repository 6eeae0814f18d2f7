package eventlog

import (
	"fmt"
	"slices"
)

// Engine is what keeps the bytes of a store.
type Engine string

// The engines that outlive a process.
const (
	Pebble Engine = "pebble" // many small files in the store's folder
	SQLite Engine = "sqlite" // one file, which other programs can read
	Redis  Engine = "redis"  // a Redis; the folder has only the lock
)

// Memory is the engine of a log in memory, of which nothing is left.
const Memory Engine = "memory"

// engines are all there are. Only the first lies in stores of format 1.
var engines = []Engine{Pebble, SQLite, Redis}

// engine says with which engine the folder is to be opened: the one that made
// the store, or the one that was asked for when there is no store yet.
func (f *folder) engine(m marker, found bool, asked Engine) (Engine, error) {
	if asked != "" && !slices.Contains(engines, asked) {
		return "", fmt.Errorf("there is no engine %q", asked)
	}
	switch {
	case !found && asked == "":
		if _, err := f.fs.Stat(f.path(sqliteFile)); err == nil {
			return SQLite, nil // its file is all that it needs
		}
		return Pebble, nil
	case !found:
		return asked, nil
	case !slices.Contains(engines, m.engine):
		return "", fmt.Errorf("it was made by %s with the engine %q, which this program doesn't have: use a newer version", m.writer, m.engine)
	case asked != "" && asked != m.engine:
		return "", fmt.Errorf("it is a store of %s, not of %s: choose that backend, or another folder", m.engine, asked)
	}
	return m.engine, nil
}
