package protocols

import (
	"fmt"
	"strings"
)

// This file compiles conditions: if, and the until of a repeat.

const schemaCondition = `{"type":["string","boolean"],"description":"An expression, with or without ${ and } around it."}`

// condition reads a condition: text, bare or as one whole ${…}, or true or
// false. nil if it is wrong.
func (c *compiler) condition(key string, n *node, u *use, names *names) *Expression {
	if n.kind != stringKind && n.kind != boolKind {
		c.mismatch(key, n, "an expression")
		return nil
	}
	text, ok := inside(n.text)
	if !ok {
		c.problem(n, key+" must be one expression: all of it may stand in ${…}, not a part", "leave the ${ and } out")
		return nil
	}
	e, wrong := readExpression(text, names)
	if wrong != nil {
		c.problem(n, key+": "+wrong.text, wrong.hint)
		return nil
	}
	x := &Expression{Text: strings.TrimSpace(text), Status: e.status}
	u.refs = &x.References
	if e.status && !u.status {
		c.problem(n, key+": the status functions belong to if", "")
	}
	before := len(c.problems)
	for _, ref := range e.refs {
		c.path(n, ref, u)
	}
	if len(c.problems) > before {
		return x
	}
	if wrong := e.compile(c.inputs); wrong != nil {
		c.problem(n, key+": "+wrong.text, wrong.hint)
	} else if e.known && e.result != boolKind && e.result != nullKind {
		c.problem(n, fmt.Sprintf("%s must be true or false, not %s", key, e.result), "")
	}
	x.References = sortedSet(x.References)
	return x
}

// inside returns the text of an expression that may stand in one whole ${…}.
// It returns false if only a part of it does.
func inside(text string) (string, bool) {
	trimmed := strings.TrimSpace(text)
	rest, whole := strings.CutPrefix(trimmed, "${")
	if !whole {
		return text, !hasReference(text)
	}
	end := closing(rest)
	return rest[:max(end, 0)], end >= 0 && end == len(rest)-1
}

// evaluates is a condition with what it is called.
type evaluates struct {
	what string
	text string
}

// Evaluate returns whether a condition of the task holds: its If, or the Until
// of its Repeat. null counts as false, and anything else that is neither true
// nor false is an error, as is a path that leads nowhere (unless ?? follows);
// its code is TASK_PARAMETER_ERROR. It takes bounded time.
//
// Evaluate looks at the text alone: that an if without a status function is
// asked only when success() holds is up to the caller. For an until,
// s.Tasks[task] holds the task's latest result.
func (w *Workflow) Evaluate(e *Expression, task int, s *Scope) (bool, *Error) {
	t := w.Tasks[task]
	what := "if"
	if t.Repeat != nil && e == &t.Repeat.Until {
		what = "until"
	}
	f := w.filler(s, t)
	f.what = what
	x, wrong := w.kept(evaluates{what, e.Text}, task, func(n *names) (any, *referenceError) {
		return readExpression(e.Text, n.withResult(task))
	})
	if wrong != nil {
		return false, f.refuse(e.Text, nil, "%s", wrong.text)
	}
	v, err := f.evaluate(x.(*expression))
	if err != nil {
		return false, err
	}
	switch v := v.(type) {
	case nil:
		return false, nil
	case bool:
		return v, nil
	}
	return false, f.refuse(e.Text, nil, "a condition must be true or false, not %s", showValue(v))
}

// restKey says of what a parsed text is kept.
type restKey struct {
	task int
	what any
}

// kept returns what read makes of a text of the task, made on first use.
func (w *Workflow) kept(what any, task int, read func(*names) (any, *referenceError)) (any, *referenceError) {
	all := w.templates()
	key := restKey{task, what}
	if x, ok := all.rest.Load(key); ok {
		return x, nil
	}
	x, wrong := read(w.namesIn(task))
	if wrong != nil {
		return nil, wrong
	}
	x, _ = all.rest.LoadOrStore(key, x)
	return x, nil
}

// namesIn returns what references of a task may begin with.
func (w *Workflow) namesIn(task int) *names {
	n := w.templates().names
	if t := w.Tasks[task]; t.Foreach != nil {
		n = n.withItem(t.Foreach.As)
	}
	return n
}
