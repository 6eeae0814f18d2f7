package cli

import (
	"fmt"
	"io"
	"time"

	"gleitzeit/protocols"
)

// validateCmd checks workflow files.
type validateCmd struct {
	Files   []string      `arg:"" name:"file" help:"Workflow files; - is standard input."`
	Ask     bool          `help:"Ask the MCP servers for their tools and check calls of them; servers are started for it."`
	Timeout time.Duration `default:"20s" placeholder:"TIME" help:"How long --ask waits for the servers."`
}

// Help shows how it is used.
func (validateCmd) Help() string {
	return `Every problem is told at once as file:line:col: text. Files that tasks name must be
there, too. With problems the exit code is 2; warnings are no problems.

Examples:

	gleitzeit validate flow.yaml
	gleitzeit validate --ask flow.yaml
	gleitzeit validate examples/*.yaml -o json`
}

// verdict is what there is to say of one file.
type verdict struct {
	File     string             `json:"file"`
	Valid    bool               `json:"valid"`
	Problems protocols.Problems `json:"problems"`
	Warnings protocols.Problems `json:"warnings"`
	name     string
	tasks    int
}

// Run does it.
func (c *validateCmd) Run(s *session) error {
	registries := map[string]*protocols.Registry{} // by folder
	code := exitOK
	var verdicts []verdict
	for _, file := range c.Files {
		f, err := readWorkflow(s.env, file)
		if err != nil {
			return err
		}
		if registries[f.dir] == nil {
			registries[f.dir] = s.registry(f.dir)
			if err := c.ask(s, f.dir, registries[f.dir]); err != nil {
				return err
			}
		}
		v := s.judge(f, registries[f.dir])
		if !v.Valid {
			code = exitUsage
		}
		verdicts = append(verdicts, v)
	}
	if s.print.format == "text" {
		s.tellVerdicts(verdicts)
	} else if err := s.print.show(verdicts, nil); err != nil {
		return err
	}
	return silently(code)
}

// ask has the MCP servers asked, if that is wanted.
func (c *validateCmd) ask(s *session, dir string, registry *protocols.Registry) error {
	if !c.Ask {
		return nil
	}
	unasked, err := s.askServers(dir, registry, c.Timeout)
	for _, w := range unasked {
		s.print.say("%s", s.print.errInk.yellow(clean(w.Error())))
	}
	return err
}

// judge says all there is to say of a file without a configuration, which is
// looked at only for secrets that the file doesn't declare.
func (s *session) judge(f *workflowFile, registry *protocols.Registry) verdict {
	document, _ := protocols.Parse(f.name, f.data)
	workflow, problems := registry.Compile(document)
	if workflow != nil && workflow.Batch != nil {
		var more protocols.Problems
		workflow, more = f.expand(registry, workflow)
		problems = append(problems, more...)
	}
	v := verdict{File: f.name, Warnings: protocols.Problems{}}
	if workflow != nil {
		_, absent := f.capture(workflow.Files)
		problems = append(problems, absent...)
		problems = append(problems, s.unknownSecrets(f, workflow)...)
		problems = append(append(problems, badSchedule(f, workflow)...), aboutSchedule(f, workflow)...)
		v.name, v.tasks = workflow.Name, len(workflow.Tasks)
	}
	v.Problems = append(protocols.Problems{}, problems.Errors()...)
	v.Warnings = append(v.Warnings, problems.Warnings()...)
	v.Valid = len(v.Problems) == 0
	return v
}

// tellVerdicts puts problems and warnings where errors go, and the good news
// where results go.
func (s *session) tellVerdicts(verdicts []verdict) {
	p := s.print
	for _, v := range verdicts {
		for _, w := range v.Warnings {
			p.say("%s", p.errInk.yellow(clean(w.Error())))
		}
		for _, problem := range v.Problems {
			p.insist("%s", clean(problem.Error()))
		}
		if v.Valid && !p.quiet {
			_ = p.show(nil, func(w io.Writer) {
				fmt.Fprintf(w, "%s: %s, %q with %s\n", v.File, p.outInk.green("valid"), v.name, plural(v.tasks, "task"))
			})
		}
	}
}
