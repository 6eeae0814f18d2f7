package cli

import (
	"gleitzeit/protocols"
)

// graphCmd draws a workflow.
type graphCmd struct {
	File string `arg:"" help:"The workflow file; - is standard input."`
}

// graphFormats are the formats that only graph has.
var graphFormats = []string{"mermaid", "dot"}

// Help shows how it is used.
func (graphCmd) Help() string {
	return `Besides the usual formats, -o may be mermaid or dot.

Examples:

	gleitzeit graph flow.yaml
	gleitzeit graph flow.yaml -o mermaid
	gleitzeit graph flow.yaml -o dot | dot -Tsvg > flow.svg`
}

// Run does it.
func (c *graphCmd) Run(s *session) error {
	workflow, err := s.compile(c.File)
	if err != nil {
		return err
	}
	g := workflow.Graph()
	switch s.print.format {
	case "mermaid":
		return s.print.show(nil, lines(g.Mermaid()))
	case "dot":
		return s.print.show(nil, lines(g.Dot()))
	}
	return s.print.show(g, lines(clean(g.Text())))
}

// compile reads and checks a workflow file, batches expanded.
func (s *session) compile(file string) (*protocols.Workflow, error) {
	f, err := readWorkflow(s.env, file)
	if err != nil {
		return nil, err
	}
	registry := s.registry(f.dir)
	document, _ := protocols.Parse(f.name, f.data)
	workflow, problems := registry.Compile(document)
	if err := s.tell(problems); err != nil {
		return nil, err
	}
	workflow, problems = f.expand(registry, workflow)
	return workflow, s.tell(problems)
}
