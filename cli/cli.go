// Package cli is the program as a person meets it: its words (the grammar
// below), one file for each noun, one printer (print.go), one place for exit
// codes (exit.go) and one reader of the environment (environment.go).
//
// It knows nothing of stores and schedulers: whatever it does to runs goes
// through cli/client as JSON-RPC, to a process that holds the store already
// or to itself.
//
// Results go to standard output, everything else to standard error, so that a
// pipe gets the result alone.
package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"gleitzeit/providers"
)

// globals are the flags that every command has.
type globals struct {
	Output     string `group:"global" short:"o" placeholder:"FORMAT" default:"text" help:"How results are written: text, json, jsonl or yaml."`
	Store      string `group:"global" placeholder:"DIR" help:"Folder of the store (default: in the user's state folder)."`
	Backend    string `group:"global" placeholder:"NAME" help:"What keeps the store: pebble, sqlite, redis or memory."`
	SQLitePath string `group:"global" name:"sqlite-path" placeholder:"FILE" help:"File of a store of sqlite (default: log.db in the store's folder)."`
	RedisURL   string `group:"global" name:"redis-url" placeholder:"URL" help:"Where a store of redis lies: redis://HOST:PORT/DB?store=NAME."`
	ServerURL  string `group:"global" name:"server" placeholder:"URL" help:"A server to use instead of a store, http://HOST:PORT (also: GLEITZEIT_SERVER)."`
	Config     string `group:"global" placeholder:"FILE" help:"Configuration to use instead of gleitzeit.yaml and the user's own."`
	Mock       string `group:"global" placeholder:"FILE" help:"Scripted answers instead of those of real providers."`
	LogLevel   string `group:"global" placeholder:"LEVEL" help:"What to log on standard error: debug, info, warn or error."`
	Quiet      bool   `group:"global" short:"q" help:"Print results and errors only."`
	NoColor    bool   `group:"global" help:"No colours and no live view (also: NO_COLOR)."`
}

// grammar is all that the command understands.
type grammar struct {
	globals

	Run     runCmd      `cmd:"" group:"runs" help:"Run a workflow and print its result."`
	Exec    execCmd     `cmd:"" group:"runs" help:"Run a piece of Python and print its result."`
	Batch   batchCmd    `cmd:"" group:"runs" help:"Ask a model about each file of a folder."`
	Resume  resumeCmd   `cmd:"" group:"runs" help:"Go on with a run that was interrupted or whose process died, or with all."`
	Signal  signalCmd   `cmd:"" group:"runs" help:"Send a run a signal that a task of it waits for, or will."`
	Approve approveCmd  `cmd:"" group:"runs" help:"Approve what a task of a run asks for."`
	Reject  rejectCmd   `cmd:"" group:"runs" help:"Reject what a task of a run asks for."`
	History historyCmd  `cmd:"" group:"runs" help:"Show all that happened to a run."`
	Runs    workflowCmd `cmd:"" name:"workflow" group:"runs" help:"Submit, list, look at, pause and cancel runs."`

	Export exportCmd `cmd:"" group:"runs" help:"Write runs into a file, for another store."`
	Import importCmd `cmd:"" group:"runs" help:"Bring in the runs of such a file."`

	Schedule scheduleCmd `cmd:"" group:"runs" help:"Runs that begin by themselves."`

	Init     initCmd     `cmd:"" group:"files" help:"Write a workflow to start from."`
	Validate validateCmd `cmd:"" group:"files" help:"Check workflow files without running them."`
	Fmt      fmtCmd      `cmd:"" group:"files" help:"Rewrite workflow files with canonical keys."`
	Graph    graphCmd    `cmd:"" group:"files" help:"Draw the tasks of a workflow and what they wait for."`
	Schema   schemaCmd   `cmd:"" group:"files" help:"Print the JSON Schema of workflow files, for editors."`

	Dev        devCmd        `cmd:"" group:"program" help:"A server for whoever writes workflows: it shows what happens."`
	Server     serverCmd     `cmd:"" group:"program" help:"The process that stays: it carries runs out and lets schedules fire."`
	Worker     workerCmd     `cmd:"" group:"program" help:"Carry calls out for a server elsewhere, with the providers here."`
	MCP        mcpCmd        `cmd:"" name:"mcp" group:"program" help:"Workflows as tools of language models (Model Context Protocol)."`
	Token      tokenCmd      `cmd:"" group:"program" help:"Who may come in at a server over the network."`
	System     systemCmd     `cmd:"" group:"program" help:"The store and whoever holds it."`
	Doctor     doctorCmd     `cmd:"" group:"program" help:"Measure and ask how this setup is: store, disk, clock, limits, providers."`
	Provider   providerCmd   `cmd:"" group:"program" help:"What carries tasks out."`
	Settings   configCmd     `cmd:"" name:"config" group:"program" help:"The configuration."`
	Completion completionCmd `cmd:"" group:"program" help:"Print the completion script of a shell."`
	Version    versionCmd    `cmd:"" group:"program" help:"Print the version."`
	Complete   completeCmd   `cmd:"" name:"__complete" hidden:"" passthrough:"" help:"Answers the completion scripts."`
	Filters    filtersCmd    `cmd:"" name:"__filters" hidden:"" help:"Runs the filters of data/jq for another process of ours."`
}

// session is what a command works with.
type session struct {
	*globals
	env   *environment
	print *printer
	model *kong.Application

	workers *providers.Workers // that connect to this process
}

// Main carries a command line out and returns the exit code.
func Main(args []string) int {
	env := readEnvironment()
	var g grammar
	parser := newParser(&g)
	p := newPrinter(env, &g.globals)
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if err != nil {
		return misunderstood(p, err)
	}
	p = newPrinter(env, &g.globals)
	s := &session{globals: &g.globals, env: env, print: p, model: parser.Model, workers: providers.NewWorkers()}
	if err := s.checkFormat(command.Command()); err != nil {
		p.fail(err)
		return exitCode(err)
	}
	err = command.Run(s)
	if err != nil {
		p.fail(err)
	}
	return exitCode(err)
}

func newParser(g *grammar) *kong.Kong {
	return kong.Must(g,
		kong.Name("gleitzeit"),
		kong.Description("Runs workflows of language models, Python and tools, and lives through crashes.\n\n"+
			"Try: gleitzeit init hello && gleitzeit run hello.yaml"),
		kong.Vars{"id": idHelp},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "runs", Title: "Runs:"},
			{Key: "files", Title: "Workflow files:"},
			{Key: "program", Title: "The program:"},
			{Key: "global", Title: "Global flags:"},
		}))
}

// misunderstood tells what is wrong with the command line.
func misunderstood(p *printer, err error) int {
	p.fail(err)
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil {
		about := "gleitzeit"
		if c := parse.Context.Selected(); c != nil {
			about = c.FullPath()
		}
		p.insist("See: %s --help", about)
	}
	return exitUsage
}

func newPrinter(env *environment, g *globals) *printer {
	p := &printer{format: g.Output, out: env.stdout, err: env.stderr, quiet: g.Quiet}
	p.outInk = ink(!g.NoColor && env.colours(env.stdout))
	p.errInk = ink(!g.NoColor && env.colours(env.stderr))
	if p.outInk {
		enableEscapes(env.stdout)
	}
	if p.errInk {
		enableEscapes(env.stderr)
	}
	return p
}

// checkFormat refuses a format that the command doesn't have.
func (s *session) checkFormat(command string) error {
	known := formats
	if strings.HasPrefix(command, "graph") {
		known = slices.Concat(formats, graphFormats)
	}
	if strings.HasPrefix(command, "batch") {
		known = append(slices.Clone(formats), "md")
	}
	if slices.Contains(known, s.Output) {
		return nil
	}
	return usage(fmt.Errorf("--output: %q must be one of %s", s.Output, strings.Join(known, ", ")))
}

// config loads the effective configuration, about the workflow in dir if
// there is one, and tells what people should know of it.
func (s *session) config(dir string) (*config, error) {
	c, err := loadConfig(s.env, s.globals, dir)
	if err != nil {
		return nil, err
	}
	for _, n := range c.notices {
		s.print.say("%s", s.print.errInk.faint("note: "+n))
	}
	return c, nil
}

// lines is a text printed as it is.
func lines(text string) func(io.Writer) {
	return func(w io.Writer) { fmt.Fprintln(w, strings.TrimRight(text, "\n")) }
}
