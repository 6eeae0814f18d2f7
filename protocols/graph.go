package protocols

import (
	"fmt"
	"slices"
	"strings"
)

// Graph is a workflow's tasks and what waits for what.
type Graph struct {
	Name  string      `json:"name"`
	Nodes []GraphNode `json:"nodes"`
	Edges []GraphEdge `json:"edges"`
}

// GraphNode is a task.
type GraphNode struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Method string `json:"method"`
	// Level is the length of the longest chain of tasks before it; those of
	// hooks come after all others.
	Level int `json:"level"`
	// Hook is set on tasks that run at the end of the run.
	Hook Hook `json:"hook,omitempty"`
}

// GraphEdge says that To waits for From; both are indexes of nodes.
type GraphEdge struct {
	From int `json:"from"`
	To   int `json:"to"`
	// Data tells that To uses From's result.
	Data bool `json:"data,omitempty"`
}

// Graph returns the workflow's graph. Nodes are in the order of the file.
func (w *Workflow) Graph() Graph {
	g := Graph{Name: w.Name, Nodes: make([]GraphNode, len(w.Tasks)), Edges: []GraphEdge{}}
	for i, t := range w.Tasks {
		g.Nodes[i] = GraphNode{ID: t.ID, Name: t.Name, Method: t.Method, Hook: t.Hook}
		uses := map[int]bool{}
		for _, d := range t.References {
			uses[d] = true
		}
		for _, d := range t.Dependencies {
			g.Edges = append(g.Edges, GraphEdge{From: d, To: i, Data: uses[d]})
		}
		for _, d := range t.References { // what a hook looks at has always ended
			if !slices.Contains(t.Dependencies, d) {
				g.Edges = append(g.Edges, GraphEdge{From: d, To: i, Data: true})
			}
		}
	}
	for _, i := range w.order() {
		for _, d := range w.Tasks[i].Dependencies {
			g.Nodes[i].Level = max(g.Nodes[i].Level, g.Nodes[d].Level+1)
		}
	}
	g.lowerHooks()
	return g
}

// lowerHooks puts the tasks of hooks below those that have ended before them.
func (g Graph) lowerHooks() {
	below := func(is func(Hook) bool, least int) {
		for i := range g.Nodes {
			if is(g.Nodes[i].Hook) {
				g.Nodes[i].Level += least
			}
		}
	}
	depth := func(is func(Hook) bool) int {
		deepest := -1
		for _, n := range g.Nodes {
			if is(n.Hook) {
				deepest = max(deepest, n.Level)
			}
		}
		return deepest + 1
	}
	main := func(h Hook) bool { return h == "" }
	outcome := func(h Hook) bool { return h == OnSuccess || h == OnFailure }
	last := func(h Hook) bool { return h == Finally }
	below(outcome, depth(main))
	below(last, max(depth(main), depth(outcome)))
}

// order returns the tasks' indexes so that each comes after those it waits for.
func (w *Workflow) order() []int {
	waits := make([]int, len(w.Tasks))
	next := make([][]int, len(w.Tasks))
	var ready []int
	for i, t := range w.Tasks {
		waits[i] = len(t.Dependencies)
		if waits[i] == 0 {
			ready = append(ready, i)
		}
		for _, d := range t.Dependencies {
			next[d] = append(next[d], i)
		}
	}
	for at := 0; at < len(ready); at++ {
		for _, i := range next[ready[at]] {
			if waits[i]--; waits[i] == 0 {
				ready = append(ready, i)
			}
		}
	}
	return ready
}

// Text returns the graph for a terminal: a block for each level, in which all
// tasks can run at once, and behind each task what it waits for.
func (g Graph) Text() string {
	var b strings.Builder
	b.WriteString(g.Name + "\n")
	wide, deep := 0, 0
	for _, n := range g.Nodes {
		wide, deep = max(wide, len([]rune(n.ID))), max(deep, n.Level)
	}
	wide = min(wide, 40)
	after := make([][]string, len(g.Nodes))
	for _, e := range g.Edges {
		after[e.To] = append(after[e.To], g.Nodes[e.From].ID)
	}
	levels := make([][]int, deep+1)
	for i, n := range g.Nodes {
		levels[n.Level] = append(levels[n.Level], i)
	}
	for l, nodes := range levels {
		for k, i := range nodes {
			head := ""
			if k == 0 {
				head = fmt.Sprint(l + 1)
			}
			line := fmt.Sprintf("%4s  %-*s  %s", head, wide, g.Nodes[i].ID, g.Nodes[i].Method)
			if h := g.Nodes[i].Hook; h != "" {
				line += "  (" + string(h) + ")"
			}
			if len(after[i]) > 0 {
				line += "  ← " + strings.Join(after[i], ", ")
			}
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// Mermaid returns the graph as a Mermaid flowchart. Dotted arrows are order
// alone, the others carry data.
func (g Graph) Mermaid() string {
	quote := strings.NewReplacer(`"`, "#quot;", "<", "#lt;", ">", "#gt;", "#", "#35;")
	var b strings.Builder
	b.WriteString("flowchart TD\n")
	for i, n := range g.Nodes {
		fmt.Fprintf(&b, "    t%d[\"%s<br/>%s\"]\n", i, quote.Replace(n.Name), quote.Replace(n.Method))
	}
	for _, e := range g.Edges {
		arrow := "-.->"
		if e.Data {
			arrow = "-->"
		}
		fmt.Fprintf(&b, "    t%d %s t%d\n", e.From, arrow, e.To)
	}
	return b.String()
}

// Dot returns the graph in Graphviz's language. Dashed arrows are order alone,
// the others carry data.
func (g Graph) Dot() string {
	quote := strings.NewReplacer(`"`, `\"`, `\`, `\\`)
	var b strings.Builder
	fmt.Fprintf(&b, "digraph \"%s\" {\n    node [shape=box];\n", quote.Replace(g.Name))
	for i, n := range g.Nodes {
		fmt.Fprintf(&b, "    t%d [label=\"%s\\n%s\"];\n", i, quote.Replace(n.Name), quote.Replace(n.Method))
	}
	for _, e := range g.Edges {
		style := " [style=dashed]"
		if e.Data {
			style = ""
		}
		fmt.Fprintf(&b, "    t%d -> t%d%s;\n", e.From, e.To, style)
	}
	b.WriteString("}\n")
	return b.String()
}
