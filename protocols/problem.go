package protocols

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a workflow file, and where.
type Problem struct {
	File string `json:"file,omitempty"`
	// Line and Col count from 1, in characters; 0 means that the problem has
	// no place, as after Expand.
	Line int    `json:"line,omitempty"`
	Col  int    `json:"col,omitempty"`
	Text string `json:"text"`
	// Hint says what to do about it, "" when there is nothing better to say.
	Hint string `json:"hint,omitempty"`
	// Warning tells that the workflow can run all the same.
	Warning bool `json:"warning,omitempty"`
}

// Error returns the problem on one line, as "flow.yaml:12:3: text (hint)".
func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File + ":")
	}
	if p.Line > 0 {
		b.WriteString(strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Col) + ":")
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	if p.Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(p.Text)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// Problems are everything that is wrong with a workflow file, in its order.
// It is an error to be returned as one only if Errors is not empty: see Err.
type Problems []Problem

// maxProblems is how many problems of one file are told.
const maxProblems = 1000

// Error returns one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Errors returns the problems that keep the workflow from running.
func (ps Problems) Errors() Problems { return ps.only(false) }

// Warnings returns the problems that don't.
func (ps Problems) Warnings() Problems { return ps.only(true) }

// Err returns the errors among ps as an error, nil if there are none.
func (ps Problems) Err() error {
	if es := ps.Errors(); len(es) > 0 {
		return es
	}
	return nil
}

func (ps Problems) only(warning bool) Problems {
	var some Problems
	for _, p := range ps {
		if p.Warning == warning {
			some = append(some, p)
		}
	}
	return some
}

// sorted returns ps by place, each once, and no more than can be read.
func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	ps = slices.Compact(ps)
	if more := len(ps) - maxProblems; more > 0 {
		last := ps[maxProblems]
		last.Text, last.Hint, last.Warning = fmt.Sprintf("and %d more problems from here on", more), "", false
		ps = append(ps[:maxProblems:maxProblems], last)
	}
	return ps
}
