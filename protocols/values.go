package protocols

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// This file reads the plain values of the language: each returns false after
// it has said what is wrong.

// mismatch says that v isn't what the key takes.
func (c *compiler) mismatch(key string, v *node, want string) {
	got := v.kind.String()
	if v.scalar() {
		got = quoted(v.text)
	}
	c.problem(v, fmt.Sprintf("%s must be %s, not %s", key, want, got), "")
}

// text reads text; a number or boolean is taken as it is written.
func (c *compiler) text(key string, v *node) (string, bool) {
	if !v.scalar() {
		c.mismatch(key, v, "text")
		return "", false
	}
	return v.text, true
}

// maxName is the length of a name or id, in bytes.
const maxName = 200

// label reads a name or id.
func (c *compiler) label(key string, v *node) (string, bool) {
	s, ok := c.text(key, v)
	switch {
	case !ok:
		return "", false
	case strings.TrimSpace(s) == "":
		c.problem(v, key+" is empty", "")
	case len(s) > maxName:
		c.problem(v, fmt.Sprintf("%s is longer than %d bytes", key, maxName), "")
	case !printable(s):
		c.problem(v, key+" holds a line break or control character", "")
	case strings.TrimSpace(s) != s:
		c.problem(v, key+" begins or ends with a space", "")
	default:
		return s, true
	}
	return "", false
}

func (c *compiler) boolean(key string, v *node) (bool, bool) {
	if v.kind != boolKind {
		c.mismatch(key, v, "true or false")
		return false, false
	}
	return v.text == "true", true
}

// count reads a whole number of at least one.
func (c *compiler) count(key string, v *node) (int, bool) {
	n, err := strconv.Atoi(v.text)
	if v.kind != numberKind || err != nil || n < 1 || n > math.MaxInt32 {
		c.mismatch(key, v, "a whole number of at least 1")
		return 0, false
	}
	return n, true
}

// texts reads a list of texts; a single text is a list of one.
func (c *compiler) texts(key string, v *node) ([]*node, bool) {
	if v.scalar() {
		return []*node{v}, true
	}
	if v.kind != listKind {
		c.mismatch(key, v, "a list of texts")
		return nil, false
	}
	for _, item := range v.items {
		if !item.scalar() {
			c.mismatch(key, item, "a list of texts")
			return nil, false
		}
	}
	return v.items, true
}

// texted returns the nodes' texts.
func texted(nodes []*node) []string {
	var ss []string
	for _, n := range nodes {
		ss = append(ss, n.text)
	}
	return ss
}

// duration reads a number of seconds or Go's text form.
func (c *compiler) duration(key string, v *node, least time.Duration) (Duration, bool) {
	if v.kind == numberKind || v.kind == stringKind {
		if d, err := parseDuration(v.text); err == nil && d >= least {
			return Duration(d), true
		}
	}
	want := `a number of seconds or a duration such as "90s" or "1h30m"`
	if least > 0 {
		want += ", more than 0"
	}
	c.mismatch(key, v, want)
	return 0, false
}

// parseDuration reads a number of seconds or Go's text form.
func parseDuration(s string) (time.Duration, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return time.ParseDuration(s)
	}
	ns := math.Round(f * float64(time.Second))
	if !(math.Abs(ns) < math.MaxInt64) {
		return 0, fmt.Errorf("duration %s is out of range", s)
	}
	return time.Duration(ns), nil
}

// object reads a map that is only carried along.
func (c *compiler) object(key string, v *node) (json.RawMessage, bool) {
	if v.kind != mapKind {
		c.mismatch(key, v, "a map")
		return nil, false
	}
	return v.raw(), true
}

// choice reads one of a few words.
func (c *compiler) choice(key string, v *node, words ...string) (string, bool) {
	for _, w := range words {
		if v.kind == stringKind && v.text == w {
			return w, true
		}
	}
	want := "one of " + strings.Join(words, ", ")
	got := v.kind.String()
	hint := ""
	if v.scalar() {
		got, hint = quoted(v.text), Suggest(v.text, words)
	}
	c.problem(v, fmt.Sprintf("%s must be %s, not %s", key, want, got), hint)
	return "", false
}
