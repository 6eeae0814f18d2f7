package cli

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file runs workflows that a command makes itself, of its flags. They are
// runs like any other: listed, told in history, resumed.

// made is such a workflow.
type made struct {
	name     string // of the command
	document map[string]any
	inputs   []string // "name=value"
	patience patience
	show     func(*replay.RunView) error // prints what became of it
	begun    func(*server.SubmitParams)  // is told what is submitted; may be nil
}

// runMade runs it and prints what became of it.
func (s *session) runMade(m made) error {
	data, err := json.Marshal(m.document)
	if err != nil {
		return err
	}
	f := &workflowFile{name: m.name, data: data, dir: s.env.cwd, cwd: s.env.cwd}
	submission, c, err := s.submissionOf(f, m.name, wishes{inputs: m.inputs, priority: "normal"})
	if err != nil {
		return placeless(err, m.name)
	}
	if submission.Secrets, err = s.secretsFor(c, submission); err != nil {
		return err
	}
	if m.begun != nil {
		m.begun(submission)
	}
	return s.carry(c, m.patience, func(ctx context.Context, store *client.Client) (errand, error) {
		var started server.SubmitResult
		err := store.Call(ctx, server.WorkflowSubmit, submission, &started)
		return errand{ids: []string{started.ID}, show: m.show}, err
	})
}

// placeless takes the places out of problems with a file that nobody sees.
func placeless(err error, name string) error {
	var ps protocols.Problems
	if !errors.As(err, &ps) {
		return err
	}
	told := make(protocols.Problems, len(ps))
	for i, p := range ps {
		if p.File == name {
			p.File, p.Line, p.Col = "gleitzeit "+name, 0, 0
		}
		told[i] = p
	}
	return told
}

// literal writes text so that nothing in it is a reference.
func literal(text string) string { return strings.ReplaceAll(text, "${", "$${") }

// set adds what isn't empty to a map.
func set[T comparable](m map[string]any, key string, value T) {
	var none T
	if value != none {
		m[key] = value
	}
}
