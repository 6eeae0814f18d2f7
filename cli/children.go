package cli

import (
	"fmt"

	"gleitzeit/cli/server"
	"gleitzeit/protocols"
)

// children reads the workflows that tasks of workflow/v1 run, and those that
// they run in turn: each file once, so that a workflow may run itself.
type children struct {
	s        *session
	registry *protocols.Registry
	config   *config
	all      map[string]server.ChildParams // by path
	problems protocols.Problems
}

// of reads the workflows that w, the contents of f, runs. It returns the path
// of each by the name that w has for it.
func (c *children) of(f *workflowFile, w *protocols.Workflow) map[string]string {
	names := map[string]string{}
	for _, name := range w.Children {
		path, _, err := f.find(name)
		if err != nil {
			continue // told already, as of any file that is named
		}
		names[name] = path
		if _, known := c.all[path]; known {
			continue
		}
		c.all[path] = server.ChildParams{} // it is being read
		child, err := c.read(f, name, path)
		if err != nil {
			c.problems = append(c.problems, f.problem(name, fmt.Sprintf("workflow %q: %v", name, err), ""))
			continue
		}
		c.all[path] = child
	}
	return names
}

// read reads one of them; what is wrong in it is told with its own places.
func (c *children) read(parent *workflowFile, name, path string) (child server.ChildParams, err error) {
	f, err := parent.child(c.s.env, name, path)
	if err != nil {
		return child, err
	}
	document, _ := protocols.Parse(f.name, f.data)
	w, problems := c.registry.Compile(document)
	if w != nil {
		w, problems = f.expand(c.registry, w)
	}
	if w == nil {
		c.problems = append(c.problems, problems...)
		return child, nil
	}
	files, problems := f.capture(w.Files)
	c.problems = append(append(c.problems, problems...), misconfigured(f, c.config, w)...)
	limitAttempts(w, c.config.DefaultTimeout)
	return server.ChildParams{Document: w.Encode(), Files: files, Dir: f.home(), Names: c.of(f, w)}, nil
}
