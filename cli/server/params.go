package server

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"gleitzeit/protocols"
)

// field is a member of an object on the wire.
type field struct {
	name     string
	optional bool
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
			all = append(all, field{name: name, optional: strings.Contains(rest, "omit"), owner: t, typ: f.Type})
		}
	}
	return all
}

// readParams reads an object, or an array whose items are the fields in their
// order. What p doesn't have is an error, so that a wish of a newer client is
// refused and not half understood.
func readParams(raw json.RawMessage, p any) error {
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

// plainly says which member has the wrong type, without our names for types.
func plainly(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("%s can't be a %s", cmp.Or(wrong.Field, "it"), wrong.Value)
	}
	return err
}

// nameParams gives the items of an array the fields' names. null leaves one
// out.
func nameParams(raw json.RawMessage, fields []field) (json.RawMessage, error) {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, err
	}
	if len(items) > len(fields) {
		return nil, fmt.Errorf("%d of them, there are %d at most", len(items), len(fields))
	}
	named := map[string]json.RawMessage{}
	for i, item := range items {
		if string(item) != "null" {
			named[fields[i].name] = item
		}
	}
	return json.Marshal(named)
}

// vouch writes into params who wishes something, if they say that. Nobody who
// isn't trusted can bring secrets: their references are of our machine.
func (p *Peer) vouch(params any) error {
	if p.trusted {
		return nil
	}
	v := reflect.ValueOf(params).Elem()
	if secrets := v.FieldByName("Secrets"); secrets.IsValid() && secrets.Len() > 0 {
		return protocols.Errorf(protocols.InvalidParams, "secrets can't be sent to a server: they are those of its configuration, by their names")
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
