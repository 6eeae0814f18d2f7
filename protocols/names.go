package protocols

import "strings"

// names finds what the first part of a reference means: a root or a task.
type names struct {
	tasks   []*Task
	ids     map[string]int
	byName  map[string]int // ambiguous for a name that several tasks have
	longest int            // of all names, in bytes
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
	laterRoot // secrets, item, item_index: not supported yet
)

var roots = map[string]root{
	"inputs": inputsRoot, "env": envRoot, "run": runRoot, "workflow": workflowRoot,
	"secrets": laterRoot, "item": laterRoot, "item_index": laterRoot,
}

// namesOf indexes tasks by id and name. Where an id is given twice the first
// task has it.
func namesOf(tasks []*Task) *names {
	n := &names{tasks: tasks, ids: make(map[string]int, len(tasks)), byName: make(map[string]int, len(tasks)), longest: len("item_index")}
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

// task returns the index of the task called name: an id beats a name.
func (n *names) task(name string) (index int, found bool) {
	if i, ok := n.ids[name]; ok {
		return i, true
	}
	i, ok := n.byName[name]
	return i, ok
}

// split returns the longest task or root that text begins with, and its
// length. text reaches to the first closing brace.
func (n *names) split(text string) (r root, task, length int) {
	for end := min(len(text), n.longest); end > 0; end-- {
		if end < len(text) && !strings.ContainsRune(".[? \t\r\n", rune(text[end])) {
			continue
		}
		if i, ok := n.task(text[:end]); ok {
			return taskRoot, i, end
		}
		if r := roots[text[:end]]; r != noRoot {
			return r, 0, end
		}
	}
	return noRoot, 0, 0
}

// words returns everything that a reference may begin with.
func (n *names) words() []string {
	words := []string{"inputs", "env", "run", "workflow"}
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
