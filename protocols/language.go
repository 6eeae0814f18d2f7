package protocols

// language holds the tables of every map that a workflow file is made of.
type language struct {
	workflow table[*parts]
	task     table[*draft]
	retry    table[*Retry]
	foreach  table[*foreachDraft]
	repeat   table[*repeatDraft]
	cache    table[*cacheDraft]
	budget   table[*Budget]
	limits   table[*Limits]
	schedule table[*Schedule]
	input    table[*inputDraft]
	batch    table[*Batch]
	tool     table[*toolDraft]
}

func newLanguage() *language {
	l := &language{
		retry:    newTable("retry", retryKeys()),
		foreach:  newTable("foreach", foreachKeys()),
		repeat:   newTable("repeat", repeatKeys()),
		cache:    newTable("cache", cacheKeys()),
		budget:   newTable("budget", budgetKeys()),
		limits:   newTable("limits", limitsKeys()),
		schedule: newTable("schedule", scheduleKeys()),
		input:    newTable("an input", inputKeys()),
		batch:    newTable("batch", batchKeys()),
		tool:     newTable("a tool", toolKeys()),
	}
	l.task = newTable("a task", taskKeys(l))
	l.workflow = newTable("a workflow", workflowKeys(l))
	l.task.other, l.workflow.other = l.workflow.level, l.task.level
	return l
}

// Schemas of values that several keys share, for Schema.
const (
	schemaText      = `{"type":"string"}`
	schemaLabel     = `{"type":["string","number","boolean"]}`
	schemaTexts     = `{"anyOf":[{"type":"string"},{"type":"array","items":{"type":["string","number","boolean"]}}]}`
	schemaMap       = `{"type":"object"}`
	schemaBool      = `{"type":"boolean"}`
	schemaCount     = `{"type":"integer","minimum":1}`
	schemaDuration  = `{"type":["number","string"],"description":"Seconds, or a duration such as \"90s\"."}`
	schemaVariables = `{"type":"object","additionalProperties":{"type":["string","number","boolean","null"]}}`
	schemaPriority  = `{"enum":["low","normal","high","urgent",1,2,3]}`
)

// parts is what the workflow's map holds before its pieces are put together.
type parts struct {
	*Workflow
	tasks    *node
	inputs   *node
	outputs  *node
	batch    *node
	template *node
	isBatch  bool
	protocol member // of a batch
	hooks    map[Hook]member
	priority Priority
}

func workflowKeys(l *language) []key[*parts] {
	none := func(*compiler, *parts, string, *node) {}
	hook := func(h Hook, doc string) key[*parts] {
		return key[*parts]{spelling{name: string(h), doc: doc, inside: l.task.level, many: true}, func(_ *compiler, p *parts, k string, v *node) {
			if p.hooks == nil {
				p.hooks = map[Hook]member{}
			}
			p.hooks[h] = member{key: k, value: v, line: v.line, col: v.col}
		}}
	}
	wrong := func(hint string, name string) key[*parts] {
		return key[*parts]{spelling{name: name, state: elsewhere, hint: hint}, none}
	}
	nothing := func(name string) key[*parts] {
		return key[*parts]{spelling{name: name, state: ignored, hint: "it did nothing in the original either"}, none}
	}
	return []key[*parts]{
		{spelling{name: "name", doc: "The workflow's label.", schema: schemaLabel},
			func(c *compiler, p *parts, k string, v *node) { p.Name, _ = c.label(k, v) }},
		{spelling{name: "id", doc: "The workflow's key.", schema: schemaLabel},
			func(c *compiler, p *parts, k string, v *node) { p.ID, _ = c.label(k, v) }},
		{spelling{name: "description", doc: "What the workflow is for.", schema: schemaText},
			func(c *compiler, p *parts, k string, v *node) { p.Description, _ = c.text(k, v) }},
		{spelling{name: "metadata", doc: "Anything to carry along.", schema: schemaMap},
			func(c *compiler, p *parts, k string, v *node) { p.Metadata, _ = c.object(k, v) }},
		{spelling{name: "tags", doc: "Words to find the workflow by.", schema: schemaTexts},
			func(c *compiler, p *parts, k string, v *node) { ns, _ := c.texts(k, v); p.Tags = texted(ns) }},
		{spelling{name: "inputs", doc: "What a run is given: a map of typed inputs.", inside: l.input.level, many: true},
			func(c *compiler, p *parts, _ string, v *node) { p.inputs = v }},
		{spelling{name: "env", doc: "Environment variables of all tasks.", schema: schemaVariables},
			func(c *compiler, p *parts, k string, v *node) { p.Env, p.SecretEnv = c.readEnvironment(k, v) }},
		{spelling{name: "timeout", aliases: []string{"timeout_sec"}, doc: "How long a run may take.", schema: schemaDuration},
			func(c *compiler, p *parts, k string, v *node) { p.Timeout, _ = c.duration(k, v, 1) }},
		{spelling{name: "error_strategy", aliases: []string{"error_policy"}, doc: "What a failed task does to the others: stop or continue.", schema: `{"enum":["stop","continue"]}`},
			func(c *compiler, p *parts, k string, v *node) {
				s, _ := c.choice(k, v, string(Stop), string(Continue))
				p.ErrorStrategy = ErrorStrategy(s)
			}},
		{spelling{name: "max_parallel", aliases: []string{"max_parallel_tasks"}, doc: "Running tasks of one run at once.", schema: schemaCount},
			func(c *compiler, p *parts, k string, v *node) { p.MaxParallel, _ = c.count(k, v) }},
		{spelling{name: "priority", doc: "The priority of tasks that have none of their own.", schema: schemaPriority},
			func(c *compiler, p *parts, k string, v *node) { p.priority = c.priority(k, v) }},
		{spelling{name: "tasks", aliases: []string{"steps"}, doc: "The tasks.", inside: l.task.level, many: true},
			func(c *compiler, p *parts, _ string, v *node) { p.tasks = v }},
		{spelling{name: "outputs", doc: "The run's result: a map of references.", schema: schemaMap},
			func(c *compiler, p *parts, _ string, v *node) { p.outputs = v }},
		{spelling{name: "type", doc: "batch: one task for each file.", schema: `{"enum":["batch"]}`},
			func(c *compiler, p *parts, k string, v *node) { _, p.isBatch = c.choice(k, v, "batch") }},
		{spelling{name: "batch", doc: "Which files a batch is for.", inside: l.batch.level},
			func(c *compiler, p *parts, _ string, v *node) { p.batch = v }},
		{spelling{name: "template", doc: "The task that a batch makes for each file: keys of a task, and parameters.", schema: schemaMap},
			func(c *compiler, p *parts, _ string, v *node) { p.template = v }},
		{spelling{name: "protocol", doc: "The protocol of a batch.", schema: schemaText},
			func(c *compiler, p *parts, k string, v *node) { p.protocol = member{key: k, value: v} }},

		{spelling{name: "secrets", doc: "Where secrets come from: env:NAME, file:PATH or age:PATH by the name in ${secrets.NAME}.", schema: schemaSecrets},
			func(c *compiler, p *parts, k string, v *node) { c.secrets(k, v) }},
		{spelling{name: "schedule", doc: "When runs start by themselves.", inside: l.schedule.level, schema: schemaText},
			func(c *compiler, p *parts, _ string, v *node) { p.Schedule = c.schedule(v) }},
		{spelling{name: "limits", doc: "Tighter limits than the configuration's.", inside: l.limits.level},
			func(c *compiler, p *parts, _ string, v *node) { p.Limits = c.limits(v) }},
		{spelling{name: "budget", doc: "What the run may cost.", inside: l.budget.level},
			func(c *compiler, p *parts, _ string, v *node) { p.Budget = c.budget(v) }},
		hook(OnSuccess, "Tasks at the end of a run that succeeded."),
		hook(OnFailure, "Tasks at the end of a run that failed."),
		hook(Finally, "Tasks at the end of every run."),

		nothing("version"),
		nothing("wait_for_completion"),
		nothing("providers"),

		wrong("did you mean inputs?", "params"),
		wrong("did you mean inputs?", "parameters"),
		wrong("did you mean inputs?", "with"),
		wrong("did you mean error_strategy?", "on_error"),
	}
}

// priority reads a priority: its name, or the original's numbers.
func (c *compiler) priority(k string, v *node) Priority {
	p, err := parsePriority(v.text)
	if !v.scalar() || v.kind == boolKind || err != nil {
		c.problem(v, fmtPriority(k, v), Suggest(v.text, priorityNames[:]))
		return Normal
	}
	return p
}

func fmtPriority(k string, v *node) string {
	got := v.kind.String()
	if v.scalar() {
		got = quoted(v.text)
	}
	return k + " must be low, normal, high or urgent (or 1 for high, 2 for normal, 3 for low), not " + got
}

func retryKeys() []key[*Retry] {
	return []key[*Retry]{
		{spelling{name: "max_attempts", doc: "How often a task is tried, the first time included.", schema: schemaCount},
			func(c *compiler, r *Retry, k string, v *node) {
				if n, ok := c.count(k, v); ok {
					r.MaxAttempts = n
				}
			}},
		{spelling{name: "backoff", aliases: []string{"backoff_strategy"}, doc: "How the delays grow.", schema: `{"enum":["exponential","linear","fixed"]}`},
			func(c *compiler, r *Retry, k string, v *node) {
				if s, ok := c.choice(k, v, string(Exponential), string(Linear), string(Fixed)); ok {
					r.Backoff = Backoff(s)
				}
			}},
		{spelling{name: "base_delay", doc: "The first delay.", schema: schemaDuration},
			func(c *compiler, r *Retry, k string, v *node) {
				if d, ok := c.duration(k, v, 0); ok {
					r.BaseDelay = d
				}
			}},
		{spelling{name: "max_delay", doc: "The longest delay.", schema: schemaDuration},
			func(c *compiler, r *Retry, k string, v *node) {
				if d, ok := c.duration(k, v, 1); ok {
					r.MaxDelay = d
				}
			}},
		{spelling{name: "deadline", doc: "How long after the start of the first attempt another may start.", schema: schemaDuration},
			func(c *compiler, r *Retry, k string, v *node) {
				if d, ok := c.duration(k, v, 1); ok {
					r.Deadline = d
				}
			}},
		{spelling{name: "jitter", doc: "Adds 10 to 30 % to each delay, at random.", schema: schemaBool},
			func(c *compiler, r *Retry, k string, v *node) {
				if b, ok := c.boolean(k, v); ok {
					r.Jitter = b
				}
			}},
		{spelling{name: "on", doc: "Which kinds of failure are tried again.", schema: schemaClasses()},
			func(c *compiler, r *Retry, k string, v *node) { r.On = c.classes(k, v) }},
	}
}

// classes reads a list of failure classes.
func (c *compiler) classes(k string, v *node) []Class {
	nodes, ok := c.texts(k, v)
	if ok && len(nodes) == 0 {
		c.problem(v, k+" is empty", "leave it out for every failure that may pass")
	}
	var on []Class
	for _, n := range nodes {
		if s, ok := c.choice(k, n, classNames()...); ok {
			on = append(on, Class(s))
		}
	}
	return on
}
