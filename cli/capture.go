package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"unicode/utf8"

	"gleitzeit/protocols"
)

// Limits of the files that go with a run.
const (
	maxFile  = 64 << 20
	maxFiles = 1 << 30
)

// workflowFile is a workflow file as it was read, and the folders that its
// relative paths start from.
type workflowFile struct {
	name string // as given
	data []byte
	dir  string // absolute; of one that was sent, from the folder of the first
	cwd  string
	// sent are all the files that there are, if the workflow came over the
	// network; nil is those of this machine.
	sent sentFiles
	// sends collects the files as they are found, to be sent to a server, and
	// rel is the folder of this one as seen from the first; nil is not to.
	sends sentFiles
	rel   string
}

// readWorkflow reads a workflow file; "-" is standard input.
func readWorkflow(env *environment, name string) (*workflowFile, error) {
	const most = 17 << 20 // Parse says what is wrong with more than 16 MiB
	f := &workflowFile{name: name, dir: env.cwd, cwd: env.cwd}
	var err error
	if name == "-" {
		f.name = "stdin"
		f.data, err = io.ReadAll(io.LimitReader(env.stdin, most))
	} else {
		path := env.expand(name, env.cwd)
		f.dir = filepath.Dir(path)
		f.data, err = readLimited(path, most)
	}
	if err != nil && !errors.Is(err, errTooBig) {
		return nil, usage(err)
	}
	return f, nil
}

// errTooBig is what readLimited returns besides the file's beginning.
var errTooBig = errors.New("too big")

// readLimited reads an ordinary file of at most most bytes.
func readLimited(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not an ordinary file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return data[:most], errTooBig
	}
	return data, nil
}

// find returns where the file or folder of that name is: a relative one below the workflow's
// folder, else below the working folder.
func (f *workflowFile) find(name string) (path string, folder bool, err error) {
	if f.sent != nil {
		return f.sent.find(f.dir, name)
	}
	places := []string{name}
	if !filepath.IsAbs(name) {
		places = []string{filepath.Join(f.dir, filepath.FromSlash(name)), filepath.Join(f.cwd, filepath.FromSlash(name))}
	}
	for _, path := range places {
		info, err := os.Stat(path)
		if err == nil {
			return path, info.IsDir(), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return path, false, err
		}
	}
	return "", false, fs.ErrNotExist
}

// read reads a file that find has found.
func (f *workflowFile) read(path string) ([]byte, error) {
	if f.sent != nil {
		return f.sent[path], nil
	}
	return readLimited(path, maxFile)
}

// below returns the files below a folder that find has found.
func (f *workflowFile) below(dir string) fs.FS {
	if f.sent != nil {
		return f.sent.below(dir)
	}
	return os.DirFS(dir)
}

// capture reads the files that tasks name, each as a problem if it can't.
func (f *workflowFile) capture(names []string) (map[string][]byte, protocols.Problems) {
	var ps protocols.Problems
	files := map[string][]byte{}
	total := 0
	for _, name := range names {
		path, _, err := f.find(name)
		var data []byte
		if err == nil {
			data, err = f.read(path)
		}
		total += len(data)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			ps = append(ps, f.problem(name, fmt.Sprintf("file %q does not exist", name), f.lookedIn()))
		case errors.Is(err, errTooBig):
			ps = append(ps, f.problem(name, fmt.Sprintf("file %q is larger than 64 MiB", name), ""))
		case err != nil:
			ps = append(ps, f.problem(name, err.Error(), ""))
		case total > maxFiles:
			return nil, append(ps, f.problem(name, "the files of the workflow are larger than 1 GiB together", ""))
		}
		files[name] = data
		f.send(name, data)
	}
	return files, ps
}

// home is the folder in which tasks run, "" if there is none on this machine.
func (f *workflowFile) home() string {
	if f.sent != nil {
		return ""
	}
	return f.dir
}

// send collects a file that the workflow names.
func (f *workflowFile) send(name string, data []byte) {
	if f.sends != nil && data != nil {
		f.sends[sentKey(f.rel, name)] = data
	}
}

// child reads the file of a child workflow, which find has found.
func (f *workflowFile) child(env *environment, name, place string) (*workflowFile, error) {
	if f.sent == nil {
		child, err := readWorkflow(env, place)
		if err == nil && f.sends != nil {
			f.send(name, child.data)
			child.sends, child.rel = f.sends, path.Dir(sentKey(f.rel, name))
		}
		return child, err
	}
	return &workflowFile{name: place, data: f.sent[place], dir: path.Dir(place), sent: f.sent}, nil
}

func (f *workflowFile) lookedIn() string {
	if f.sent != nil {
		return "send it along: files"
	}
	if f.dir == f.cwd {
		return "looked in " + f.dir
	}
	return "looked in " + f.dir + " and " + f.cwd
}

// problem makes one about a text that stands in the file, at its place there.
func (f *workflowFile) problem(text, what, hint string) protocols.Problem {
	p := protocols.Problem{File: f.name, Text: what, Hint: hint}
	if i := bytes.Index(f.data, []byte(text)); text != "" && i >= 0 {
		start := bytes.LastIndexByte(f.data[:i], '\n') + 1
		p.Line = 1 + bytes.Count(f.data[:i], []byte("\n"))
		p.Col = 1 + utf8.RuneCount(f.data[start:i])
	}
	return p
}
