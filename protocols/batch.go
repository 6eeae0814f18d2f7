package protocols

import (
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode"
)

// This file is the original's "one task per file". Compile reads the template
// and checks it against a file that could be; Expand makes the tasks.

func batchKeys() []key[*Batch] {
	return []key[*Batch]{
		{spelling{name: "directory", doc: "The folder with the files.", schema: schemaText},
			func(c *compiler, b *Batch, k string, v *node) { b.Directory = c.plainText("batch."+k, v) }},
		{spelling{name: "pattern", doc: "Which files: * and ?, ** for folders within; default *.", schema: schemaText},
			func(c *compiler, b *Batch, k string, v *node) { b.Pattern = c.plainText("batch."+k, v) }},
	}
}

// plainText reads a text without references.
func (c *compiler) plainText(k string, v *node) string {
	s, ok := c.text(k, v)
	switch {
	case !ok:
		return ""
	case s == "" || strings.ContainsRune(s, 0):
		c.problem(v, k+" is empty", "")
	case hasReference(s):
		c.problem(v, "references in "+k+" are not supported yet", "")
	}
	return unescape(s)
}

// batch reads a workflow that makes one task for each file.
func (c *compiler) batch(root *node, p *parts) {
	if p.tasks != nil && len(p.tasks.items) > 0 {
		c.problem(p.tasks, "a batch has no tasks of its own", "its one task is the template")
	}
	for _, h := range hookOrder[1:] {
		if m, given := p.hooks[h]; given {
			c.problem(m.value, m.key+" is not supported yet in a batch", "")
		}
	}
	b := &Batch{Pattern: "*"}
	c.w.Batch, c.w.Tasks = b, []*Task{}
	switch {
	case p.batch == nil:
		c.problem(root, "a batch needs batch.directory", "")
	case readMap(c, p.batch, c.lang.batch, b) && p.batch.get("directory") == nil:
		c.problem(p.batch, "a batch needs batch.directory", "")
	}
	if p.template == nil || p.template.kind != mapKind || len(p.template.members) == 0 {
		at := root
		if p.template != nil {
			at = p.template
		}
		c.problem(at, "a batch needs a template: what to do with each file", "")
		return
	}
	c.template(p, b)
}

// template compiles the task that each file gets.
func (c *compiler) template(p *parts, b *Batch) {
	d := &draft{Task: &Task{}, at: p.template}
	keys, params := c.splitTemplate(p.template)
	readMap(c, keys, c.lang.task, d)
	if !d.hasPriority {
		d.Priority = p.priority
	}
	if d.parameters != nil {
		for _, m := range d.parameters.members {
			if params.get(m.key) != nil {
				c.problemAt(m.line, m.col, fmt.Sprintf("the parameter %s is given twice", quoted(m.key)), "once in the template itself")
				continue
			}
			params.members = append(params.members, m)
		}
	}
	if d.protocol == nil && p.protocol.value != nil {
		if _, ok := c.text("protocol", p.protocol.value); ok {
			d.protocol = p.protocol.value
		}
	}
	if d.method == nil && (d.protocol == nil || d.protocol.text == "llm/v1") {
		d.method = &node{kind: stringKind, text: "llm/chat", line: p.template.line, col: p.template.col}
	}
	d.ID = "template"
	m := c.method(d)
	c.flow(0, d)
	if context := params.get("context"); d.Protocol == "python/v1" && context != nil && context.kind != mapKind {
		c.problem(context, "context must be a map: the file's path goes into it", "")
		return
	}
	c.parameters(d, m, params, func(raw json.RawMessage) json.RawMessage {
		return withFile(d.Task, raw, "file.png")
	})
	d.ID = ""
	b.Protocol = d.Protocol
	var err error
	if b.Template, err = marshal(d.Task); err != nil {
		panic(fmt.Sprintf("template: %v", err))
	}
}

// splitTemplate parts a template's keys: those of a task, and all others,
// which are parameters.
func (c *compiler) splitTemplate(n *node) (keys, params *node) {
	keys = &node{kind: mapKind, line: n.line, col: n.col}
	params = &node{kind: mapKind, line: n.line, col: n.col}
	for _, m := range n.members {
		s := c.lang.task.find(m.key)
		switch {
		case s == nil:
			params.members = append(params.members, m)
		case s.name == "id" || s.name == "name" || s.name == "dependencies":
			c.problemAt(m.line, m.col, fmt.Sprintf("a template has no %s", m.key), "each file's task gets an id of its own and waits for none")
		default:
			keys.members = append(keys.members, m)
		}
	}
	return keys, params
}

// Expand returns the workflow that a batch stands for: one task for each path,
// in their order. The paths go into the parameters as they are given, and into
// Files. A workflow that is no batch is returned as it is.
//
// It is an error if there is no path, and if the outputs refer to a task that
// isn't there. These problems have no place in the file.
func (w *Workflow) Expand(r *Registry, paths []string) (*Workflow, Problems) {
	if w.Batch == nil {
		return w, nil
	}
	if len(paths) == 0 {
		return nil, Problems{{Text: fmt.Sprintf("no file matches %s in %s", w.Batch.Pattern, w.Batch.Directory)}}
	}
	x := w.withoutBatch()
	var err error
	if x.Metadata, err = batchMetadata(w, len(paths)); err != nil {
		return nil, Problems{{Text: fmt.Sprintf("metadata: %v", err)}}
	}
	known := map[string]bool{}
	for _, f := range x.Files {
		known[f] = true
	}
	for i, p := range paths {
		t, err := w.Batch.task(i, p)
		if err != nil {
			return nil, Problems{{Text: fmt.Sprintf("template: %v", err)}}
		}
		x.Tasks = append(x.Tasks, t)
		if !known[p] {
			known[p] = true
			x.Files = append(x.Files, p)
		}
	}
	if ps := x.checkOutputs(r); len(ps) > 0 {
		return nil, ps
	}
	return x, nil
}

// withoutBatch returns a copy that has no tasks yet.
func (w *Workflow) withoutBatch() *Workflow {
	return &Workflow{Version: w.Version, ID: w.ID, Name: w.Name, Description: w.Description, Tags: w.Tags,
		Inputs: w.Inputs, Env: w.Env, EnvRefs: w.EnvRefs, Timeout: w.Timeout, MaxParallel: w.MaxParallel,
		ErrorStrategy: w.ErrorStrategy, Budget: w.Budget, Limits: w.Limits, Schedule: w.Schedule,
		SecretEnv: w.SecretEnv, Secrets: w.Secrets, SecretRefs: w.SecretRefs,
		Outputs: w.Outputs, Files: append([]string(nil), w.Files...), Children: w.Children}
}

// batchMetadata adds what the original noted of a batch.
func batchMetadata(w *Workflow, files int) (json.RawMessage, error) {
	m := w.Metadata
	if len(m) == 0 {
		m = json.RawMessage("{}")
	}
	note := appendString([]byte(`{"directory":`), w.Batch.Directory)
	note = appendString(append(note, `,"pattern":`...), w.Batch.Pattern)
	note = append(strconv.AppendInt(append(note, `,"files":`...), int64(files), 10), '}')
	m = setMember(m, "batch", note)
	if !json.Valid(m) {
		return nil, fmt.Errorf("not JSON")
	}
	return m, nil
}

// task returns the task of the i-th file. It shares nothing with the others.
func (b *Batch) task(i int, file string) (*Task, error) {
	t := &Task{}
	if err := json.Unmarshal(b.Template, t); err != nil {
		return nil, err
	}
	base := path.Base(strings.ReplaceAll(file, `\`, "/"))
	t.ID = fmt.Sprintf("process-%s-%d", idOfFile(base), i)
	t.Name = "Process " + strings.Map(visible, base)
	value := file
	if !t.Literal {
		value = escape(value)
	}
	t.Parameters = withFile(t, t.Parameters, value)
	return t, nil
}

func idOfFile(base string) string {
	return strings.ReplaceAll(strings.Map(visible, base), ".", "-")
}

func visible(r rune) rune {
	if unicode.IsControl(r) {
		return '-'
	}
	return r
}

// escape writes text so that it means itself where references are looked for.
func escape(s string) string { return strings.ReplaceAll(s, "${", "$${") }

// withFile puts a file's path where the method looks for it.
func withFile(t *Task, params json.RawMessage, file string) json.RawMessage {
	value := json.RawMessage(appendString(nil, file))
	into := func(member, key string) json.RawMessage {
		inner, ok := rawMember(params, member)
		if !ok || kindOf(inner) != mapKind {
			inner = json.RawMessage("{}")
		}
		return setMember(params, member, setMember(inner, key, value))
	}
	arguments, _ := rawMember(params, "arguments")
	switch {
	case t.Protocol == "python/v1":
		return into("context", "file_path")
	case t.Protocol == "mcp/v1" && kindOf(arguments) == mapKind:
		return into("arguments", "file_path")
	case t.Method == "llm/vision" && isImage(file):
		return setMember(params, "image_path", value)
	}
	return setMember(params, "file_path", value)
}

func isImage(file string) bool {
	switch strings.ToLower(path.Ext(file)) {
	case ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp":
		return true
	}
	return false
}

// checkOutputs judges the references in outputs.
func (w *Workflow) checkOutputs(r *Registry) Problems {
	c := &compiler{registry: r, w: w, inputs: inputsOf(w.Inputs), env: map[string]bool{}}
	c.names = namesOf(w.Tasks, c.inputs)
	for _, v := range w.EnvRefs {
		c.env[v] = true
	}
	for _, o := range w.Outputs {
		read := &jsonReader{d: &Document{}, data: o.Value}
		before := len(c.problems)
		c.references(read.value(0, 1), &use{what: "outputs"})
		for i := before; i < len(c.problems); i++ {
			p := &c.problems[i]
			p.Line, p.Col, p.Text = 0, 0, "outputs."+o.Name+": "+p.Text
		}
	}
	c.results()
	w.EnvRefs = c.envRefs()
	return c.problems
}

// FileOfBatch returns the file that a task of a batch of models is about, ""
// if it is about none.
func (t *Task) FileOfBatch() string {
	for _, name := range []string{"file_path", "image_path"} {
		if raw, there := rawMember(t.Parameters, name); there && kindOf(raw) == stringKind {
			return undo(!t.Literal, rawText(raw))
		}
	}
	return ""
}
