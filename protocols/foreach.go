package protocols

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// This file compiles foreach and repeat, and gives a foreach its items.

// foreachDraft is a foreach whose references have not been looked up yet.
type foreachDraft struct {
	*Foreach
	at, items, as, key *node
}

func foreachKeys() []key[*foreachDraft] {
	return []key[*foreachDraft]{
		{spelling{name: "items", doc: "A list, a map, or a reference to one.", schema: `{"type":["array","object","string"]}`},
			func(_ *compiler, d *foreachDraft, _ string, v *node) { d.items = v }},
		{spelling{name: "as", doc: "What parameters call the item; item unless said otherwise.", schema: schemaText},
			func(c *compiler, d *foreachDraft, k string, v *node) { d.as = v }},
		{spelling{name: "key", doc: "Names each item, as in ${item.id}; else its index or its key in the map.", schema: schemaText},
			func(c *compiler, d *foreachDraft, k string, v *node) {
				if s, ok := c.text("foreach."+k, v); ok {
					d.Key, d.key = s, v
				}
			}},
		{spelling{name: "max_parallel", doc: "Running instances at once.", schema: schemaCount},
			func(c *compiler, d *foreachDraft, k string, v *node) { d.MaxParallel, _ = c.count("foreach."+k, v) }},
		{spelling{name: "fail_fast", doc: "The first failure fails the task, and starts no further instance; true unless said otherwise.", schema: schemaBool},
			func(c *compiler, d *foreachDraft, k string, v *node) {
				if b, ok := c.boolean("foreach."+k, v); ok {
					d.FailFast = b
				}
			}},
		{spelling{name: "collect", doc: "What of each result is kept, such as text; else all of it.", schema: schemaText},
			func(c *compiler, d *foreachDraft, k string, v *node) { d.Collect = c.collect("foreach."+k, v) }},
	}
}

// schemaShortForeach is a foreach that is only its items.
const schemaShortForeach = `{"type":["array","string"]}`

// foreach reads a foreach: a map of its keys, or the items alone.
func (c *compiler) foreach(d *draft, v *node) {
	f := &foreachDraft{Foreach: &Foreach{As: "item", FailFast: true}, at: v}
	if v.kind == mapKind {
		readMap(c, v, c.lang.foreach, f)
	} else {
		f.items = v
	}
	d.foreach, d.Foreach = f, f.Foreach
	if f.as == nil {
		return
	}
	if s, ok := c.label("foreach.as", f.as); ok {
		f.As = s
	}
	if identifierEnd(f.As, 0) != len(f.As) || strings.HasPrefix(f.As, placeholder) || f.As[0] == '$' || isDigit(f.As[0]) ||
		wordSet(operatorWords...)[f.As] || wordSet(literalWords...)[f.As] {
		c.problem(f.as, quoted(f.As)+" can't be the name of an item", "write one word, such as file")
		f.As = "item"
	}
}

// collect reads the path of collect.
func (c *compiler) collect(key string, v *node) string {
	s, ok := c.text(key, v)
	if !ok {
		return ""
	}
	if _, ok := collectPath(s); !ok {
		c.problem(v, fmt.Sprintf("%s must be a path into a result, such as text or result.items[0], not %s", key, quoted(s)), "")
		return ""
	}
	return s
}

// collectPath reads a path without its root.
func collectPath(s string) ([]step, bool) {
	if !strings.HasPrefix(s, "[") {
		s = "." + s
	}
	p := &pathReader{s: s}
	path, optional := p.steps()
	return path, p.i == len(s) && len(path) > 0 && !optional
}

// instances looks up what a foreach is about.
func (c *compiler) instances(d *draft) {
	f := d.foreach
	if f == nil {
		return
	}
	if f.As != "item" {
		_, isTask := c.names.task(f.As)
		switch {
		case isTask:
			c.problem(f.as, fmt.Sprintf("as can't be %s: a task is called so", f.As), "")
		case roots[f.As] != noRoot || f.As == "result":
			c.problem(f.as, fmt.Sprintf("as can't be %s: references use the word for something else", f.As), "")
		}
	}
	u := &use{what: "items", d: d, refs: &f.References}
	switch n := f.items; {
	case n == nil:
		c.problem(f.at, "foreach needs items", "")
	case n.kind == stringKind:
		c.oneReference(n, "items", u)
		f.Items = n.raw()
	case n.kind == listKind || n.kind == mapKind:
		c.references(n, u)
		f.Items = n.appendJSON(nil, escapes{keys: true})
	default:
		c.mismatch("items", n, "a list, a map, or a reference to one")
	}
	if f.key != nil {
		if !hasReference(f.Key) {
			c.problem(f.key, "key names every item the same: "+quoted(f.Key), `write a reference to the item, as "${item.id}"`)
		}
		c.references(f.key, &use{what: "key", d: d, refs: &f.References, item: true})
	}
	f.References = sortedSet(f.References)
}

// oneReference reads a text that must be one whole reference or expression.
func (c *compiler) oneReference(n *node, key string, u *use) {
	if _, whole := unknown(n.text, c.namesFor(u.d)); !whole {
		c.problem(n, fmt.Sprintf("%s must be a list, a map, or one whole reference, not the text %s", key, strconv.Quote(shorten(n.text))), "")
		return
	}
	c.references(n, u)
}

// Items returns the items of a task's foreach: those of a list, or for each
// member of a map its {"key", "value"}, in the order of the map. Keys are
// told apart: two that are equal are an error. The code of errors is
// TASK_PARAMETER_ERROR.
func (w *Workflow) Items(task int, s *Scope) ([]ItemValue, *Error) {
	t := w.Tasks[task]
	f := w.filler(s, t)
	f.what = "items"
	raw, err := w.fillText(f, t.Foreach.Items, task)
	if err != nil {
		return nil, err
	}
	var items []ItemValue
	switch kindOf(raw) {
	case listKind:
		eachItem(raw, func(v json.RawMessage) bool {
			items = append(items, ItemValue{Value: v, Index: len(items), Key: strconv.Itoa(len(items))})
			return true
		})
	case mapKind:
		eachMember(raw, func(k, v json.RawMessage) bool {
			value := append(append(append(append([]byte(`{"key":`), k...), `,"value":`...), v...), '}')
			items = append(items, ItemValue{Value: value, Index: len(items), Key: rawText(k)})
			return true
		})
	default:
		return nil, Errorf(TaskParameterError, "task %s: items must be a list or a map, not %s", t.ID, show(raw))
	}
	return items, w.nameItems(task, s, items)
}

// nameItems evaluates the key of each item and sees that they differ.
func (w *Workflow) nameItems(task int, s *Scope, items []ItemValue) *Error {
	t := w.Tasks[task]
	key := t.Foreach.Key
	scope := *s
	seen := make(map[string]int, len(items))
	for i := range items {
		if key != "" {
			scope.Item = &items[i]
			f := w.filler(&scope, t)
			f.what = "key"
			raw, err := w.fillText(f, appendString(nil, key), task)
			if err != nil {
				return err
			}
			if items[i].Key, err = keyOf(raw, t, i); err != nil {
				return err
			}
		}
		if first, twice := seen[items[i].Key]; twice {
			return Errorf(TaskParameterError, "task %s: items %d and %d have the same key %s", t.ID, first, i, quoted(items[i].Key))
		}
		seen[items[i].Key] = i
	}
	return nil
}

// keyOf returns a key's text: it must be one short line.
func keyOf(raw json.RawMessage, t *Task, i int) (string, *Error) {
	text := string(raw)
	switch kindOf(raw) {
	case stringKind:
		text = rawText(raw)
	case numberKind, boolKind:
	default:
		return "", Errorf(TaskParameterError, "task %s: the key of item %d must be text, not %s", t.ID, i, show(raw))
	}
	if text == "" || len(text) > maxName || !printable(text) {
		return "", Errorf(TaskParameterError, "task %s: the key of item %d must be one line of at most %d bytes, not %s", t.ID, i, maxName, quoted(text))
	}
	return text, nil
}

// fillText fills in a JSON value of the task that isn't its parameters.
func (w *Workflow) fillText(f *filler, raw json.RawMessage, task int) (json.RawMessage, *Error) {
	x, wrong := w.kept(string(raw), task, func(n *names) (any, *referenceError) {
		t, err := newTemplate(raw, n, nil)
		if err != nil {
			return nil, &referenceError{err.Error(), ""}
		}
		return t, nil
	})
	if wrong != nil {
		return nil, Errorf(TaskParameterError, "task %s: %s: %s", w.Tasks[task].ID, f.what, wrong.text)
	}
	return f.fill(x.(*template))
}

// Collect returns what of an instance's result goes into the list that is the
// result of the foreach: what its collect names, by the rules of references,
// or all of it.
func Collect(w *Workflow, task int, result json.RawMessage) (json.RawMessage, *Error) {
	t := w.Tasks[task]
	if t.Foreach == nil || t.Foreach.Collect == "" {
		return result, nil
	}
	path, ok := collectPath(t.Foreach.Collect)
	if !ok {
		return nil, Errorf(TaskParameterError, "task %s: collect: %s is not a path", t.ID, quoted(t.Foreach.Collect))
	}
	found, lost := TaskValue{Status: "completed", Result: result}.find(path)
	if lost != nil {
		return nil, Errorf(TaskParameterError, "task %s: collect: %s: %s", t.ID, t.Foreach.Collect, lost.text)
	}
	return found, nil
}

// repeatDraft is a repeat whose references have not been looked up yet.
type repeatDraft struct {
	*Repeat
	at, until *node
}

func repeatKeys() []key[*repeatDraft] {
	return []key[*repeatDraft]{
		{spelling{name: "until", doc: "The condition that ends it; result is the latest result.", schema: schemaCondition},
			func(_ *compiler, d *repeatDraft, _ string, v *node) { d.until = v }},
		{spelling{name: "max_iterations", doc: "How often at most; without until having held, that is a failure.", schema: schemaCount},
			func(c *compiler, d *repeatDraft, k string, v *node) { d.MaxIterations, _ = c.count("repeat."+k, v) }},
		{spelling{name: "interval", doc: "How long to wait before each further time.", schema: schemaDuration},
			func(c *compiler, d *repeatDraft, k string, v *node) { d.Interval, _ = c.duration("repeat."+k, v, 0) }},
	}
}

// repeat reads a repeat.
func (c *compiler) repeat(d *draft, v *node) {
	r := &repeatDraft{Repeat: &Repeat{}, at: v}
	if !readMap(c, v, c.lang.repeat, r) {
		return
	}
	d.repeat, d.Repeat = r, r.Repeat
	if v.get("max_iterations") == nil {
		c.problem(v, "repeat needs max_iterations", "")
	}
	if r.until == nil {
		c.problem(v, "repeat needs until", "for a fixed number of times use foreach")
	}
}

// again looks up what the condition of a repeat is about.
func (c *compiler) again(i int, d *draft) {
	r := d.repeat
	if r == nil || r.until == nil {
		return
	}
	u := &use{what: "until", d: d, item: d.Foreach != nil, own: true, index: i, attempt: true}
	if e := c.condition("until", r.until, u, c.namesFor(d).withResult(i)); e != nil {
		r.Until = *e
		if other, ok := c.names.task("result"); ok && other != i && slices.Contains(e.References, other) {
			c.warn(r.until.line, r.until.col, "until: result is the task of that name", "write "+quoted(d.ID)+" for the latest result of this one")
		}
	}
}
