package server

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"gleitzeit/protocols"
)

// schema is a JSON Schema of what goes over the wire.
type schema map[string]any

// schemas describes types. Structs are described once, under their names.
type schemas struct {
	texts   map[string]string // what the source says of fields: "SubmitParams.workflow"
	structs map[string]schema
}

var (
	isMarshaler     = reflect.TypeFor[json.Marshaler]()
	isTextMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// known are the types that say themselves how they are written.
var known = map[reflect.Type]schema{
	reflect.TypeFor[time.Time]():          {"type": "string", "format": "date-time"},
	reflect.TypeFor[json.RawMessage]():    {},
	reflect.TypeFor[[]byte]():             {"type": "string", "contentEncoding": "base64"},
	reflect.TypeFor[protocols.Duration](): {"type": "string"},
	reflect.TypeFor[protocols.Priority](): {"type": "string", "enum": []string{"low", "normal", "high", "urgent"}},
}

// of describes a type.
func (s *schemas) of(t reflect.Type) schema {
	if is, ok := known[t]; ok {
		return is
	}
	switch {
	case t.Kind() == reflect.Pointer:
		return s.of(t.Elem())
	case t.Implements(isTextMarshaler):
		return schema{"type": "string"}
	case t.Implements(isMarshaler) && t.Kind() != reflect.Struct, t.Kind() == reflect.Interface:
		return schema{}
	}
	switch t.Kind() {
	case reflect.Struct:
		return s.named(t)
	case reflect.Slice, reflect.Array:
		return schema{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Float64:
		return schema{"type": "number"}
	}
	return schema{"type": "integer"}
}

// named describes a struct and returns where that is.
func (s *schemas) named(t reflect.Type) schema {
	if t.NumField() == 0 {
		return schema{"type": "object"}
	}
	name := nameOf(t)
	if _, done := s.structs[name]; !done {
		object := schema{"type": "object"}
		s.structs[name] = object // which may hold itself
		properties, required := map[string]schema{}, []string{}
		for _, f := range fieldsOf(t) {
			properties[f.name] = s.field(f)
			if !f.optional {
				required = append(required, f.name)
			}
		}
		object["properties"] = properties
		if len(required) > 0 {
			object["required"] = required
		}
	}
	return schema{"$ref": "#/components/schemas/" + name}
}

// field describes a member, with what the source says of it.
func (s *schemas) field(f field) schema {
	is := schema{}
	for k, v := range s.of(f.typ) {
		is[k] = v
	}
	if text := s.text(f); text != "" {
		is["description"] = text
	}
	return is
}

func (s *schemas) text(f field) string { return s.texts[nameOf(f.owner)+"."+f.name] }

// nameOf is a type's name, with its package unless that is this one.
func nameOf(t reflect.Type) string {
	name := t.String()
	if _, own, ok := strings.Cut(name, "server."); ok {
		return own
	}
	return name
}
