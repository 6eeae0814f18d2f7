package cli

import (
	"encoding/json"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing/fstest"

	"gleitzeit/cli/server"
	"gleitzeit/protocols"
)

// This file compiles workflows that came as text over the network. Nothing of
// this machine gets into them but its configuration: the files that they name
// must have been sent with them, and the secrets must be the configuration's.

// sentFiles are files by the names under which they were sent. A relative name
// starts at the workflow's folder; what it means is found by the text alone.
type sentFiles map[string][]byte

// key is under which name a file is sent that a document in the folder dir
// names so.
func sentKey(dir, name string) string {
	name = filepath.ToSlash(name)
	if path.IsAbs(name) || filepath.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(dir, name)
}

// find returns the key of a file or folder.
func (s sentFiles) find(dir, name string) (key string, folder bool, err error) {
	key = sentKey(dir, name)
	if _, found := s[key]; found {
		return key, false, nil
	}
	for other := range s {
		if key == "." || strings.HasPrefix(other, key+"/") {
			return key, true, nil
		}
	}
	return "", false, fs.ErrNotExist
}

// below returns the files below a folder.
func (s sentFiles) below(dir string) fs.FS {
	all := fstest.MapFS{}
	for name, data := range s {
		if rest, ok := strings.CutPrefix(path.Join("/", name), path.Join("/", dir)+"/"); ok || dir == "." {
			all[strings.TrimPrefix(rest, "/")] = &fstest.MapFile{Data: data}
		}
	}
	return all
}

// compiler compiles what was sent, for a server with the configuration c.
func (s *session) compiler(c *config) func(*server.SubmitParams) error {
	known := sync.OnceValue(func() *protocols.Registry {
		r := protocols.NewRegistry()
		c.admit(r)
		return r
	})
	return func(p *server.SubmitParams) error {
		sent := sentFiles{}
		for name, data := range p.Files {
			sent[sentKey(".", name)] = data
		}
		f := &workflowFile{name: firstOf(p.Source, "workflow"), data: []byte(p.Workflow), dir: ".", sent: sent}
		registry := known()
		document, _ := protocols.Parse(f.name, f.data)
		w, problems := registry.Compile(document)
		if len(problems.Errors()) > 0 {
			return refused(problems)
		}
		made, w, problems := s.prepare(f, c, registry, w)
		if len(problems.Errors()) > 0 {
			return refused(problems)
		}
		given, failure := spelled(w, p)
		if failure != nil {
			return failure
		}
		inputs, failure := w.CheckInputs(given)
		if failure != nil {
			return failure
		}
		made.Inputs, made.Env, made.Roots = inputs, chosen(p.Env, w.EnvRefs), c.Roots
		made.Source, made.Priority, made.Queue, made.ID, made.Key, made.By = p.Source, p.Priority, p.Queue, p.ID, p.Key, p.By
		made.Traceparent = p.Traceparent
		if err := s.openAllowed(c, made); err != nil {
			return err
		}
		*p = *made
		return nil
	}
}

// spelled are the inputs, those given as text read by their types.
func spelled(w *protocols.Workflow, p *server.SubmitParams) (map[string]json.RawMessage, *protocols.Error) {
	given := maps.Clone(p.Inputs)
	if given == nil {
		given = map[string]json.RawMessage{}
	}
	for name, text := range p.Texts {
		value, failure := w.ParseInput(name, text)
		if failure != nil {
			return nil, failure
		}
		given[name] = value
	}
	return given, nil
}

// refused makes an error of what is wrong with a workflow, place by place.
func refused(problems protocols.Problems) error {
	return protocols.Errorf(protocols.WorkflowValidationFailed, "%s", problems.Errors().Error()).With(
		map[string]any{"problems": problems.Errors()})
}

// chosen are the variables that the workflow names.
func chosen(env map[string]string, names []string) map[string]string {
	some := map[string]string{}
	for name, value := range env {
		if slices.Contains(names, name) {
			some[name] = value
		}
	}
	return some
}

// openAllowed opens the secrets that the run will need. They have to be secrets
// of the configuration: anything else would be of this machine, and nobody here
// has agreed to give it away.
func (s *session) openAllowed(c *config, p *server.SubmitParams) error {
	references, err := referencesOf(p)
	if err != nil {
		return err
	}
	for _, ref := range references {
		if !slices.ContainsFunc(sortedNames(c.Secrets), func(name string) bool { return c.Secrets[name] == ref }) {
			return protocols.Errorf(protocols.AuthorizationFailed,
				"the secret %s: a workflow that is sent to a server can use the secrets of the server's configuration only, under their names", ref)
		}
	}
	if p.Secrets, err = s.opener(c).all(references); err != nil {
		return protocols.Errorf(protocols.ConfigurationError, "%v", err)
	}
	return nil
}
