package protocols

import (
	"encoding/json"
	"fmt"
	"slices"
)

// This file compiles a task's parameters: references are looked up and make
// edges, defaults are filled in, and what can be known is checked.

// parameters fills in d's Parameters, Literal and References from n, and the
// workflow's Files. m is nil if the method is unknown. complete, if not nil,
// adds what the parameters will have when the task runs and don't yet.
func (c *compiler) parameters(d *draft, m *Method, n *node, complete func(json.RawMessage) json.RawMessage) {
	u := &use{what: "parameters", d: d, refs: &d.References, item: d.Foreach != nil, attempt: true, secrets: true}
	d.Literal = !c.parameterReferences(d, m, n, u)
	d.Parameters = n.appendJSON(nil, escapes{keys: true, texts: d.Literal})
	if m == nil {
		return
	}
	for _, def := range m.defaults(func(name string) bool { return n.child(name) != nil }) {
		d.Parameters = setMember(d.Parameters, def.name, def.value)
	}
	full := d.Parameters
	if complete != nil {
		full = complete(full)
	}
	o := checkOptions{what: d.Method, member: "parameter"}
	if !d.Literal {
		names := c.namesFor(d)
		o.unknown = func(text string) (some, whole bool) { return unknown(text, names) }
	}
	for _, v := range m.parameters.check(full, o) {
		line, col := n.placeOf(v)
		c.problemAt(line, col, v.text, v.hint)
	}
	for _, mem := range n.members {
		t := m.traits[unescape(mem.key)]
		if t.file {
			c.files(mem.value)
		}
		if t.workflow {
			c.child(d, mem.value)
		}
		switch t.source {
		case "jq":
			c.filter(d, mem.value, n.get("vars"))
		case "shell":
			c.script(d, mem.value, n.get("shell"))
		}
	}
}

// placeOf returns where in n, which has been checked, v stands.
func (n *node) placeOf(v violation) (line, col int) {
	if v.onKey {
		last := len(v.path) - 1
		for _, m := range n.at(v.path[:last]).members {
			if unescape(m.key) == v.path[last] {
				return m.line, m.col
			}
		}
	}
	at := n.at(v.path)
	return at.line, at.col
}

// unknown tells whether a text holds references, and whether it is only one.
func unknown(text string, n *names) (some, whole bool) {
	if !hasReference(text) {
		return false, false
	}
	pieces, wrong := split(text, n)
	return true, len(pieces) == 1 && pieces[0].ref != nil || len(wrong) > 0
}

// files adds the file names in v that are literal.
func (c *compiler) files(v *node) {
	switch v.kind {
	case listKind:
		for _, item := range v.items {
			c.files(item)
		}
	case mapKind:
		for _, m := range v.members {
			c.files(m.value)
		}
	case stringKind:
		if name := unescape(v.text); v.text != "" && !hasReference(v.text) && !slices.Contains(c.w.Files, name) {
			c.w.Files = append(c.w.Files, name)
		}
	}
}

// use is a place where references stand, and what they may mean there.
type use struct {
	what    string // the place, as messages call it
	d       *draft // nil outside of tasks
	refs    *[]int // takes the tasks that are looked at; nil for nothing
	item    bool   // ${item} means something
	own     bool   // so does result: the task's latest one
	index   int    // of the task, if own
	attempt bool   // so does ${run.attempt}
	secrets bool
	status  bool // of other tasks, as success()
}

// namesFor returns what references of a task may begin with; d is nil for
// the outputs.
func (c *compiler) namesFor(d *draft) *names {
	n := c.names
	if d == nil {
		return n
	}
	if d.arguments != nil {
		n = n.withArguments()
	}
	if d.Foreach == nil {
		return n
	}
	return n.withItem(d.Foreach.As)
}

// child notes the workflow that a task runs.
func (c *compiler) child(d *draft, v *node) {
	switch name := unescape(v.text); {
	case v.kind != stringKind || v.text == "":
	case hasReference(v.text):
		c.problem(v, fmt.Sprintf("the file of %s must be named literally", d.Method), "it is read and checked when the run is submitted")
	case !slices.Contains(c.w.Children, name):
		c.w.Children = append(c.w.Children, name)
	}
}

// references looks up every reference in n. It tells whether there is any.
func (c *compiler) references(n *node, u *use) (some bool) {
	switch n.kind {
	case stringKind:
		if !hasReference(n.text) {
			return false
		}
		pieces, wrong := split(n.text, c.namesFor(u.d))
		for _, w := range wrong {
			c.problem(n, w.text, w.hint)
		}
		for _, p := range pieces {
			if p.ref != nil {
				c.reference(n, p.ref, u)
			}
		}
		return true
	case listKind:
		for _, item := range n.items {
			some = c.references(item, u) || some
		}
	case mapKind:
		for _, m := range n.members {
			if hasReference(m.key) {
				c.problemAt(m.line, m.col, fmt.Sprintf("the key %s holds a reference; only values can", quoted(m.key)), "write $${ for the text ${")
			}
			some = c.references(m.value, u) || some
		}
	}
	return some
}

// reference checks what can be known of a reference or expression, and notes
// what it needs.
func (c *compiler) reference(n *node, ref *reference, u *use) {
	if ref.root != exprRoot {
		c.path(n, ref, u)
		return
	}
	if ref.expr.status && !u.status {
		c.problem(n, fmt.Sprintf("${%s}: the status functions belong to if", shorten(ref.text)), "")
	}
	before := len(c.problems)
	inside := *u
	if inside.secrets {
		inside.what, inside.secrets = "an expression", false // what it makes of one couldn't be kept secret
	}
	for _, r := range ref.expr.refs {
		c.path(n, r, &inside)
	}
	if wrong := ref.expr.compile(c.inputs); wrong != nil && len(c.problems) == before {
		c.problem(n, fmt.Sprintf("${%s}: %s", shorten(ref.text), wrong.text), wrong.hint)
	}
}

// path checks what can be known of a path.
func (c *compiler) path(n *node, ref *reference, u *use) {
	wrong := func(hint, format string, args ...any) {
		c.problem(n, fmt.Sprintf("${%s}: ", shorten(ref.text))+fmt.Sprintf(format, args...), hint)
	}
	switch ref.root {
	case taskRoot:
		c.taskReference(ref, u, wrong)
	case inputsRoot:
		c.inputReference(ref, u, wrong)
	case envRoot:
		if len(ref.path) != 1 {
			wrong("", "name one variable, as in ${env.HOME}")
			return
		}
		c.needEnv(ref.path[0].key, u.d, wrong)
	case secretsRoot:
		c.secretReference(ref, u, wrong)
	case itemRoot, indexRoot:
		if !u.item {
			wrong("", "%s", noItem(u))
		}
	case argsRoot:
		c.argument(ref, u, wrong)
	case runRoot:
		c.fieldReference(ref, runFields, wrong)
		if !u.attempt && len(ref.path) > 0 && ref.path[0].key == "attempt" {
			belong := "belongs"
			if u.what == "outputs" || u.what == "items" {
				belong = "belong"
			}
			wrong("", "%s %s to no attempt", u.what, belong)
		}
	case workflowRoot:
		c.fieldReference(ref, workflowFields, wrong)
	}
}

func noItem(u *use) string {
	if u.d == nil || u.d.Foreach == nil {
		return "there is an item only in a task with foreach"
	}
	return u.what + ": this is about the whole foreach, not one item"
}

// taskReference notes the task that a reference looks at.
func (c *compiler) taskReference(ref *reference, u *use, wrong complaint) {
	if ref.task < len(c.w.Tasks) {
		c.lookups = append(c.lookups, lookup{ref, wrong})
	}
	if u.own && ref.task == u.index {
		return
	}
	hook, to := Hook(""), c.w.Tasks[ref.task].Hook
	if u.d != nil {
		hook = u.d.Hook
	}
	if text := unreachable(hook, to); text != "" {
		wrong("", "%s", text)
		return
	}
	if u.refs != nil {
		*u.refs = append(*u.refs, ref.task)
	}
}

// complaint says what is wrong with one reference.
type complaint func(hint, format string, args ...any)

func (c *compiler) fieldReference(ref *reference, fields []string, wrong complaint) {
	if len(ref.path) > 0 && !slices.Contains(fields, ref.path[0].key) {
		wrong(Suggest(ref.path[0].key, fields), "there is only %s", list(fields))
	}
}

func (c *compiler) inputReference(ref *reference, u *use, wrong complaint) {
	if len(ref.path) == 0 {
		return
	}
	name := ref.path[0].key
	in := c.inputs[name]
	if in == nil {
		names := sortedKeys(c.inputs)
		hint := Suggest(name, names)
		if hint == "" && len(names) == 0 {
			hint = "the workflow has no inputs"
		}
		wrong(hint, "no input is called %s", quoted(name))
		return
	}
	if in.Secret {
		c.secretUse(ref, "inputs."+name, u, wrong)
		return
	}
	if len(ref.path) > 1 && in.Type != "" && in.Type != "object" && in.Type != "array" {
		wrong("", "the input %s is a %s and has nothing inside", quoted(name), in.Type)
	}
}

// needEnv notes a variable that must come from the caller's environment.
func (c *compiler) needEnv(name string, d *draft, wrong complaint) {
	if d != nil {
		if _, own := d.Env[name]; own {
			return
		}
		if _, secret := d.SecretEnv[name]; secret {
			wrong("refer to the secret itself", "the variable %s is made of a secret", name)
			return
		}
	}
	if _, secret := c.w.SecretEnv[name]; secret {
		wrong("refer to the secret itself", "the variable %s is made of a secret", name)
		return
	}
	if _, own := c.w.Env[name]; own {
		return
	}
	for _, secret := range sortedKeys(c.w.Secrets) {
		if c.w.Secrets[secret] == "env:"+name {
			wrong(fmt.Sprintf("write ${secrets.%s}", secret), "the variable %s is a secret, and what ${env} means is recorded with the run", name)
			return
		}
	}
	c.env[name] = true
}

// setMember returns the JSON object raw with the member set: in its place if
// it is there, else at the end.
func setMember(raw json.RawMessage, key string, value json.RawMessage) json.RawMessage {
	out := []byte{'{'}
	add := func(k, v json.RawMessage) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, k...), ':'), v...)
	}
	set := false
	eachMember(raw, func(k, v json.RawMessage) bool {
		if sameString(k, key) {
			v, set = value, true
		}
		add(k, v)
		return true
	})
	if !set {
		add(appendString(nil, key), value)
	}
	return append(out, '}')
}
