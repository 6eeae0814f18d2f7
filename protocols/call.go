package protocols

import (
	"fmt"
	"strings"
)

// This file compiles what a task calls: its method.

// call finds a task's method and reads its parameters.
func (c *compiler) call(d *draft) {
	m := c.method(d)
	n := d.parameters
	if n == nil {
		n = &node{kind: mapKind, line: d.place().line, col: d.place().col}
	}
	if d.Method == AgentMethod {
		n = c.agent(d, n)
	}
	c.parameters(d, m, n, nil)
	c.tool(d, n)
	c.needsProvider(d)
}

// method finds the method that a task names, and completes protocol and
// method. It returns nil after it has said what is wrong.
func (c *compiler) method(d *draft) *Method {
	if d.method == nil {
		c.problem(d.place(), fmt.Sprintf("the task %s has no method", quoted(d.ID)), "")
		return nil
	}
	name := d.method.text
	if d.method.kind != stringKind || name == "" {
		c.mismatch("method", d.method, `a text such as "llm/chat"`)
		return nil
	}
	prefix, _, slashed := strings.Cut(name, "/")
	switch {
	case d.protocol != nil:
		d.Protocol = d.protocol.text
	case slashed:
		d.Protocol = prefix + "/v1"
	default:
		d.Protocol = "python/v1"
	}
	if c.registry.strangers {
		c.registry.Admit(d.Protocol)
	}
	if _, known := c.registry.Get(d.Protocol); !known {
		c.unknownProtocol(d)
		return nil
	}
	m, canonical, ok := c.registry.lookup(d.Protocol, name)
	if !ok {
		c.unknownMethod(d, name)
		return nil
	}
	d.Method = canonical
	if err := m.load(); err != nil {
		c.problem(d.method, err.Error(), "")
		return nil
	}
	return m
}

// lookup finds a protocol's method by its name, with or without the protocol's
// own name before it.
func (r *Registry) lookup(protocol, name string) (*Method, string, bool) {
	prefix, _, _ := strings.Cut(protocol, "/")
	for _, full := range []string{name, prefix + "/" + name} {
		if m, canonical, ok := r.Method(full); ok && m.protocol == protocol {
			return m, canonical, true
		}
	}
	return nil, "", false
}

func (c *compiler) unknownProtocol(d *draft) {
	var known []string
	for _, s := range c.registry.List() {
		known = append(known, s.Protocol)
	}
	at, text := d.method, fmt.Sprintf("unknown method %s: there is no protocol %s", quoted(d.method.text), quoted(d.Protocol))
	if d.protocol != nil {
		at, text = d.protocol, fmt.Sprintf("unknown protocol %s", quoted(d.Protocol))
	}
	hint := Suggest(d.Protocol, known)
	if hint == "" {
		for _, k := range known {
			if strings.HasPrefix(k, d.Protocol+"/") {
				hint = "did you mean " + k + "?"
			}
		}
	}
	if hint == "" {
		hint = thereAre(known)
	}
	c.problem(at, text, hint)
}

func (c *compiler) unknownMethod(d *draft, name string) {
	own := c.registry.methodNames(d.Protocol)
	prefix, _, _ := strings.Cut(d.Protocol, "/")
	hint := Suggest(name, own)
	if other := c.registry.protocolOf(name); hint == "" && other != "" {
		hint = fmt.Sprintf("it is a method of %s", other)
	}
	if hint == "" {
		hint = Suggest(prefix+"/"+name, own)
	}
	if hint == "" {
		hint = thereAre(own)
	}
	c.problem(d.method, fmt.Sprintf("unknown method %s: %s has none of that name", quoted(name), d.Protocol), hint)
}

// protocolOf returns the first protocol that has a method of the name, with or
// without its own name before it.
func (r *Registry) protocolOf(name string) string {
	for _, s := range r.List() {
		if _, _, ok := r.lookup(s.Protocol, name); ok {
			return s.Protocol
		}
	}
	return ""
}
