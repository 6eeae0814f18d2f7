package protocols

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// This file keeps secrets to where they belong: the parameters and the
// environment of a call. Everywhere else there is at most a secret's name.

var (
	secretName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)
	secretSource = regexp.MustCompile(`^(env:[^=\x00-\x20\x7f]+|file:[^\x00-\x1f\x7f]+|age:[^\x00-\x1f\x7f]+)$`)
)

// howSecrets says how a secret is given.
const howSecrets = "name where it is: env:NAME, file:PATH or age:PATH"

const schemaSecrets = `{"type":"object","additionalProperties":{"type":"string","pattern":"^(env|file|age):."}}`

// secrets reads where secrets come from. What may be a secret itself is never
// repeated in a message.
func (c *compiler) secrets(key string, v *node) {
	if v.kind != mapKind {
		c.problem(v, key+" must be a map of names, not "+v.kind.String(), "")
		return
	}
	c.w.Secrets = make(map[string]string, len(v.members))
	for _, m := range v.members {
		switch {
		case !secretName.MatchString(m.key):
			c.problemAt(m.line, m.col, quoted(m.key)+" can't be the name of a secret", "use letters, digits, _ and -")
		case m.value.kind != stringKind || !secretSource.MatchString(m.value.text):
			c.problem(m.value, fmt.Sprintf("the secret %s must be a reference, never the secret itself", quoted(m.key)), howSecrets)
		default:
			c.w.Secrets[m.key] = m.value.text
		}
	}
}

// secretReference checks ${secrets.X}.
func (c *compiler) secretReference(ref *reference, u *use, wrong complaint) {
	if len(ref.path) != 1 || !secretName.MatchString(ref.path[0].key) {
		wrong("", "name one secret, as in ${secrets.API_KEY}")
		return
	}
	name := ref.path[0].key
	if _, declared := c.w.Secrets[name]; !declared { // then it may mean something where the run is executed
		if hint := Suggest(name, sortedKeys(c.w.Secrets)); hint != "" {
			wrong(hint, "there is no secret %s", quoted(name))
			return
		}
	}
	c.secretUse(ref, name, u, wrong)
}

// secretUse notes a secret, or says that it doesn't belong where it stands.
func (c *compiler) secretUse(ref *reference, name string, u *use, wrong complaint) {
	switch {
	case !u.secrets:
		wrong("", "a secret can't stand in %s, only in parameters and env", u.what)
	case len(ref.path) > 1:
		wrong("", "a secret is text and has nothing inside")
	case ref.fallback != nil:
		wrong("", "nothing stands in for a secret: a task whose secret is not there waits for it")
	default:
		if c.secretRefs == nil {
			c.secretRefs = map[string]bool{}
		}
		c.secretRefs[name] = true
	}
}

// parameterReferences looks up the references in the parameters of a task, of
// each with what it may hold: no secret stands where it would become part of
// an event, or decide which file is read. It tells whether there is any.
func (c *compiler) parameterReferences(d *draft, m *Method, n *node, u *use) (some bool) {
	for _, mem := range n.members {
		one := *u
		if place := closedToSecrets(d, m, unescape(mem.key)); place != "" {
			one.what, one.secrets = place, false
		}
		some = c.references(&node{kind: mapKind, members: []member{mem}}, &one) || some
	}
	return some
}

// closedToSecrets names the parameter if no secret may stand in it, else it
// returns "".
func closedToSecrets(d *draft, m *Method, parameter string) string {
	switch {
	case m == nil:
		return ""
	case m.traits[parameter].file:
		return "the file name " + parameter
	case m.protocol == waitProtocol, m.protocol == workflowProtocol && parameter != "inputs":
		return fmt.Sprintf("%s of %s", parameter, d.Method)
	}
	return ""
}

// Protocols whose tasks need no value of a secret: they wait, or hand on where
// it is.
const (
	waitProtocol     = "wait/v1"
	workflowProtocol = "workflow/v1"
)

// secretInput checks an input that is a secret.
func (c *compiler) secretInput(d *inputDraft) {
	if d.Type != "" && d.Type != "string" {
		c.problem(d.at, "the input "+quoted(d.Name)+" is a secret and so a string, not "+typeList([]string{d.Type}), "")
	}
	d.Type = "string"
	if d.enum != nil {
		c.problem(d.enum, "the input "+quoted(d.Name)+" is a secret and has no enum", "")
		d.enum = nil
	}
}

// SecretSource returns where the secret of a name in SecretRefs is:
// "env:NAME", "file:PATH" or "age:PATH". inputs are those of the run. It
// returns false if the workflow doesn't say; then the name must mean something
// where the run is executed.
func (w *Workflow) SecretSource(name string, inputs map[string]json.RawMessage) (source string, ok bool) {
	if input, isInput := strings.CutPrefix(name, "inputs."); isInput {
		value, given := inputs[input]
		return rawText(value), given && secretSource.MatchString(rawText(value))
	}
	source, ok = w.Secrets[name]
	return source, ok
}

// secret finds the value of ${secrets.X}.
func (f *filler) secret(path []step) (json.RawMessage, *missing) {
	if len(path) != 1 {
		return nil, &missing{text: "name one secret"}
	}
	return f.secretValue(path[0].key)
}

// TaskSecrets returns the names of the secrets that a call of the task needs,
// sorted, as they are in SecretRefs: those in its parameters, its environment
// and the workflow's. A task that waits, or runs a workflow, needs none.
func (w *Workflow) TaskSecrets(task int, r *Registry) ([]string, error) {
	t := w.Tasks[task]
	if len(w.SecretRefs) == 0 || t.Protocol == waitProtocol || t.Protocol == workflowProtocol {
		return nil, nil
	}
	names := map[string]bool{}
	if !t.Literal {
		tmpl, err := w.taskTemplate(task, r)
		if err != nil {
			return nil, fmt.Errorf("task %s: %w", t.ID, err)
		}
		for _, p := range tmpl.parts {
			w.noteSecret(p.ref, names)
		}
	}
	if err := w.toolSecrets(task, r, names); err != nil {
		return nil, fmt.Errorf("task %s: %w", t.ID, err)
	}
	for _, env := range []map[string]string{w.SecretEnv, t.SecretEnv} {
		for _, text := range env {
			pieces, _ := split(text, w.namesIn(task))
			for _, p := range pieces {
				w.noteSecret(p.ref, names)
			}
		}
	}
	return sortedKeys(names), nil
}

// noteSecret adds the secret that a reference means, if it means one.
func (w *Workflow) noteSecret(ref *reference, names map[string]bool) {
	switch {
	case ref == nil || len(ref.path) == 0:
	case ref.root == secretsRoot:
		names[ref.path[0].key] = true
	case ref.root == inputsRoot:
		if in := w.templates().names.inputs[ref.path[0].key]; in != nil && in.Secret {
			names["inputs."+in.Name] = true
		}
	}
}

// IsSecretSource tells whether the text says where a secret is: env:NAME,
// file:PATH or age:PATH.
func IsSecretSource(text string) bool { return secretSource.MatchString(text) }

// secretInput finds the value of an input that is a secret.
func (f *filler) secretInput(name string) (json.RawMessage, *missing) {
	if _, given := f.scope.Inputs[name]; !given {
		return nil, &missing{"the input was not given and has no default", sortedKeys(f.scope.Inputs)}
	}
	return f.secretValue("inputs." + name)
}

func (f *filler) secretValue(name string) (json.RawMessage, *missing) {
	value, ok := f.scope.Secrets[name]
	if !ok {
		return nil, &missing{text: "the secret is not there"}
	}
	return appendString(nil, value), nil
}

// readEnvironment reads variables: literal texts, and texts with secrets.
func (c *compiler) readEnvironment(key string, v *node) (env, secret map[string]string) {
	if v.kind != mapKind {
		c.mismatch(key, v, "a map of variables")
		return nil, nil
	}
	env = make(map[string]string, len(v.members))
	for _, m := range v.members {
		switch {
		case m.key == "" || strings.ContainsAny(m.key, "=\x00"):
			c.problemAt(m.line, m.col, quoted(m.key)+" can't be the name of a variable", "")
		case m.value.kind == nullKind:
			env[m.key] = ""
		case !m.value.scalar():
			c.mismatch(key+"."+m.key, m.value, "text")
		case strings.ContainsRune(m.value.text, 0):
			c.problem(m.value, key+"."+m.key+" holds a NUL character", "")
		case hasReference(m.value.text):
			c.variables = append(c.variables, m.value)
			if secret == nil {
				secret = map[string]string{}
			}
			secret[m.key] = m.value.text
		default:
			env[m.key] = unescape(m.value.text)
		}
	}
	return env, secret
}

// secretVariables looks up the secrets in env.
func (c *compiler) secretVariables() {
	u := &use{what: "env", secrets: true}
	for _, n := range c.variables {
		pieces, wrong := split(n.text, c.names)
		for _, w := range wrong {
			c.problem(n, w.text, w.hint)
		}
		for _, p := range pieces {
			switch {
			case p.ref == nil:
			case p.ref.root == secretsRoot || p.ref.root == inputsRoot && c.isSecretInput(p.ref):
				c.path(n, p.ref, u)
			default:
				c.problem(n, fmt.Sprintf("${%s}: env takes only literal text and secrets", shorten(p.ref.text)), "write $${ for the text ${")
			}
		}
	}
}

func (c *compiler) isSecretInput(ref *reference) bool {
	return len(ref.path) > 0 && c.inputs[ref.path[0].key] != nil && c.inputs[ref.path[0].key].Secret
}

// Environment returns the environment variables of a task, those of the
// workflow included, with secrets filled in from s.Secrets. It is for the call
// alone. The code of errors is TASK_PARAMETER_ERROR.
func Environment(w *Workflow, task int, s *Scope) (map[string]string, *Error) {
	t := w.Tasks[task]
	env := map[string]string{}
	for _, from := range []struct{ plain, secret map[string]string }{{w.Env, w.SecretEnv}, {t.Env, t.SecretEnv}} {
		for name, value := range from.plain {
			env[name] = value
		}
		for _, name := range sortedKeys(from.secret) {
			f := w.filler(s, t)
			f.what = "env." + name
			raw, err := w.fillText(f, appendString(nil, from.secret[name]), task)
			if err != nil {
				return nil, err
			}
			if env[name] = rawText(raw); strings.ContainsRune(env[name], 0) {
				return nil, Errorf(TaskParameterError, "task %s: the variable %s holds a NUL character", t.ID, quoted(name))
			}
		}
	}
	return env, nil
}

// sortedSet returns the indexes in order, each once.
func sortedSet(is []int) []int {
	slices.Sort(is)
	return slices.Compact(is)
}
