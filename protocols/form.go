package protocols

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
)

// This file is about forms: what a person fills in to answer a question, as a
// JSON Schema, mostly of an object with plain values.

// FormFields checks a form's schema and returns the names of its fields: those
// that are required first. The error is INVALID_PARAMS.
func FormFields(form json.RawMessage) ([]string, *Error) {
	s, err := newSchema(form, nil)
	if err != nil {
		return nil, Errorf(InvalidParams, "the form is no JSON Schema: %s", libraryText(err))
	}
	if unknown := s.strangeTypes(); len(unknown) > 0 {
		return nil, Errorf(InvalidParams, "the form: JSON has no type %s", quoted(unknown[0]))
	}
	names := sortedKeys(s.root.Properties)
	slices.SortStableFunc(names, func(a, b string) int {
		return rank(slices.Contains(s.root.Required, a)) - rank(slices.Contains(s.root.Required, b))
	})
	return names, nil
}

func rank(first bool) int {
	if first {
		return 0
	}
	return 1
}

// FillForm is what a person answers: the data, with fields as they are typed on
// a command line, and the form's defaults for what is left out. The error is
// INVALID_PARAMS and lists all that doesn't fit, each with its place.
func FillForm(form, data json.RawMessage, typed map[string]string) (json.RawMessage, *Error) {
	s, err := newSchema(form, nil)
	if err != nil {
		return nil, Errorf(InvalidParams, "the form is no JSON Schema: %s", libraryText(err))
	}
	if len(data) > 0 && !json.Valid(data) {
		return nil, Errorf(InvalidParams, "the answer is not JSON")
	}
	if kindOf(data) != mapKind && (len(data) > 0 || s.root.Type != "" && s.root.Type != "object") {
		if len(typed) > 0 {
			return nil, Errorf(InvalidParams, "the answer has no fields: give it as a whole")
		}
		return s.filled(data)
	}
	answer := map[string]json.RawMessage{}
	if len(data) > 0 {
		_ = json.Unmarshal(data, &answer) // an object, as was seen
	}
	var wrong []violation
	for _, name := range sortedKeys(typed) {
		value, bad := s.typed(name, typed[name])
		if bad != nil {
			wrong = append(wrong, *bad)
			continue
		}
		answer[name] = value
	}
	for name, p := range s.root.Properties {
		if _, given := answer[name]; !given && len(p.Default) > 0 {
			answer[name] = p.Default
		}
	}
	if len(wrong) > 0 {
		return nil, violated(InvalidParams, misfits, wrong)
	}
	raw, err := json.Marshal(answer)
	if err != nil {
		return nil, Errorf(InvalidParams, "the answer: %v", err)
	}
	return s.filled(raw)
}

const misfits = "the answer doesn't fit"

// filled checks a whole answer.
func (s *schema) filled(raw json.RawMessage) (json.RawMessage, *Error) {
	if len(raw) == 0 {
		raw = json.RawMessage("null")
	}
	wrong := s.check(raw, checkOptions{what: "the answer", member: "field"})
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) == nil {
		for _, name := range sortedKeys(fields) {
			if p := s.root.Properties[name]; p != nil && kindOf(fields[name]) == stringKind {
				if text := misformed(p.Format, rawText(fields[name])); text != "" {
					wrong = append(wrong, violation{path: []string{name}, text: quoted(name) + " must be " + text + ", not " + show(fields[name])})
				}
			}
		}
	}
	if len(wrong) > 0 {
		return nil, violated(InvalidParams, misfits, wrong)
	}
	return compact(raw), nil
}

// misformed says what a text of that format must be, "" if it is that.
func misformed(format, text string) string {
	var err error
	switch format {
	case "email":
		var a *mail.Address
		if a, err = mail.ParseAddress(text); err == nil && a.Address == text {
			return ""
		}
		return "an email address"
	case "uri":
		var u *url.URL
		if u, err = url.Parse(text); err == nil && u.IsAbs() {
			return ""
		}
		return "a URI such as https://example.org"
	case "date":
		if _, err = time.Parse(time.DateOnly, text); err != nil {
			return "a date such as 2026-12-24"
		}
	case "date-time":
		if _, err = time.Parse(time.RFC3339, text); err != nil {
			return "a time such as 2026-12-24T18:00:00Z"
		}
	}
	return ""
}

// typed reads a field as somebody types it: by the type that the form gives it,
// a list by commas.
func (s *schema) typed(name, text string) (json.RawMessage, *violation) {
	p := s.root.Properties[name]
	if p == nil {
		if len(s.root.Properties) == 0 {
			return appendString(nil, text), nil
		}
		names := sortedKeys(s.root.Properties)
		hint := Suggest(name, names)
		if hint == "" {
			hint = thereAre(names)
		}
		return nil, &violation{path: []string{name}, text: "there is no field " + quoted(name), hint: hint}
	}
	return typedAs(p, name, text)
}

func typedAs(p *jsonschema.Schema, name, text string) (json.RawMessage, *violation) {
	raw := json.RawMessage(text)
	wrong := func(what string) (json.RawMessage, *violation) {
		return nil, &violation{path: []string{name}, text: fmt.Sprintf("%s must be %s, not %s", quoted(name), what, quoted(text))}
	}
	switch types := typesOf(p); {
	case slices.Contains(types, "string"):
		return appendString(nil, text), nil
	case slices.Contains(types, "boolean"):
		b, err := strconv.ParseBool(text)
		if word := slices.Index([]string{"yes", "no", "on", "off"}, strings.ToLower(text)); word >= 0 {
			b, err = word%2 == 0, nil
		}
		if err != nil {
			return wrong("true or false")
		}
		return strconv.AppendBool(nil, b), nil
	case slices.Contains(types, "array") && !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("[")):
		return listed(p, name, text)
	case len(types) > 0 && !json.Valid(raw):
		return wrong(typeList(types))
	case !json.Valid(raw): // of any type
		return appendString(nil, text), nil
	}
	return raw, nil
}

// listed reads a list as somebody types it.
func listed(p *jsonschema.Schema, name, text string) (json.RawMessage, *violation) {
	items := []json.RawMessage{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		item := p.Items
		if item == nil {
			item = anything
		}
		value, bad := typedAs(item, name, part)
		if bad != nil {
			return nil, bad
		}
		items = append(items, value)
	}
	raw, err := json.Marshal(items)
	if err != nil {
		return nil, &violation{path: []string{name}, text: fmt.Sprintf("%s: %v", quoted(name), err)}
	}
	return raw, nil
}
