package protocols

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Compile judges a document and puts it into the canonical form that runs are
// made of: aliases and sugar gone, defaults applied, names turned into indexes.
// The problems are all that is wrong with the file, those of Parse among them;
// the workflow is nil if any is an error. If the workflow is a batch it must
// be expanded before it can run (see Workflow.Expand).
func (r *Registry) Compile(d *Document) (*Workflow, Problems) {
	c := &compiler{registry: r, lang: newLanguage(), file: d.File,
		problems: slices.Clone(d.problems), names: namesOf(nil, nil), env: map[string]bool{}}
	var w *Workflow
	if d.root != nil {
		w = c.workflow(d.root)
	}
	ps := c.problems.sorted()
	if len(ps.Errors()) > 0 {
		return nil, ps
	}
	return w, ps
}

// compiler is one pass over a document.
type compiler struct {
	registry *Registry
	lang     *language
	file     string
	problems Problems

	w      *Workflow
	drafts []*draft
	names  *names
	inputs map[string]*Input
	env    map[string]bool // variables of the caller's environment
	// lookups are references to tasks, to be compared with what these return
	// once that is known.
	lookups []lookup
	// variables are the values in env that hold references.
	variables  []*node
	secretRefs map[string]bool
}

func (c *compiler) problem(n *node, text, hint string) { c.problemAt(n.line, n.col, text, hint) }

func (c *compiler) problemAt(line, col int, text, hint string) {
	c.problems = append(c.problems, Problem{File: c.file, Line: line, Col: col, Text: text, Hint: hint})
}

func (c *compiler) warn(line, col int, text, hint string) {
	c.problems = append(c.problems, Problem{File: c.file, Line: line, Col: col, Text: text, Hint: hint, Warning: true})
}

func (c *compiler) workflow(root *node) *Workflow {
	p := &parts{Workflow: &Workflow{Version: DocumentVersion}}
	c.w = p.Workflow
	if !readMap(c, root, c.lang.workflow, p) {
		return nil
	}
	if c.w.Name == "" {
		c.w.Name = nameOfFile(c.file)
	}
	c.readInputs(p.inputs)
	if p.isBatch || p.batch != nil || p.template != nil {
		c.batch(root, p)
	} else {
		c.tasks(root, p)
	}
	c.outputs(p.outputs)
	c.results()
	c.secretVariables()
	c.w.EnvRefs, c.w.SecretRefs = c.envRefs(), sortedKeys(c.secretRefs)
	return c.w
}

// nameOfFile names a workflow that has no name.
func nameOfFile(file string) string {
	base := filepath.Base(filepath.ToSlash(file))
	if i := strings.LastIndexByte(base, '.'); i > 0 {
		base = base[:i]
	}
	if file == "" || base == "." || base == "/" || !printable(base) || len(base) > maxName {
		return "workflow"
	}
	return base
}

// tasks reads the list of tasks and connects them.
func (c *compiler) tasks(root *node, p *parts) {
	if p.protocol.value != nil {
		c.problem(p.protocol.value, "protocol belongs to a task, or to a batch", "")
	}
	switch {
	case p.tasks == nil:
		c.problem(root, "a workflow needs tasks", "")
		return
	case p.tasks.kind != listKind:
		c.mismatch("tasks", p.tasks, "a list")
		return
	case len(p.tasks.items) == 0:
		c.problem(p.tasks, "a workflow needs at least one task", "")
		return
	}
	c.taskList("tasks", p.tasks, "", p.priority)
	c.hooks(p)
	c.nameTasks()
	for _, d := range c.drafts {
		c.w.Tasks = append(c.w.Tasks, d.Task)
	}
	c.names = namesOf(c.w.Tasks, c.inputs)
	for i, d := range c.drafts {
		c.dependencies(d)
		c.flow(i, d)
		c.call(d)
		c.edges(i, d)
	}
	c.cycles()
}

// taskList reads a list of tasks.
func (c *compiler) taskList(key string, list *node, h Hook, p Priority) {
	if list.kind != listKind {
		c.mismatch(key, list, "a list of tasks")
		return
	}
	for _, item := range list.items {
		d := &draft{Task: &Task{Hook: h}, at: item}
		if !readMap(c, item, c.lang.task, d) {
			continue
		}
		if !d.hasPriority {
			d.Priority = p
		}
		c.drafts = append(c.drafts, d)
	}
}

// flow looks up what decides whether and how often a task runs.
func (c *compiler) flow(i int, d *draft) {
	if d.condition != nil {
		d.If = c.condition("if", d.condition, &use{what: "if", d: d, status: true}, c.names)
	}
	c.instances(d)
	c.again(i, d)
	if d.cache != nil && d.cache.key != nil {
		c.references(d.cache.key, &use{what: "cache.key", d: d, refs: &d.References, item: d.Foreach != nil, attempt: false})
	}
}

// nameTasks gives every task an id and a name, and sees that ids differ.
func (c *compiler) nameTasks() {
	seen := map[string]*draft{}
	for i, d := range c.drafts {
		if d.ID == "" && d.idAt == nil {
			d.ID = d.Name
		}
		if d.ID == "" {
			d.ID = fmt.Sprintf("task-%d", i+1)
		}
		if d.Name == "" {
			d.Name = d.ID
		}
		if first := seen[d.ID]; first != nil {
			c.problem(d.place(), fmt.Sprintf("two tasks are called %s", quoted(d.ID)),
				fmt.Sprintf("the first is on line %d; give one an id of its own", first.place().line))
			continue
		}
		seen[d.ID] = d
		c.refuseRoot(d, d.idAt, d.ID)
		if d.Name != d.ID {
			c.refuseRoot(d, d.nameAt, d.Name)
		}
	}
}

func (c *compiler) refuseRoot(d *draft, at *node, name string) {
	if roots[name] == noRoot {
		return
	}
	if at == nil {
		at = d.place()
	}
	c.problem(at, fmt.Sprintf("a task can't be called %s", name), "references use the word for something else")
}

// dependencies looks up the tasks that d says it needs.
func (c *compiler) dependencies(d *draft) {
	for _, n := range d.dependencies {
		i, ok := c.names.task(n.text)
		switch {
		case !ok:
			c.problem(n, fmt.Sprintf("no task is called %s", quoted(n.text)), Suggest(n.text, c.names.taskWords()))
		case i == ambiguous:
			c.problem(n, fmt.Sprintf("several tasks are named %s", quoted(n.text)), "give them ids and use these")
		default:
			if text := unreachable(d.Hook, c.w.Tasks[i].Hook); text != "" {
				c.problem(n, fmt.Sprintf("%s can't wait for %s: %s", quoted(d.ID), quoted(n.text), text), "")
				continue
			}
			d.Dependencies = append(d.Dependencies, i)
		}
	}
}

// edges completes a task's edges: those it declares and those that its
// references and expressions imply, each once.
func (c *compiler) edges(i int, d *draft) {
	d.References = sortedSet(d.References)
	all := slices.Concat(d.indexes()[1:]...)
	d.Dependencies = sortedSet(append(d.Dependencies, c.waited(d.Hook, all)...))
}

// cycles reports one cycle of each knot of tasks.
func (c *compiler) cycles() {
	for _, cycle := range cyclesOf(c.w.Tasks) {
		var words []string
		for _, i := range cycle {
			words = append(words, c.w.Tasks[i].ID)
		}
		words = append(words, words[0])
		c.problem(c.drafts[cycle[0]].place(), "the tasks wait for each other: "+strings.Join(words, " -> "), "")
	}
}
