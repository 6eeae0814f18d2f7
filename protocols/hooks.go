package protocols

import "slices"

// This file places the tasks of hooks: what they may look at and wait for.

// hookOrder is the order in which the lists of tasks are kept and run.
var hookOrder = []Hook{"", OnSuccess, OnFailure, Finally}

// unreachable says why a task of one list can't look at one of another, ""
// if it can. Both may be "", the list of ordinary tasks.
func unreachable(from, to Hook) string {
	switch {
	case to == "" || from == to || from == Finally:
		return ""
	case from == "":
		return "a task of " + string(to) + " runs only at the end of the run"
	case to == Finally:
		return "the tasks of finally run last"
	}
	return "of on_success and on_failure only one runs"
}

// waits tells whether a task of one list waits for one of another that it
// looks at: else that one has always ended by then.
func waits(from, to Hook) bool { return from == to }

// hooks reads the tasks of the hooks.
func (c *compiler) hooks(p *parts) {
	for _, h := range hookOrder[1:] {
		if m, given := p.hooks[h]; given {
			c.taskList(m.key, m.value, h, p.priority)
		}
	}
}

// waited returns those of refs that a task of the hook waits for.
func (c *compiler) waited(h Hook, refs []int) []int {
	return slices.DeleteFunc(slices.Clone(refs), func(i int) bool { return !waits(h, c.w.Tasks[i].Hook) })
}
