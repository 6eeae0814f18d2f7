package server

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"gleitzeit/protocols"
)

// fieldTexts is what the comments in the source say of the fields on the wire.
// go test -run TestAPI -update writes it, and docs/api.md.
//
//go:embed fields.json
var fieldTexts []byte

// discover describes all methods as an OpenRPC document.
func (s *Server) discover(context.Context, *Call, empty) (json.RawMessage, error) {
	return marshal(OpenRPC(s.o.Scheduler.Version))
}

// OpenRPC describes all methods: https://spec.open-rpc.org, version 1.3.2.
func OpenRPC(version string) any {
	all := newSchemas()
	methods := []any{}
	for _, m := range Methods() {
		methods = append(methods, all.method(m))
	}
	for _, body := range []any{Event{}, Progress{}, End{}} {
		all.of(reflect.TypeOf(body))
	}
	if version == "" {
		version = "0"
	}
	return map[string]any{
		"openrpc": "1.3.2",
		"info":    map[string]any{"title": "gleitzeit", "version": fmt.Sprintf("%d+%s", APIVersion, version)},
		"methods": methods,
		"components": map[string]any{
			"schemas": all.structs,
			"errors":  errorTable(),
		},
	}
}

func newSchemas() *schemas {
	s := &schemas{texts: map[string]string{}, structs: map[string]schema{}}
	if err := json.Unmarshal(fieldTexts, &s.texts); err != nil {
		panic(fmt.Sprintf("fields.json: %v", err))
	}
	return s
}

// method describes one method. Its parameters are the fields of its params, in
// their order.
func (s *schemas) method(m Method) any {
	params := []any{}
	for _, f := range fieldsOf(reflect.TypeOf(m.Params)) {
		params = append(params, map[string]any{
			"name": f.name, "required": !f.optional, "description": s.text(f), "schema": s.of(f.typ)})
	}
	return map[string]any{
		"name": m.Name, "summary": m.Doc, "paramStructure": "either", "params": params,
		"result": map[string]any{"name": "result", "schema": s.result(m)},
		"x-role": m.Role,
	}
}

func (s *schemas) result(m Method) schema {
	if m.Result == nil {
		return schema{}
	}
	return s.of(reflect.TypeOf(m.Result))
}

// errorTable lists the codes that a call may be refused with.
func errorTable() map[string]any {
	table := map[string]any{}
	for c := protocols.Code(-33000); c < 0; c++ {
		if name := c.String(); name == strings.ToUpper(name) && !strings.ContainsAny(name, "0123456789") {
			table[name] = map[string]any{"code": int(c), "message": name}
		}
	}
	return table
}
