package eventlog

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// Format is the version of the layout that this program writes. It only moves
// up, and a store of a higher format is refused. A store of Pebble is still of
// format 1: programs that know no other engine can go on with it.
const Format = 2

// marker is what the file STORE says. It is a text file and is read before
// anything else in the folder is touched, so that a store of a later version is
// left alone, and so that no other database is taken for one.
type marker struct {
	format int
	id     string
	writer string // who made the store
	engine Engine // format 1 doesn't say it
	folder string // id of the folder, where the store lies elsewhere
}

const markerTitle = "gleitzeit store"

func (m marker) String() string {
	text := fmt.Sprintf("%s\nformat %d\nid %s\nwriter %s\n", markerTitle, m.format, m.id, m.writer)
	if m.format > 1 {
		text += fmt.Sprintf("engine %s\n", m.engine)
	}
	if m.folder != "" {
		text += fmt.Sprintf("folder %s\n", m.folder)
	}
	return text
}

// The names of the marker: in the making, and made.
const (
	markerNew  = "STORE.new"
	markerFile = "STORE"
)

func newMarker(o Options, e Engine) marker {
	writer, id := o.Writer, o.id
	if writer == "" {
		writer = thisProgram()
	}
	if id == "" {
		id = newID()
	}
	m := marker{format: Format, id: id, writer: strings.Join(strings.Fields(writer), " "), engine: e}
	if e == Pebble {
		m.format = 1
	}
	return m
}

// readMarker reads the folder's marker and tells whether there is one.
func readMarker(f *folder) (m marker, found bool, err error) {
	text, err := readFile(f.fs, f.path(markerFile))
	if errors.Is(err, os.ErrNotExist) {
		return m, false, nil
	}
	if err != nil {
		return m, false, fmt.Errorf("read the file STORE: %w", err)
	}
	if m, err = parseMarker(text); err != nil {
		return m, false, fmt.Errorf("the file STORE is damaged: %w", err)
	}
	if m.format > Format {
		return m, false, fmt.Errorf("it was written by %s in format %d; this program reads formats up to %d: use a newer version",
			m.writer, m.format, Format)
	}
	return m, true, nil
}

// beginMarker says in the folder, durably, that a store is being made here. It
// clears away what an unfinished making left; any other database in the folder
// is an error. Files that aren't an engine's are left alone.
func beginMarker(f *folder, m marker) error {
	names, err := f.fs.List(f.dir)
	if err != nil {
		return err
	}
	unfinished := slices.Contains(names, markerNew)
	for _, name := range names {
		if !isPebbles(name) && (name != sqliteFile || m.engine == SQLite) {
			continue
		}
		if !unfinished {
			return fmt.Errorf("the folder holds %s, but no file STORE: it is a database, but no store", name)
		}
		if err := f.fs.Remove(f.path(name)); err != nil {
			return fmt.Errorf("clear away an unfinished store: %w", err)
		}
	}
	if err := writeFile(f.fs, f.path(markerNew), m.String(), true); err != nil {
		return fmt.Errorf("write the file STORE: %w", err)
	}
	if err := syncFolder(f.dir, f.fs); err != nil {
		return fmt.Errorf("write the file STORE: %w", err)
	}
	return nil
}

// isPebbles tells whether a file of this name belongs to a Pebble database, but
// for LOCK, which is there before.
func isPebbles(name string) bool {
	for _, prefix := range []string{"MANIFEST-", "OPTIONS-", "marker.", "temporary.", "CURRENT"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	for _, suffix := range []string{".log", ".sst", ".blob", ".dbtmp"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// finishMarker makes all that is in the folder durable, and then a store.
func finishMarker(f *folder) error {
	err := syncFolder(f.dir, f.fs)
	if err == nil {
		err = f.fs.Rename(f.path(markerNew), f.path(markerFile))
	}
	if err == nil {
		err = syncFolder(f.dir, f.fs)
	}
	if err != nil {
		return fmt.Errorf("write the file STORE: %w", err)
	}
	return nil
}

// parseMarker reads a marker of any format: a later one may have more lines.
func parseMarker(text string) (m marker, err error) {
	lines := strings.Split(text, "\n")
	if lines[0] != markerTitle {
		return m, fmt.Errorf("its first line is %.40q, not %q", lines[0], markerTitle)
	}
	for _, line := range lines[1:] {
		name, val, _ := strings.Cut(line, " ")
		switch name {
		case "format":
			if m.format, err = strconv.Atoi(val); err != nil || m.format < 1 {
				return m, fmt.Errorf("%q is no format", val)
			}
		case "id":
			m.id = val
		case "writer":
			m.writer = val
		case "engine":
			m.engine = Engine(val)
		case "folder":
			m.folder = val
		}
	}
	if m.engine == "" {
		m.engine = Pebble
	}
	if m.format == 0 || m.id == "" {
		return m, errors.New("it lacks the format or the id")
	}
	return m, nil
}

// explain adds to an error of pebble.Open what the marker knows.
func (m marker) explain(err error) error {
	var proven *walDamage
	if errors.As(err, &proven) {
		err = proven // Pebble has nothing to add
	}
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("it is damaged (it was made by %s): %w", m.writer, err)
	}
	return err
}

// thisProgram returns the main module and its version.
func thisProgram() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Path == "" {
		return "an unknown program"
	}
	return strings.TrimSpace(info.Main.Path + " " + info.Main.Version)
}
