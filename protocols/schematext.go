package protocols

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// This file holds the words in which violations of a schema are told.

func typeList(types []string) string {
	names := make([]string, len(types))
	for i, name := range types {
		names[i] = kindNames[name].String()
		if name == "integer" {
			names[i] = "a whole number"
		}
	}
	return strings.Join(names, " or ")
}

// show returns a value as a message shows it: what it is if it is long.
func show(raw json.RawMessage) string {
	switch k := kindOf(raw); k {
	case mapKind, listKind, nullKind:
		return k.String()
	case stringKind:
		return "the text " + strconv.Quote(shorten(rawText(raw)))
	}
	return shorten(string(raw))
}

// name returns a path as a message shows it: messages[0].role.
func (w *checker) name(path []string) string {
	if len(path) == 0 {
		return w.o.what
	}
	var b strings.Builder
	for i, p := range path {
		if _, err := strconv.Atoi(p); err == nil {
			b.WriteString("[" + p + "]")
			continue
		}
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(quoted(p))
	}
	return b.String()
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

func showAny(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("enum value %T: %v", v, err))
	}
	return string(b)
}

func enumList(enum []any) string {
	words := make([]string, len(enum))
	for i, e := range enum {
		words[i] = showAny(e)
	}
	return strings.Join(words, ", ")
}

func enumHint(enum []any, v any) string {
	s, ok := v.(string)
	if !ok {
		return ""
	}
	var words []string
	for _, e := range enum {
		if word, ok := e.(string); ok {
			words = append(words, word)
		}
	}
	return Suggest(s, words)
}

// libraryText returns the last part of the library's nested message.
func libraryText(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, "validating "); i >= 0 {
		if _, after, ok := strings.Cut(text[i:], ": "); ok {
			return shorten(after)
		}
	}
	return shorten(text)
}
