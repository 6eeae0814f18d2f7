package protocols

import (
	"fmt"
	"slices"
	"strings"
)

// This file keeps references in source code from becoming code.

// wholeCode returns the reference that is all of a source code but for white
// space, nil if there is more to it.
func wholeCode(pieces []piece) *reference {
	var ref *reference
	for _, p := range pieces {
		switch {
		case p.ref == nil && strings.TrimSpace(p.text) == "":
		case p.ref == nil || ref != nil:
			return nil
		default:
			ref = p.ref
		}
	}
	return ref
}

// symbols returns the placeholder of each piece of a source code that is a
// reference, "" for the others. from have been given in the same parameters.
func symbols(text string, pieces []piece, from int) []string {
	symbol, names := symbolFor(text), make([]string, len(pieces))
	for i, p := range pieces {
		if p.ref != nil {
			names[i] = fmt.Sprintf("%s%d__", symbol, from)
			from++
		}
	}
	return names
}

// placeholders returns a source code with placeholders for its references, and
// their names.
func placeholders(text string, pieces []piece) (code string, names []string) {
	var b strings.Builder
	for i, name := range symbols(text, pieces, 0) {
		if name == "" {
			b.WriteString(pieces[i].text)
			continue
		}
		b.WriteString(name)
		names = append(names, name)
	}
	return b.String(), names
}

// symbolFor returns how placeholders in text begin: an identifier that isn't
// in text, for another number and two underscores to follow.
func symbolFor(text string) string {
	symbol := "__gz_ref_"
	for i := 1; strings.Contains(text, symbol); i++ {
		symbol = fmt.Sprintf("__gz_ref%d_", i)
	}
	return symbol
}

// fenceNames are what Markdown's fences call the languages of source code.
var fenceNames = map[string][]string{
	"python": {"python", "py", "python3"},
	"shell":  {"sh", "bash", "shell", "zsh", "console"},
	"jq":     {"jq"},
}

// unfence returns the code in a text that a model wrote: what stands in the
// first Markdown fence that names the language, else in the first of all, else
// the text as it is. A fence after a triple quote is taken for part of a
// program's own text.
func unfence(text, language string) string {
	var first *string
	lines := strings.SplitAfter(text, "\n")
	for i := 0; i < len(lines); i++ {
		fence, named, ok := openFence(lines[i])
		if !ok {
			if first == nil && (strings.Contains(lines[i], `"""`) || strings.Contains(lines[i], "'''")) {
				return text
			}
			continue
		}
		from := i + 1
		for i++; i < len(lines) && !closesFence(lines[i], fence); i++ {
		}
		code := strings.Join(lines[from:min(i, len(lines))], "")
		if slices.Contains(fenceNames[language], strings.ToLower(named)) {
			return code
		}
		if first == nil {
			first = &code
		}
	}
	if first != nil {
		return *first
	}
	return text
}

// openFence reads a line that opens a fence: ``` or ~~~, and a language.
func openFence(line string) (fence, language string, ok bool) {
	if strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "\t") {
		return "", "", false
	}
	line = strings.TrimSpace(line)
	for _, mark := range []string{"`", "~"} {
		rest := strings.TrimLeft(line, mark)
		if n := len(line) - len(rest); n >= 3 && !strings.Contains(rest, mark) {
			language, _, _ = strings.Cut(strings.TrimSpace(rest), " ")
			return line[:n], language, true
		}
	}
	return "", "", false
}

func closesFence(line, fence string) bool {
	line = strings.TrimSpace(line)
	return strings.HasPrefix(line, fence) && strings.Trim(line, fence[:1]) == ""
}
