package protocols

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// This file keeps references in a shell's script from becoming code: each is a
// variable of the environment, quoted as the place needs it where it stands.
//
//	script              what the shell gets                  and in its environment
//	cat ${file.result}  cat "${__gz_ref_0__}"                __gz_ref_0__=the value
//	"a ${x}", <<END     ${__gz_ref_0__}
//	'a ${x}'            'a '"${__gz_ref_0__}"''
//
// A shell reads a variable's value once and makes words of it, never code, with
// exceptions, where references are refused: arithmetic, declare -i and -n,
// subscripts, eval, trap, what stands behind sh -c, and the like.

// Shells are those whose scripts may hold references.
var Shells = map[string]syntax.LangVariant{
	"sh": syntax.LangPOSIX, "dash": syntax.LangPOSIX, "ash": syntax.LangPOSIX, "bash": syntax.LangBash,
	"ksh": syntax.LangMirBSDKorn, "mksh": syntax.LangMirBSDKorn,
}

// ShellScript returns a script for that shell, sh, bash or such, in which each
// of the placeholders, which are names for variables, is a variable that is
// quoted. It fails if a script with placeholders can't be read, or one of them
// stands where its value might become code.
func ShellScript(shell, script string, placeholders []string) (string, error) {
	found := occurrences(script, placeholders)
	if len(found) == 0 {
		return script, nil
	}
	tree, err := parseShell(shell, script)
	if err != nil {
		return "", err
	}
	b := &shellBinder{script: script, found: found, put: make([]string, len(found)), odd: oddVariables(tree)}
	syntax.Walk(tree, b.visit)
	var out strings.Builder
	at := 0
	for i, o := range found {
		if b.put[i] == "" && b.wrong == nil {
			b.refuse(o, "here")
		}
		out.WriteString(script[at:o.start])
		out.WriteString(b.put[i])
		at = o.end
	}
	if b.wrong != nil {
		return "", b.wrong
	}
	return out.String() + script[at:], nil
}

// CheckShell reads a script as far as that can be done for the shell: nil for
// other shells than Shells.
func CheckShell(shell, script string) error {
	if _, known := Shells[shell]; !known {
		return nil
	}
	_, err := parseShell(shell, script)
	return err
}

// parseShell takes for sh what bash understands, too: it is bash on many
// machines.
func parseShell(shell, script string) (*syntax.File, error) {
	language, known := Shells[shell]
	if !known {
		return nil, fmt.Errorf("references can't stand in a script for %s (give their values as env or args)", shell)
	}
	tree, err := syntax.NewParser(syntax.Variant(language), syntax.KeepComments(true)).Parse(strings.NewReader(script), "")
	if err != nil && shell == "sh" {
		if tree, other := syntax.NewParser(syntax.KeepComments(true)).Parse(strings.NewReader(script), ""); other == nil {
			return tree, nil
		}
	}
	return tree, shellFault(err)
}

// shellFault says where a script is wrong.
func shellFault(err error) error {
	var parse syntax.ParseError
	var language syntax.LangError
	switch {
	case errors.As(err, &parse):
		return fmt.Errorf("line %d, column %d of it: %s", parse.Pos.Line(), parse.Pos.Col(), parse.Text)
	case errors.As(err, &language):
		return fmt.Errorf("line %d, column %d of it: %s", language.Pos.Line(), language.Pos.Col(), language.Feature)
	}
	return err
}

// occurrence is where a placeholder stands in a script.
type occurrence struct {
	start, end int
	name       string
}

func occurrences(script string, names []string) (all []occurrence) {
	for _, name := range names {
		for at := 0; ; {
			i := strings.Index(script[at:], name)
			if i < 0 {
				break
			}
			all = append(all, occurrence{at + i, at + i + len(name), name})
			at += i + len(name)
		}
	}
	slices.SortFunc(all, func(a, b occurrence) int { return a.start - b.start })
	return all
}

// shellBinder walks through a script's tree.
type shellBinder struct {
	script string
	found  []occurrence
	put    []string // in place of each of found; "": not found in the tree
	stack  []syntax.Node
	odd    bool // there are variables whose values are read as arithmetic or names
	wrong  error
}

// oddVariables looks for declare -i and -n.
func oddVariables(tree *syntax.File) (odd bool) {
	syntax.Walk(tree, func(n syntax.Node) bool {
		if d, is := n.(*syntax.DeclClause); is && oddOptions(d) {
			odd = true
		}
		return true
	})
	return odd
}

func oddOptions(d *syntax.DeclClause) bool {
	return slices.ContainsFunc(d.Args, func(a *syntax.Assign) bool {
		return a.Naked && a.Value != nil && strings.HasPrefix(a.Value.Lit(), "-") && strings.ContainsAny(a.Value.Lit(), "in")
	})
}

func (b *shellBinder) visit(n syntax.Node) bool {
	if n == nil {
		b.stack = b.stack[:len(b.stack)-1]
		return true
	}
	b.stack = append(b.stack, n)
	switch n.(type) {
	case *syntax.Lit, *syntax.SglQuoted, *syntax.Comment:
		for i, o := range b.found {
			if int(n.Pos().Offset()) <= o.start && o.end <= int(n.End().Offset()) {
				b.put[i] = b.place(o)
			}
		}
	}
	return true
}

func (b *shellBinder) refuse(o occurrence, where string) {
	if b.wrong == nil {
		line := 1 + strings.Count(b.script[:o.start], "\n")
		b.wrong = fmt.Errorf("line %d of it: a reference can't stand %s: a shell would take it for more than a value there, or for none", line, where)
	}
}

// place returns what a placeholder becomes that stands in the node on top.
func (b *shellBinder) place(o occurrence) string {
	leaf := b.stack[len(b.stack)-1]
	if _, is := leaf.(*syntax.Comment); is {
		return o.name
	}
	if where := b.danger(); where != "" {
		b.refuse(o, where)
		return ""
	}
	if quoted, is := leaf.(*syntax.SglQuoted); is {
		if quoted.Dollar {
			b.refuse(o, "in $'…'")
		}
		return `'"${` + o.name + `}"'`
	}
	if o.start > 0 && b.script[o.start-1] == '\\' {
		b.refuse(o, "behind a backslash")
		return ""
	}
	switch parent := b.above(1).(type) {
	case *syntax.DblQuoted:
		return "${" + o.name + "}"
	case *syntax.Word:
		if r, is := b.above(2).(*syntax.Redirect); is && r.Hdoc == parent {
			return "${" + o.name + "}"
		}
		return `"${` + o.name + `}"`
	}
	b.refuse(o, "in a name")
	return ""
}

// above is the node that far above the one on top, nil if there is none.
func (b *shellBinder) above(n int) syntax.Node {
	if len(b.stack) <= n {
		return nil
	}
	return b.stack[len(b.stack)-1-n]
}

// danger names what a value that stands where the top is could become code in,
// "" for nothing.
func (b *shellBinder) danger() string {
	for i, n := range b.stack[:len(b.stack)-1] {
		if where := dangerIn(n, b.stack[i+1]); where != "" {
			return where
		}
		if _, is := n.(*syntax.Assign); is && b.odd {
			return "in what a variable is set to while the script has declare -i or -n"
		}
	}
	return ""
}

// dangerIn is about one node, and the one in it that leads to the value.
func dangerIn(n, inside syntax.Node) string {
	switch n := n.(type) {
	case *syntax.ArithmExp, *syntax.ArithmCmd, *syntax.LetClause, *syntax.CStyleLoop,
		*syntax.BinaryArithm, *syntax.UnaryArithm, *syntax.ParenArithm:
		return "in arithmetic"
	case *syntax.ParamExp:
		return "inside of another ${…}"
	case *syntax.CmdSubst:
		if n.Backquotes {
			return "between backquotes (write $(…))"
		}
	case *syntax.Assign:
		if n.Index != nil && n.Index == inside {
			return "in a subscript"
		}
		if n.Name != nil && n.Name.Value == "PS4" {
			return "in PS4"
		}
	case *syntax.ArrayElem:
		if n.Index != nil && n.Index == inside {
			return "in a subscript"
		}
	case *syntax.BinaryTest:
		switch n.Op {
		case syntax.TsEql, syntax.TsNeq, syntax.TsLeq, syntax.TsGeq, syntax.TsLss, syntax.TsGtr:
			return "in arithmetic (write [ … ] for [[ … ]])"
		}
	case *syntax.UnaryTest:
		if n.Op == syntax.TsVarSet || n.Op == syntax.TsRefVar {
			return "in the name of a variable"
		}
	case *syntax.Redirect:
		if n.Word == inside && n.Hdoc != nil {
			return "in the mark of a here-document"
		}
		if n.Hdoc == inside && quotedWord(n.Word) {
			return "in a here-document whose mark is quoted"
		}
	case *syntax.DeclClause:
		return declares(n, inside)
	case *syntax.CallExpr:
		return calls(n, inside)
	}
	return ""
}

// quotedWord tells whether any of a word is quoted.
func quotedWord(w *syntax.Word) bool {
	for _, part := range w.Parts {
		if l, is := part.(*syntax.Lit); !is || strings.Contains(l.Value, `\`) {
			return true
		}
	}
	return false
}

// declares is about declare, local, export and so on.
func declares(n *syntax.DeclClause, inside syntax.Node) string {
	if a, is := inside.(*syntax.Assign); oddOptions(n) || is && a.Naked {
		return "behind " + n.Variant.Value + " without the name of a variable and =, or with -i or -n"
	}
	return ""
}

// evaluating are commands that take their arguments for code, or for names of
// variables with subscripts.
var evaluating = []string{"eval", "trap", "alias", "let", "unset", "read", "readarray", "mapfile", "getopts", "typeset", "integer",
	"compgen", "complete", "bind"}

// interpreters are programs that take a program's text behind these letters.
var interpreters = map[string]string{"python": "c", "python3": "c", "perl": "eE", "ruby": "e", "node": "ep", "php": "r", "lua": "e",
	"sh": "c", "dash": "c", "ash": "c", "bash": "c", "ksh": "c", "mksh": "c", "zsh": "c", "su": "c"}

// calls is about a command's words.
func calls(n *syntax.CallExpr, inside syntax.Node) string {
	at := slices.IndexFunc(n.Args, func(w *syntax.Word) bool { return syntax.Node(w) == inside })
	if at < 1 {
		return "" // the command itself, or an assignment before it
	}
	before, letters := n.Args[at-1].Lit(), ""
	for i, w := range n.Args[:at] {
		name := w.Lit()
		name = name[strings.LastIndexByte(name, '/')+1:]
		letters += interpreters[name]
		switch name {
		case "printf", "test", "[":
			if before == "-v" {
				return "in the name of a variable"
			}
		}
		if slices.Contains(evaluating, name) && leads(n.Args[:i]) {
			return "behind " + name
		}
	}
	if strings.HasPrefix(before, "-") && !strings.HasPrefix(before, "--") && strings.ContainsAny(before, letters) {
		return "in a program's text behind " + before + ` (give it behind that as an argument: sh -c '… "$1"' sh ${x})`
	}
	return ""
}

// leads tells whether words before a command only lead to it.
func leads(words []*syntax.Word) bool {
	return !slices.ContainsFunc(words, func(w *syntax.Word) bool {
		return !slices.Contains([]string{"command", "builtin", "exec", "env"}, w.Lit())
	})
}

// script checks a script that is literal, or whose text around references is:
// that it can be read, and that they stand where they may.
func (c *compiler) script(d *draft, v, shell *node) {
	name := "sh"
	if shell != nil {
		name = unescape(shell.text)
	}
	if v.kind != stringKind || shell != nil && (shell.kind != stringKind || hasReference(shell.text)) {
		return // its type is wrong, or it can't be known
	}
	pieces, wrong := split(v.text, c.namesFor(d))
	if len(wrong) > 0 || wholeCode(pieces) != nil {
		return
	}
	text, names := placeholders(v.text, pieces)
	_, err := ShellScript(name, text, names)
	if err == nil && len(names) == 0 {
		err = CheckShell(name, text)
	}
	if err != nil {
		c.problem(v, "the script is wrong: "+err.Error(), "")
	}
}
