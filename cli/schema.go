package cli

import (
	"encoding/json"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// schemaCmd prints the JSON Schema of the language.
type schemaCmd struct{}

// Help shows how it is used.
func (schemaCmd) Help() string {
	return `Examples:

	gleitzeit schema > gleitzeit.schema.json

Then, at the top of a workflow file:

	# yaml-language-server: $schema=gleitzeit.schema.json`
}

// Run does it.
func (schemaCmd) Run(s *session) error {
	schema := json.RawMessage(protocols.Schema())
	return s.print.show(schema, lines(replay.Text(schema)))
}
