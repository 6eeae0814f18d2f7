package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"gleitzeit/protocols"
)

// matches lists the files that a batch means, sorted, each as the batch's
// directory and the rest, with slashes. "**" in the pattern stands for any
// number of folders; names that begin with a dot are matched only by a
// pattern that does so, too.
func (f *workflowFile) matches(b *protocols.Batch) ([]string, protocols.Problems) {
	if _, err := path.Match(b.Pattern, ""); err != nil {
		return nil, protocols.Problems{f.problem(b.Pattern, fmt.Sprintf("pattern %q is malformed", b.Pattern), "")}
	}
	dir, folder, err := f.find(b.Directory)
	if err == nil && !folder {
		err = fmt.Errorf("directory %q is a file", b.Directory)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, protocols.Problems{f.problem(b.Directory, fmt.Sprintf("directory %q does not exist", b.Directory), f.lookedIn())}
	}
	if err != nil {
		return nil, protocols.Problems{f.problem(b.Directory, err.Error(), "")}
	}
	found, err := glob(f.below(dir), ".", strings.Split(path.Clean(filepath.ToSlash(b.Pattern)), "/"))
	if err != nil {
		return nil, protocols.Problems{f.problem(b.Directory, err.Error(), "")}
	}
	slices.Sort(found)
	found = slices.Compact(found)
	named := b.Directory
	if f.sent == nil && dir != f.beside(b.Directory) {
		named = dir // a task runs in the workflow's folder, where the name means nothing
	}
	for i, name := range found {
		found[i] = path.Join(filepath.ToSlash(named), name)
	}
	return found, nil
}

// beside is where a name is that is relative to the workflow's folder.
func (f *workflowFile) beside(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(f.dir, filepath.FromSlash(name))
}

// glob lists the files below dir that the parts of a pattern match.
func glob(fsys fs.FS, dir string, parts []string) ([]string, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, err
	}
	var found []string
	part, rest := parts[0], parts[1:]
	if part == "**" && len(rest) > 0 { // no folder at all
		if found, err = glob(fsys, dir, rest); err != nil {
			return nil, err
		}
	}
	for _, entry := range entries {
		name := path.Join(dir, entry.Name())
		isDir, isFile := kindOf(fsys, name, entry)
		var more []string
		switch matched := matchName(part, entry.Name()); {
		case !matched:
		case part == "**" && isDir:
			more, err = glob(fsys, name, parts)
		case len(rest) > 0 && isDir:
			more, err = glob(fsys, name, rest)
		case len(rest) == 0 && isFile:
			more = []string{name}
		}
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

// kindOf looks through links to files, but not into linked folders: those may
// go round in circles.
func kindOf(fsys fs.FS, name string, entry fs.DirEntry) (isDir, isFile bool) {
	if entry.Type()&fs.ModeSymlink == 0 {
		return entry.IsDir(), entry.Type().IsRegular()
	}
	info, err := fs.Stat(fsys, name)
	return false, err == nil && info.Mode().IsRegular()
}

func matchName(part, name string) bool {
	if strings.HasPrefix(name, ".") && !strings.HasPrefix(part, ".") {
		return false
	}
	if part == "**" {
		return true
	}
	matched, _ := path.Match(part, name) // the pattern was checked before
	return matched
}
