package protocols

import (
	"fmt"
	"slices"
)

// draft is a task whose names have not been looked up yet.
type draft struct {
	*Task
	at           *node // the task's map
	idAt         *node // nil if there is none, as below
	nameAt       *node
	protocol     *node
	method       *node
	parameters   *node
	dependencies []*node
	condition    *node
	foreach      *foreachDraft
	repeat       *repeatDraft
	cache        *cacheDraft
	outputSchema *node
	idleTimeout  *node
	hasPriority  bool
	arguments    *argsDraft // of an agent's tool; nil for a task
}

// place returns the node that a problem with the task as a whole is told at.
func (d *draft) place() *node {
	for _, n := range []*node{d.idAt, d.nameAt} {
		if n != nil {
			return n
		}
	}
	return d.at
}

func taskKeys(l *language) []key[*draft] {
	none := func(*compiler, *draft, string, *node) {}
	return []key[*draft]{
		{spelling{name: "name", doc: "The task's label.", schema: schemaLabel},
			func(c *compiler, d *draft, k string, v *node) { d.nameAt = v; d.Name, _ = c.label(k, v) }},
		{spelling{name: "id", doc: "What references and dependencies call the task; else the name.", schema: schemaLabel},
			func(c *compiler, d *draft, k string, v *node) { d.idAt = v; d.ID, _ = c.label(k, v) }},
		{spelling{name: "description", doc: "What the task is for.", schema: schemaText},
			func(c *compiler, d *draft, k string, v *node) { d.Description, _ = c.text(k, v) }},
		{spelling{name: "metadata", doc: "Anything to carry along.", schema: schemaMap},
			func(c *compiler, d *draft, k string, v *node) { d.Metadata, _ = c.object(k, v) }},
		{spelling{name: "tags", doc: "Words to find the task by.", schema: schemaTexts},
			func(c *compiler, d *draft, k string, v *node) { ns, _ := c.texts(k, v); d.Tags = texted(ns) }},
		{spelling{name: "protocol", doc: "The protocol; else the method's first part tells it.", schema: schemaText},
			func(c *compiler, d *draft, k string, v *node) {
				if _, ok := c.text(k, v); ok {
					d.protocol = v
				}
			}},
		{spelling{name: "method", aliases: []string{"action", "uses"}, doc: "What is done.", schema: schemaText},
			func(c *compiler, d *draft, k string, v *node) { d.method = v }},
		{spelling{name: "provider", doc: "The provider or MCP server that does it, or several in the order of preference; else any that can.", schema: schemaTexts},
			func(c *compiler, d *draft, k string, v *node) {
				if v.kind == listKind {
					d.providers(c, k, v)
					return
				}
				d.Provider, _ = c.label(k, v)
			}},
		{spelling{name: "parameters", aliases: []string{"params", "with"}, doc: "The method's parameters.", schema: schemaMap},
			func(c *compiler, d *draft, k string, v *node) {
				if v.kind != mapKind {
					c.mismatch(k, v, "a map")
					return
				}
				d.parameters = v
			}},
		{spelling{name: "dependencies", aliases: []string{"depends", "needs", "depends_on"}, doc: "Tasks that must have ended first.", schema: schemaTexts},
			func(c *compiler, d *draft, k string, v *node) { d.dependencies, _ = c.texts(k, v) }},
		{spelling{name: "env", doc: "Environment variables of the task.", schema: schemaVariables},
			func(c *compiler, d *draft, k string, v *node) { d.Env, d.SecretEnv = c.readEnvironment(k, v) }},
		{spelling{name: "priority", doc: "Ready tasks with a higher one go first.", schema: schemaPriority},
			func(c *compiler, d *draft, k string, v *node) { d.hasPriority, d.Priority = true, c.priority(k, v) }},
		{spelling{name: "timeout", aliases: []string{"timeout_sec"}, doc: "How long one attempt may take.", schema: schemaDuration},
			func(c *compiler, d *draft, k string, v *node) { d.Timeout, _ = c.duration(k, v, 1) }},
		{spelling{name: "retry", aliases: []string{"retry_config", "retry_policy"}, doc: "How a failed attempt is tried again; {} for the defaults.", inside: l.retry.level, emptyHint: "write retry: {} for the defaults"},
			func(c *compiler, d *draft, _ string, v *node) { d.Retry = c.retry(v) }},
		{spelling{name: "continue_on_error", aliases: []string{"allow_failure", "continue-on-error"}, doc: "The run goes on when the task fails.", schema: schemaBool},
			func(c *compiler, d *draft, k string, v *node) { d.ContinueOnError, _ = c.boolean(k, v) }},
		{spelling{name: "on_crash", doc: "What becomes of an attempt that had started when the machine died.", schema: `{"enum":["retry","fail","skip","ask"]}`},
			func(c *compiler, d *draft, k string, v *node) {
				s, _ := c.choice(k, v, string(CrashRetry), string(CrashFail), string(CrashSkip), string(CrashAsk))
				d.OnCrash = OnCrash(s)
			}},

		{spelling{name: "if", aliases: []string{"when"}, doc: "An expression; the task is skipped when it is false.", schema: schemaCondition, emptyHint: "write the condition, or leave the key out"},
			func(c *compiler, d *draft, k string, v *node) { d.condition = v }},
		{spelling{name: "foreach", aliases: []string{"for_each"}, doc: "One instance of the task for each item.", inside: l.foreach.level, schema: schemaShortForeach, emptyHint: "write the items, or leave the key out"},
			func(c *compiler, d *draft, _ string, v *node) { c.foreach(d, v) }},
		{spelling{name: "repeat", aliases: []string{"repeat_policy"}, doc: "Again until a condition holds.", inside: l.repeat.level, emptyHint: "write until and max_iterations, or leave the key out"},
			func(c *compiler, d *draft, _ string, v *node) { c.repeat(d, v) }},
		{spelling{name: "cache", aliases: []string{"memoize"}, doc: "An earlier result of the same call may stand for this one.", inside: l.cache.level, schema: schemaBool, emptyHint: "write cache: true for the defaults"},
			func(c *compiler, d *draft, _ string, v *node) { c.cache(d, v) }},
		{spelling{name: "limits", doc: "Tighter limits than the configuration's.", inside: l.limits.level},
			func(c *compiler, d *draft, _ string, v *node) { d.Limits = c.limits(v) }},
		{spelling{name: "budget", doc: "What the task may cost.", inside: l.budget.level},
			func(c *compiler, d *draft, _ string, v *node) { d.Budget = c.budget(v) }},

		{spelling{name: "output_schema", aliases: []string{"response_format"}, doc: "JSON Schema of the result; a model is told it.", schema: schemaMap, emptyHint: "write output_schema: {type: json_object} for any JSON"},
			func(c *compiler, d *draft, k string, v *node) {
				d.outputSchema, d.OutputSchema = v, c.outputSchema(k, v)
			}},
		{spelling{name: "idle_timeout", doc: "How long an attempt may show no sign of life.", schema: schemaDuration},
			func(c *compiler, d *draft, k string, v *node) {
				d.idleTimeout = v
				d.IdleTimeout, _ = c.duration(k, v, 1)
			}},
		{spelling{name: "secrets", state: elsewhere, hint: "it belongs to the workflow; a task says ${secrets.NAME}"}, none},
	}
}

// retry reads a retry block over the defaults.
func (c *compiler) retry(v *node) *Retry {
	r := DefaultRetry()
	if v.kind == numberKind {
		c.problem(v, "retry must be a map of keys, not "+v.text, "write retry: {max_attempts: "+v.text+"}")
		return nil
	}
	readMap(c, v, c.lang.retry, r)
	return r
}

// providers reads a list of providers in the order of preference.
func (d *draft) providers(c *compiler, k string, v *node) {
	var names []string
	for _, item := range v.items {
		name, ok := c.label(k, item)
		if !ok {
			return
		}
		if slices.Contains(names, name) {
			c.problem(item, fmt.Sprintf("%s: %q is named twice", k, name), "")
			return
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		c.problem(v, k+" is empty", "leave it out for any that is fit")
		return
	}
	d.Provider, d.Fallbacks = names[0], names[1:]
}
