package protocols

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file gives Duration, Priority and Class their text forms.

// String returns Go's text form, "1m30s".
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes Go's text form.
func (d Duration) MarshalJSON() ([]byte, error) {
	return appendString(nil, d.String()), nil
}

// UnmarshalJSON reads Go's text form, or a number of seconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	text := string(b)
	if kindOf(b) == stringKind {
		text = rawText(b)
	}
	t, err := parseDuration(text)
	if err != nil {
		return fmt.Errorf("read duration: %w", err)
	}
	*d = Duration(t)
	return nil
}

// priorityNames from Low to Urgent.
var priorityNames = [...]string{"low", "normal", "high", "urgent"}

// String returns the priority's name.
func (p Priority) String() string {
	if p < Low || p > Urgent {
		return "priority " + strconv.Itoa(int(p))
	}
	return priorityNames[p-Low]
}

// MarshalJSON writes the name.
func (p Priority) MarshalJSON() ([]byte, error) {
	return appendString(nil, p.String()), nil
}

// UnmarshalJSON reads the name, or the original's number.
func (p *Priority) UnmarshalJSON(b []byte) error {
	text := string(b)
	if kindOf(b) == stringKind {
		text = rawText(b)
	}
	var err error
	*p, err = parsePriority(text)
	return err
}

func parsePriority(s string) (Priority, error) {
	s = strings.ToLower(s)
	if i := slices.Index(priorityNames[:], s); i >= 0 {
		return Low + Priority(i), nil
	}
	switch s {
	case "1":
		return High, nil
	case "2":
		return Normal, nil
	case "3":
		return Low, nil
	}
	return Normal, fmt.Errorf("unknown priority %q", s)
}

// classes in the order in which they are shown.
var classes = []Class{ClassTimeout, ClassRateLimit, ClassServer, ClassNetwork, ClassSchema, ClassExecution,
	ClassValidation, ClassParameters, ClassAuth, ClassNotFound, ClassCancelled}

func classNames() []string {
	names := make([]string, len(classes))
	for i, c := range classes {
		names[i] = string(c)
	}
	return names
}

func schemaClasses() string {
	b, err := json.Marshal(map[string]any{"type": []string{"array", "string"}, "items": map[string]any{"enum": classes}})
	if err != nil {
		panic(err)
	}
	return string(b)
}
