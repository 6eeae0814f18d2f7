package protocols

import (
	"encoding/json"
	"strings"
	"testing"
)

// A schema whose references have no end would end the process that checks a
// result; what can't be followed is refused when the workflow is read.
func TestSchemaReferences(t *testing.T) {
	for schema, want := range map[string]string{
		`{"$ref": "#"}`: `$ref "#": only #/$defs/NAME`,
		`{"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}`:                                      `$ref "#": only`,
		`{"properties": {"x": {"type": "string"}, "y": {"$ref": "#/properties/x"}}}`:                                                     `$ref "#/properties/x": only`,
		`{"$dynamicRef": "#a", "$defs": {"a": {"$dynamicAnchor": "a"}}}`:                                                                 `$dynamicRef "#a": only`,
		`{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}`:                                                                   `leads back`,
		`{"$defs": {"a": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}}}`:                    `leads back`,
		`{"$defs": {"a": {"if": {"$ref": "#/$defs/b"}}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}}`:                                       `leads back`,
		`{"items": {"$id": "urn:x", "$ref": "#/$defs/a", "$defs": {"a": {}}}}`:                                                           `$id "urn:x": only the whole schema`,
		`{"$id": "urn:x", "$ref": "#/$defs/a", "$defs": {"a": {}}}`:                                                                      "",
		`{"$ref": "#/$defs/a", "anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}], "$defs": {"a": {}, "b": {"$ref": "#/$defs/a"}}}`: "",
		`{"properties": {"$ref": {"const": {"$ref": "#"}}}}`:                                                                             "",
		tree: "",
	} {
		_, err := newSchema(json.RawMessage(schema), nil)
		if got := errorText(err); want == "" != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, should be %q", schema, got, want)
		}
	}
}

const tree = `{"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "required": ["n"],
	"properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}}}`

// However deep a value is, what a definition says holds at its bottom.
func TestSchemaTreeIsCheckedToItsBottom(t *testing.T) {
	const deep = 300
	value := strings.Repeat(`{"n":1,"kids":[`, deep) + `{}` + strings.Repeat(`]}`, deep)
	if err := CheckOutput(json.RawMessage(tree), json.RawMessage(value)); err == nil || !strings.Contains(err.Message, "n") {
		t.Errorf("%v", err)
	}
	if err := CheckOutput(json.RawMessage(tree), json.RawMessage(strings.Replace(value, `{}`, `{"n":2}`, 1))); err != nil {
		t.Error(err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
