package cli

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"gleitzeit/replay"
)

// execCmd runs a piece of Python.
type execCmd struct {
	Code     string   `arg:"" optional:"" help:"The program; - is standard input."`
	File     given    `short:"f" placeholder:"FILE" help:"The file that holds the program, instead of CODE."`
	Input    []string `short:"i" sep:"none" placeholder:"NAME=VALUE" help:"A variable of the program: JSON, or else text."`
	Timeout  duration `placeholder:"TIME" help:"How long it may take: seconds, or 2m and the like."`
	Write    []string `sep:"none" placeholder:"DIR" help:"A folder that it may write."`
	Network  bool     `help:"It may reach the network."`
	Provider given    `placeholder:"NAME" help:"The provider that runs it."`
	patience
}

// Help shows how it is used.
func (execCmd) Help() string {
	return `What the program prints goes to standard output, and then its result, if it has one: what it
leaves in result, or else its last expression. It runs in the sandbox, in this folder.

It is a run like any other, of one task of python/execute: it is listed, its history is told,
and after a crash it can be resumed.

Examples:

	gleitzeit exec 'print("hello")'
	gleitzeit exec 'sum(range(n))' -i n=100
	gleitzeit exec -f report.py --write out --timeout 60
	gleitzeit exec - < script.py
	gleitzeit exec '{"n": 3}' -o json | jq .outputs.result

Exit codes: as those of gleitzeit run.`
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Run does it.
func (e *execCmd) Run(s *session) error {
	parameters := map[string]any{}
	switch {
	case (e.Code == "") == (e.File == ""):
		return usage(errors.New("give either the program or, with --file, the file that holds it"))
	case e.File != "":
		parameters["file"] = literal(string(e.File))
	case e.Code == "-":
		program, err := io.ReadAll(io.LimitReader(s.env.stdin, maxFile))
		if err != nil {
			return fmt.Errorf("read the program: %w", err)
		}
		parameters["code"] = literal(string(program))
	default:
		parameters["code"] = literal(e.Code)
	}
	inputs, context := map[string]any{}, map[string]any{}
	for _, input := range e.Input {
		name, _, _ := strings.Cut(input, "=")
		if !variableName.MatchString(name) {
			return usage(fmt.Errorf("input %q: write it as name=value, with a name that a variable can have", input))
		}
		inputs[name], context[name] = map[string]any{}, "${inputs."+name+"}"
	}
	if len(context) > 0 {
		parameters["context"] = context
	}
	if len(e.Write) > 0 {
		parameters["write"] = literals(e.Write)
	}
	set(parameters, "network", e.Network)
	set(parameters, "timeout", time.Duration(e.Timeout).Seconds())
	task := map[string]any{"id": "exec", "method": "python/execute", "parameters": parameters}
	set(task, "provider", string(e.Provider))
	return s.runMade(made{
		name: "exec",
		document: map[string]any{"name": "exec", "inputs": inputs, "tasks": []any{task},
			"outputs": map[string]any{"output": "${exec.output}", "result": "${exec.result}"}},
		inputs: e.Input, patience: e.patience, show: s.showExec,
	})
}

func literals(texts []string) []string {
	all := make([]string, len(texts))
	for i, text := range texts {
		all[i] = literal(text)
	}
	return all
}

// showExec prints what the program printed, and then its result.
func (s *session) showExec(v *replay.RunView) error {
	if !s.print.prose() || v.Status != replay.Completed {
		return s.result(v)
	}
	return s.print.show(nil, func(w io.Writer) {
		for _, part := range replay.Members(v.Outputs) {
			if text := replay.Text(part.Value); part.Name == "output" && text != "" || part.Name == "result" && string(part.Value) != "null" {
				fmt.Fprintln(w, strings.TrimSuffix(text, "\n"))
			}
		}
	})
}
