package protocols

import (
	"math"
	"strconv"
	"strings"
	"unicode"
)

// This file holds how messages show what a file says.

// quoted returns a key or name as messages show it: quoted only if it
// needs it, and never longer than a line.
func quoted(s string) string {
	s = shorten(s)
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r == ' ' || r == '"' || !unicode.IsPrint(r) }) {
		return s
	}
	return strconv.Quote(s)
}

// shorten cuts s to what fits into a message.
func shorten(s string) string { return shortenTo(s, 60) }

func shortenTo(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if !printable(string(r)) {
			return ' '
		}
		return r
	}, s)
	n := 0
	for i := range s {
		if n++; n > most {
			return s[:i] + "…"
		}
	}
	return s
}

// finite tells whether a JSON number is one for a float64.
func finite(number string) bool {
	f, err := strconv.ParseFloat(number, 64)
	return err == nil && !math.IsInf(f, 0)
}

// printable tells whether s is one line without control characters.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' })
}
