package cli

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"gleitzeit/cli/mcp"
	"gleitzeit/cli/server"
	"gleitzeit/protocols"
)

// workflowFolder are the workflows of a folder that are offered as tools. Each
// file is read again when it has changed.
type workflowFolder struct {
	s      *session
	dir    string
	logger *slog.Logger

	mu    sync.Mutex
	known map[string]*folderFile // by path
	told  string                 // the last trouble with the folder itself
}

// folderFile is a file as it was when it was read last.
type folderFile struct {
	changed  time.Time
	size     int64
	workflow *mcp.Workflow // nil: it is none that can be offered
}

func (s *session) offered(dir string, logger *slog.Logger) *workflowFolder {
	quiet, print := *s, *s.print
	print.quiet = true // what validate says about a file isn't said again with each call
	quiet.print = &print
	return &workflowFolder{s: &quiet, dir: dir, logger: logger, known: map[string]*folderFile{}}
}

// look returns the workflows that there are now, by their tools' names.
func (f *workflowFolder) look() []*mcp.Workflow {
	f.mu.Lock()
	defer f.mu.Unlock()
	entries, err := os.ReadDir(f.dir)
	f.tell(err)
	there := map[string]bool{}
	var all []*mcp.Workflow
	for _, e := range entries {
		path := filepath.Join(f.dir, e.Name())
		if !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) || e.Name() == configName {
			continue
		}
		file := f.file(path)
		if file == nil {
			continue
		}
		there[path] = true
		if w := file.workflow; w != nil && !slices.ContainsFunc(all, func(o *mcp.Workflow) bool { return o.Name == w.Name }) {
			all = append(all, w)
		}
	}
	for path := range f.known {
		if !there[path] {
			delete(f.known, path)
		}
	}
	return all
}

// tell logs trouble with the folder, once.
func (f *workflowFolder) tell(err error) {
	text := fmt.Sprint(err)
	if err != nil && text != f.told {
		f.logger.Warn("look for workflows", "folder", f.dir, "error", err)
	}
	f.told = text
}

// file returns a file as it is now, nil if it isn't there.
func (f *workflowFolder) file(path string) *folderFile {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	old := f.known[path]
	if old != nil && old.changed.Equal(info.ModTime()) && old.size == info.Size() {
		return old
	}
	file := &folderFile{changed: info.ModTime(), size: info.Size()}
	if file.workflow, err = f.read(path); err != nil {
		f.logger.Warn("not offered as a tool", "file", path, "error", err)
	}
	f.known[path] = file
	return file
}

// read makes a tool of a file. A file that isn't a workflow is an error.
func (f *workflowFolder) read(path string) (*mcp.Workflow, error) {
	file, err := readWorkflow(f.s.env, path)
	if err != nil {
		return nil, err
	}
	document, _ := protocols.Parse(file.name, file.data)
	w, problems := protocols.NewRegistry().Compile(document)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	inputs, secrets, err := openInputs(w)
	if err != nil {
		return nil, err
	}
	name := toolName(path)
	if strings.HasPrefix(name, "run_") {
		return nil, fmt.Errorf("tools whose names begin with run_ are about runs: give the file another name")
	}
	return &mcp.Workflow{Name: name, Title: w.Name, Description: w.Description, Inputs: inputs,
		Version: fmt.Sprintf("%x", sha256.Sum256(file.data)),
		Submission: func(values map[string]json.RawMessage) (*server.SubmitParams, error) {
			return f.submission(path, secrets, values)
		}}, nil
}

var notInToolNames = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// toolName is the name of a file's tool.
func toolName(path string) string {
	base := filepath.Base(path)
	name := notInToolNames.ReplaceAllString(strings.TrimSuffix(base, filepath.Ext(base)), "_")
	return name[:min(len(name), 64)]
}

// openInputs are the inputs that a model may give. A secret is none of them: it
// is named by a reference into this machine.
func openInputs(w *protocols.Workflow) (inputs []protocols.Input, secrets []string, err error) {
	for _, in := range w.Inputs {
		switch {
		case !in.Secret:
			inputs = append(inputs, in)
		case in.Required && in.Default == nil:
			return nil, nil, fmt.Errorf("the secret input %q needs a default: a model can't give it", in.Name)
		default:
			secrets = append(secrets, in.Name)
		}
	}
	return inputs, secrets, nil
}

// submission is that of a file as it is now, without values for its secrets.
func (f *workflowFolder) submission(path string, secrets []string, values map[string]json.RawMessage) (*server.SubmitParams, error) {
	for _, name := range secrets {
		if _, given := values[name]; given {
			return nil, protocols.Errorf(protocols.InvalidParams, "inputs: %q is a secret, which can't be given here", name)
		}
	}
	p, c, err := f.s.submission(path, wishes{values: values, priority: "normal"})
	if err != nil {
		return nil, err
	}
	if p.Secrets, err = f.s.secretsFor(c, p); err != nil {
		return nil, err
	}
	return p, nil
}
