package protocols

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(?s:(.*))$`)

// yamlError adds the problem of a file that isn't YAML. The library tells the
// line of where it was, or began, and for some errors one too few; the column
// is ours.
func (d *Document) yamlError(data []byte, err error) {
	line, text := 0, err.Error()
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = m[2]
	}
	if line == 0 || fromParser(text) {
		line++
	}
	hint := yamlHint(text)
	if at := yamlCulprit(text, data); at >= 0 {
		line, col := place(data, at)
		d.problem(line, col, "YAML: "+text, hint)
		return
	}
	lines := bytes.Split(data, []byte("\n"))
	for line = min(line, len(lines)); line > 1 && len(bytes.TrimSpace(lines[line-1])) == 0; {
		line--
	}
	col := yamlColumn(text, lines[line-1])
	if bytes.HasPrefix(lines[line-1], []byte("\t")) {
		hint = "indent with spaces, not tabs"
	}
	if at, bare := bareReference(lines, line, strings.Contains(text, "',' or")); bare > 0 {
		line, col = at, bare
		hint = `quote it: "${…}"`
	}
	d.problem(line, col, "YAML: "+text, hint)
}

var unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)

// yamlCulprit finds what an error is about that comes without a line, -1 if
// it comes with one.
func yamlCulprit(text string, data []byte) int {
	if m := unknownAnchor.FindStringSubmatch(text); m != nil {
		return bytes.Index(data, []byte("*"+m[1]))
	}
	if strings.Contains(text, "control characters") {
		return bytes.IndexFunc(data, func(r rune) bool {
			return unicode.IsControl(r) && !strings.ContainsRune("\t\r\n\u0085", r) || r == '\ufffe' || r == '\uffff'
		})
	}
	return -1
}

// fromParser tells whether the library counts this error's line from 0.
func fromParser(text string) bool {
	switch text {
	case "did not find expected node content", "did not find expected '-' indicator", "did not find expected key",
		"did not find expected ',' or ']'", "did not find expected ',' or '}'", "did not find expected <document start>",
		"found undefined tag handle":
		return true
	}
	return false
}

func yamlHint(text string) string {
	switch {
	case strings.Contains(text, "tab character"):
		return "indent with spaces, not tabs"
	case strings.Contains(text, "mapping values are not allowed"):
		return `a text with ": " in it must be quoted`
	case strings.Contains(text, "',' or"):
		return "close the bracket, or quote the text that has , ? : [ ] { or } in it"
	case strings.HasPrefix(text, "unknown anchor"):
		return "quote the text if it isn't an alias"
	case strings.Contains(text, "cannot start any token"), strings.Contains(text, "alphabetic"):
		return "quote the text"
	case strings.Contains(text, "expected key"), strings.Contains(text, "'-' indicator"):
		return "check the indentation"
	}
	return ""
}

// yamlColumn returns where on the line the error probably is.
func yamlColumn(text string, line []byte) int {
	at := -1
	switch {
	case strings.Contains(text, "mapping values"):
		at = bytes.LastIndex(line, []byte(": "))
	case strings.Contains(text, "',' or"):
		at = bytes.IndexAny(line, "[{")
	}
	if at < 0 {
		at = len(line) - len(bytes.TrimLeft(line, " "))
	}
	return 1 + utf8.RuneCount(line[:at])
}

// bareReference looks on the line, and in a flow also on the next few, for a
// reference that isn't quoted: YAML may take its braces and colons for its own.
func bareReference(lines [][]byte, line int, flow bool) (at, col int) {
	last := line
	if flow {
		last = min(line+3, len(lines))
	}
	for at := line; at <= last; at++ {
		text := lines[at-1]
		if i := bytes.Index(text, []byte("${")); i > 0 && !inQuotes(text[:i]) {
			return at, 1 + utf8.RuneCount(text[:i])
		}
	}
	return 0, 0
}

func inQuotes(before []byte) bool {
	return bytes.Count(before, []byte(`"`))%2 == 1 || bytes.Count(before, []byte(`'`))%2 == 1
}
