package protocols

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// This file compiles schedules. It sees that a time can ever come; which ones
// do is for whoever has a clock and the time zones.

func scheduleKeys() []key[*Schedule] {
	return []key[*Schedule]{
		{spelling{name: "cron", doc: "Five fields (minute, hour, day, month, weekday), or @daily and the like.", schema: schemaText},
			func(c *compiler, s *Schedule, k string, v *node) { s.Cron = c.cron("schedule."+k, v) }},
		{spelling{name: "timezone", doc: "Such as Europe/Berlin; that of the machine where it is added, unless said otherwise.", schema: schemaText},
			func(c *compiler, s *Schedule, k string, v *node) {
				if !timezone.MatchString(v.text) || v.kind != stringKind {
					c.mismatch("schedule."+k, v, "the name of a time zone, such as Europe/Berlin or UTC")
					return
				}
				s.Timezone = v.text
			}},
		{spelling{name: "overlap", doc: "What happens when the last run still lives: skip, queue or allow.", schema: `{"enum":["skip","queue","allow"]}`},
			func(c *compiler, s *Schedule, k string, v *node) {
				if o, ok := c.choice("schedule."+k, v, "skip", "queue", "allow"); ok {
					s.Overlap = o
				}
			}},
		{spelling{name: "catch_up", doc: "One run for the times that passed while no server ran.", schema: schemaBool},
			func(c *compiler, s *Schedule, k string, v *node) { s.CatchUp, _ = c.boolean("schedule."+k, v) }},
	}
}

// schedule reads a schedule: a map of its keys, or the cron text alone.
func (c *compiler) schedule(v *node) *Schedule {
	s := &Schedule{Overlap: "skip"}
	if v.kind != mapKind {
		s.Cron = c.cron("schedule", v)
		return s
	}
	if readMap(c, v, c.lang.schedule, s) && v.get("cron") == nil {
		c.problem(v, "schedule needs cron", "")
	}
	return s
}

var timezone = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$`)

// cron reads the text of a schedule.
func (c *compiler) cron(key string, v *node) string {
	s, ok := c.text(key, v)
	if !ok {
		return ""
	}
	if text, hint := cronFault(s); text != "" {
		c.problem(v, fmt.Sprintf("%s %s: %s", key, strconv.Quote(shorten(s)), text), hint)
		return ""
	}
	return strings.Join(strings.Fields(s), " ")
}

// CheckCron returns the text of a schedule in its plain form, or says what is
// wrong with it and where.
func CheckCron(s string) (string, error) {
	if text, hint := cronFault(s); text != "" {
		return "", fmt.Errorf("cron %s: %s (%s)", strconv.Quote(shorten(s)), text, cmp.Or(hint, cronExample))
	}
	return strings.Join(strings.Fields(s), " "), nil
}

// maxCron bounds the text of a schedule.
const maxCron = 500

const cronExample = `for example "30 6 * * mon-fri"`

// cronWords stand for five fields.
var cronWords = []string{"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}

// cronField is one of the five.
type cronField struct {
	name     string
	min, max int
	words    string // for min and what follows, three letters each
}

var cronFields = [...]cronField{
	{"minute", 0, 59, ""},
	{"hour", 0, 23, ""},
	{"day", 1, 31, ""},
	{"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
	{"weekday", 0, 7, "sunmontuewedthufrisat"},
}

// cronFault says what is wrong with the text of a schedule, "" if nothing is.
func cronFault(s string) (text, hint string) {
	if strings.HasPrefix(s, "@") {
		return cronWordFault(s)
	}
	if len(s) > maxCron {
		return fmt.Sprintf("it has %d characters, the limit is %d", len(s), maxCron), ""
	}
	fields := strings.Fields(s)
	if len(fields) != len(cronFields) {
		hint := "minute, hour, day, month, weekday"
		if len(fields) == len(cronFields)+1 {
			hint = "seconds are not among them"
		}
		return fmt.Sprintf("there must be five fields, not %d", len(fields)), hint
	}
	var values [len(cronFields)]map[int]bool
	at := 0
	for i, f := range cronFields {
		at += strings.Index(s[at:], fields[i])
		if values[i], text = f.values(fields[i]); text != "" {
			return fmt.Sprintf("%s, at character %d", text, utf8.RuneCountInString(s[:at])+1), cronExample
		}
		at += len(fields[i])
	}
	if fields[4] == "*" && !dayExists(values[2], values[3]) {
		return "no month has that day", ""
	}
	return "", ""
}

func cronWordFault(s string) (text, hint string) {
	if every, ok := strings.CutPrefix(s, "@every "); ok {
		if d, err := time.ParseDuration(strings.TrimSpace(every)); err != nil || d < time.Second || d%time.Second != 0 {
			return "@every takes a duration of whole seconds, at least 1s, such as 1h30m", ""
		}
		return "", ""
	}
	for _, w := range cronWords {
		if s == w {
			return "", ""
		}
	}
	return "there is no such word", Suggest(s, cronWords)
}

// values returns what a field allows.
func (f cronField) values(s string) (set map[int]bool, wrong string) {
	set = map[int]bool{}
	for part := range strings.SplitSeq(s, ",") {
		span, every, stepped := strings.Cut(part, "/")
		step := 1
		if stepped {
			n, err := strconv.Atoi(every)
			if err != nil || n < 1 || n > f.max {
				return nil, fmt.Sprintf("the %s has a wrong step: %s", f.name, quoted(part))
			}
			step = n
		}
		from, to, ok := f.span(span, stepped)
		if !ok {
			return nil, fmt.Sprintf("the %s must be *, or within %d to %d, not %s", f.name, f.min, f.max, quoted(part))
		}
		for i := from; i <= to; i += step {
			set[i] = true
		}
	}
	return set, ""
}

// span reads *, 5, or 1-5.
func (f cronField) span(s string, stepped bool) (from, to int, ok bool) {
	if s == "*" {
		return f.min, f.max, true
	}
	first, last, ranged := strings.Cut(s, "-")
	from, ok = f.value(first)
	to = from
	if !ranged && stepped {
		to = f.max
	}
	if ranged && ok {
		to, ok = f.value(last)
	}
	return from, to, ok && from <= to
}

func (f cronField) value(s string) (int, bool) {
	if i := strings.Index(f.words, strings.ToLower(s)); len(s) == 3 && i >= 0 && i%3 == 0 {
		return f.min + i/3, true
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= f.min && n <= f.max && s[0] != '+'
}

// dayExists tells whether one of the months has one of the days.
func dayExists(days, months map[int]bool) bool {
	longest := [...]int{0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}
	for m := range months {
		for d := range days {
			if d <= longest[m] {
				return true
			}
		}
	}
	return false
}
