package server

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"gleitzeit/protocols"
)

// field is a member of an object on the wire.
type field struct {
	name     string
	optional bool
	here     bool         // only commands of this machine's user may bring it
	owner    reflect.Type // the struct that has it
	typ      reflect.Type
}

// fieldsOf lists what a struct has on the wire, in order; an embedded one's
// are its own.
func fieldsOf(t reflect.Type) (all []field) {
	for f := range t.Fields() {
		name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			all = append(all, fieldsOf(f.Type)...)
		case f.IsExported() && name != "-":
			all = append(all, field{name: name, optional: strings.Contains(rest, "omit"), here: f.Tag.Get("from") == "here", owner: t, typ: f.Type})
		}
	}
	return all
}

// readParams reads an object, or an array whose items are the fields in their
// order. What p doesn't have is an error, so that a wish of a newer client is
// refused and not half understood. What a stranger may not bring is refused
// before any of it is made: what its short text describes may fill the memory.
func readParams(raw json.RawMessage, stranger bool, p any) error {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil
	}
	if raw[0] == '[' {
		named, err := nameParams(raw, fieldsOf(reflect.TypeOf(p).Elem()))
		if err != nil {
			return err
		}
		raw = named
	}
	if stranger {
		if err := refuseLocal(raw, reflect.TypeOf(p).Elem()); err != nil {
			return err
		}
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return plainly(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than an object")
	}
	return nil
}

// errLocal refuses what is so on one machine alone: a setup names programs to
// start, and a folder is one of ours.
var errLocal = errors.New("document, setup, dir, cwd, roots, children and names are for commands on the server's own machine: send the text as workflow")

// refuseLocal refuses an object with members that only commands of this
// machine's user may bring.
func refuseLocal(raw json.RawMessage, t reflect.Type) error {
	if t.Kind() != reflect.Struct {
		return nil
	}
	fields := fieldsOf(t)
	return eachMember(raw, func(name string, value json.RawMessage) error {
		i := slices.IndexFunc(fields, func(f field) bool { return strings.EqualFold(f.name, name) })
		switch {
		case i < 0 || string(value) == "null":
			return nil
		case fields[i].here:
			return errLocal
		}
		return refuseLocal(value, fields[i].typ)
	})
}

// eachMember goes over the members of an object one at a time. Whatever isn't an
// object has none.
func eachMember(raw json.RawMessage, do func(name string, value json.RawMessage) error) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return err
	}
	for d.More() {
		name, err := d.Token()
		var value json.RawMessage
		if err == nil {
			err = d.Decode(&value)
		}
		if err == nil {
			err = do(name.(string), value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// plainly says which member has the wrong type, without our names for types.
func plainly(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("%s can't be %s", cmp.Or(wrong.Field, "it"), protocols.Misfit(wrong))
	}
	return err
}

// nameParams gives the items of an array the fields' names. null leaves one
// out.
func nameParams(raw json.RawMessage, fields []field) (json.RawMessage, error) {
	if n := items(raw); n > max(len(fields), 1) {
		return nil, fmt.Errorf("%d of them, there are %d at most", n, len(fields))
	}
	var given []json.RawMessage
	if err := json.Unmarshal(raw, &given); err != nil {
		return nil, err
	}
	named := map[string]json.RawMessage{}
	for i, item := range given {
		if string(item) != "null" {
			named[fields[i].name] = item
		}
	}
	return json.Marshal(named)
}

// vouch writes into params who wishes something, if they say that, and the trace
// of the request, if they have room for one. Nobody who
// isn't trusted can bring secrets: their references are of our machine. own
// tells that this program has made the params itself.
func (p *Peer) vouch(params any, own bool) error {
	if p.trusted {
		return nil
	}
	v := reflect.ValueOf(params).Elem()
	if secrets := v.FieldByName("Secrets"); !own && secrets.IsValid() && secrets.Len() > 0 {
		return protocols.Errorf(protocols.InvalidParams, "secrets can't be sent to a server: they are those of its configuration, by their names")
	}
	if trace := v.FieldByName("Traceparent"); trace.IsValid() && trace.String() == "" {
		trace.SetString(p.trace)
	}
	if by := v.FieldByName("By"); by.Kind() == reflect.String {
		if said := by.String(); said != "" {
			by.SetString(said + " via " + p.name)
		} else {
			by.SetString(p.name)
		}
	}
	return nil
}
