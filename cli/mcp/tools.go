package mcp

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/protocols"
)

// The members of _meta that are ours: of a call, and of its result.
const (
	metaKey    = "gleitzeit/idempotency_key" // the same key is the same run
	metaRun    = "gleitzeit/run"             // the run's id
	metaStatus = "gleitzeit/status"          // where it stands
)

// toolOf describes a workflow.
func toolOf(w *Workflow) *sdk.Tool {
	return &sdk.Tool{Name: w.Name, Title: w.Title, Description: cmp.Or(w.Description, "Runs the workflow "+w.Title+"."), InputSchema: schemaOf(w.Inputs)}
}

// anyType is what an input without a type may be, in the words that all clients
// understand.
func anyType() (all []map[string]any) {
	for _, t := range []string{"object", "array", "string", "number", "boolean", "null"} {
		all = append(all, map[string]any{"type": t})
	}
	return all
}

// schemaOf is the JSON Schema of a workflow's inputs.
func schemaOf(inputs []protocols.Input) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, in := range inputs {
		p := map[string]any{}
		if in.Type != "" {
			p["type"] = in.Type
		} else if len(in.Enum) == 0 {
			p["anyOf"] = anyType()
		}
		if in.Description != "" {
			p["description"] = in.Description
		}
		if in.Default != nil {
			p["default"] = in.Default
		}
		if len(in.Enum) > 0 {
			p["enum"] = in.Enum
		}
		properties[in.Name] = p
		if in.Required && in.Default == nil {
			required = append(required, in.Name)
		}
	}
	schema := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		schema["required"] = required
	}
	return schema
}

// tool carries out calls of a workflow's tool.
func (s *session) tool(name string) sdk.ToolHandler {
	return func(ctx context.Context, req *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		if req.Params.RequestState != "" {
			return s.goOn(ctx, req)
		}
		w := s.workflow(name)
		if w == nil {
			return said("the workflow %s is gone from the folder; list the tools again", name), nil
		}
		if err := s.store.Submits(); err != nil { // before anything is read of this machine for it
			return failed(err), nil
		}
		inputs := map[string]json.RawMessage{}
		if err := read(req.Params.Arguments, &inputs); err != nil {
			return said("the arguments: %v", err), nil
		}
		p, err := w.Submission(inputs)
		if err != nil {
			return failed(err), nil
		}
		p.Key, p.By = keyOf(req.Params.Meta), s.by(req.Session)
		r, err := s.store.Submit(ctx, p)
		if err != nil {
			return failed(err), nil
		}
		return s.attend(ctx, req, r.ID, s.wait, newAsking())
	}
}

// keyOf is the idempotency key that a call bears, "" for none.
func keyOf(meta sdk.Meta) string {
	key, _ := meta[metaKey].(string)
	return key
}

// read reads arguments, of which none may be unknown.
func read(raw json.RawMessage, p any) error {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode(p)
}

// said is a result that says why there is none. The model reads it, and may
// call again.
func said(format string, args ...any) *sdk.CallToolResult {
	return &sdk.CallToolResult{IsError: true, Content: []sdk.Content{&sdk.TextContent{Text: fmt.Sprintf(format, args...)}}}
}

// failed is said for an error.
func failed(err error) *sdk.CallToolResult { return said("%v", err) }

// about adds to a result which run it is about.
func about(r *sdk.CallToolResult, id, status string) *sdk.CallToolResult {
	meta := maps.Clone(r.Meta)
	if meta == nil {
		meta = sdk.Meta{}
	}
	meta[metaRun], meta[metaStatus] = id, status
	r.Meta = meta
	return r
}
