package eventlog

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Format is the version of the layout that this program writes. It only moves
// up, and a store of a higher format is refused.
const Format = 1

// marker is what the file STORE says. It is a text file and is read before
// anything else in the folder is touched, so that a store of a later version is
// left alone, and so that nothing that isn't a store is taken for one.
type marker struct {
	format int
	id     string
	writer string // who made the store
}

const markerTitle = "gleitzeit store"

func (m marker) String() string {
	return fmt.Sprintf("%s\nformat %d\nid %s\nwriter %s\n", markerTitle, m.format, m.id, m.writer)
}

// readOrMakeMarker reads dir's marker; in an empty folder it makes one.
func readOrMakeMarker(dir string, fs vfs.FS, writer string) (marker, error) {
	path := fs.PathJoin(dir, "STORE")
	text, err := readFile(fs, path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return makeMarker(dir, path, fs, writer)
	case err != nil:
		return marker{}, fmt.Errorf("read the file STORE: %w", err)
	}
	m, err := parseMarker(text)
	if err != nil {
		return m, fmt.Errorf("the file STORE is damaged: %w", err)
	}
	if m.format > Format {
		return m, fmt.Errorf("it was written by %s in format %d; this program reads formats up to %d: use a newer version",
			m.writer, m.format, Format)
	}
	return m, nil
}

func makeMarker(dir, path string, fs vfs.FS, writer string) (m marker, err error) {
	names, err := fs.List(dir)
	if err != nil {
		return m, err
	}
	for _, name := range names {
		if name != "LOCK" && name != "PID" && name != "STORE.new" {
			return m, fmt.Errorf("the folder holds %s, but no file STORE: it is no store", name)
		}
	}
	m = marker{format: Format, id: newID(), writer: writer}
	if m.writer == "" {
		m.writer = thisProgram()
	}
	m.writer = strings.Join(strings.Fields(m.writer), " ")
	if err := writeFile(fs, path+".new", m.String(), true); err != nil {
		return m, fmt.Errorf("write the file STORE: %w", err)
	}
	if err := fs.Rename(path+".new", path); err != nil {
		return m, fmt.Errorf("write the file STORE: %w", err)
	}
	if err := syncFolder(dir, fs); err != nil {
		return m, fmt.Errorf("write the file STORE: %w", err)
	}
	return m, nil
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
		}
	}
	if m.format == 0 || m.id == "" {
		return m, errors.New("it lacks the format or the id")
	}
	return m, nil
}

// explain adds to an error of pebble.Open what the marker knows.
func (m marker) explain(err error) error {
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
