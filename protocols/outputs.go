package protocols

// outputs reads the run's result: a map, usually of references.
func (c *compiler) outputs(n *node) {
	if n == nil {
		return
	}
	if n.kind != mapKind {
		c.mismatch("outputs", n, "a map of names")
		return
	}
	if len(c.w.Tasks) > 0 { // else it is a batch: Expand judges them, it knows the tasks
		c.references(n, &use{what: "outputs"})
	}
	for _, m := range n.members {
		c.w.Outputs = append(c.w.Outputs, Output{Name: unescape(m.key), Value: m.value.appendJSON(nil, escapes{keys: true})})
	}
}

// envRefs returns the variables that must come from the caller's environment.
func (c *compiler) envRefs() []string {
	return sortedKeys(c.env)
}
