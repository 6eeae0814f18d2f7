package protocols

import "strings"

// names finds what the first part of a reference means: a root or a task.
type names struct {
	tasks   []*Task
	ids     map[string]int
	byName  map[string]int // ambiguous for a name that several tasks have
	longest int            // of all names, in bytes
	inputs  map[string]*Input
	// as is what a foreach calls its item, besides item; "" for nothing.
	as string
	// own is the task whose latest result is called result; nil for none.
	own *int
	// args tells that args means what a model gave a tool.
	args bool
}

// ambiguous stands for an index where a name means several tasks.
const ambiguous = -1

// root is what a reference begins with.
type root uint8

const (
	noRoot root = iota
	taskRoot
	inputsRoot
	envRoot
	runRoot
	workflowRoot
	secretsRoot
	itemRoot
	indexRoot
	tasksRoot // tasks["name"], in expressions
	argsRoot  // what a model gave a tool
	exprRoot  // not a path but an expression
)

var roots = map[string]root{
	"inputs": inputsRoot, "env": envRoot, "run": runRoot, "workflow": workflowRoot,
	"secrets": secretsRoot, "item": itemRoot, "item_index": indexRoot, "tasks": tasksRoot,
}

// namesOf indexes tasks by id and name. Where an id is given twice the first
// task has it.
func namesOf(tasks []*Task, inputs map[string]*Input) *names {
	n := &names{tasks: tasks, ids: make(map[string]int, len(tasks)), byName: make(map[string]int, len(tasks)), longest: len("item_index"), inputs: inputs}
	for i, t := range tasks {
		if _, twice := n.ids[t.ID]; !twice {
			n.ids[t.ID] = i
		}
		if first, twice := n.byName[t.Name]; twice && first != i {
			n.byName[t.Name] = ambiguous
		} else {
			n.byName[t.Name] = i
		}
		n.longest = max(n.longest, len(t.ID), len(t.Name))
	}
	return n
}

// withItem returns names in which as means the item too.
func (n *names) withItem(as string) *names {
	if as == "" || as == "item" {
		return n
	}
	m := *n
	m.as, m.longest = as, max(m.longest, len(as))
	return &m
}

// withResult returns names in which result means the task's own.
func (n *names) withResult(task int) *names {
	m := *n
	m.own = &task
	return &m
}

// task returns the index of the task called name: an id beats a name.
func (n *names) task(name string) (index int, found bool) {
	if i, ok := n.ids[name]; ok {
		return i, true
	}
	i, ok := n.byName[name]
	return i, ok
}

// split returns the longest task or root that the path in text begins with,
// and its length. text reaches to the first closing brace.
func (n *names) split(text string) (r root, task, length int) {
	return n.head(text, func(rest string) bool { return strings.IndexByte(".[? \t\r\n", rest[0]) >= 0 })
}

// head returns the longest task or root that text begins with, and its length.
// ends tells whether a name can end where rest begins.
func (n *names) head(text string, ends func(rest string) bool) (r root, task, length int) {
	for end := min(len(text), n.longest); end > 0; end-- {
		if end < len(text) && !ends(text[end:]) {
			continue
		}
		word := text[:end]
		if n.args && word == "args" {
			return argsRoot, 0, end
		}
		if i, ok := n.task(word); ok {
			return taskRoot, i, end
		}
		if r := roots[word]; r != noRoot {
			return r, 0, end
		}
		if word == n.as {
			return itemRoot, 0, end
		}
		if n.own != nil && word == "result" {
			return taskRoot, *n.own, end
		}
	}
	return noRoot, 0, 0
}

// words returns everything that a reference may begin with.
func (n *names) words() []string {
	words := []string{"inputs", "env", "run", "workflow", "secrets"}
	if n.as != "" {
		words = append(words, n.as)
	}
	if n.args {
		words = append(words, "args")
	}
	return append(words, n.taskWords()...)
}

// taskWords returns every id and name of a task, in the order of the file.
func (n *names) taskWords() []string {
	var words []string
	for _, t := range n.tasks {
		words = append(words, t.ID)
		if t.Name != t.ID {
			words = append(words, t.Name)
		}
	}
	return words
}

// inputsOf indexes inputs by name.
func inputsOf(inputs []Input) map[string]*Input {
	m := make(map[string]*Input, len(inputs))
	for i := range inputs {
		m[inputs[i].Name] = &inputs[i]
	}
	return m
}
