package providers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/protocols"
)

// This file lists and reads the resources of servers.

// listResources describes the resources of the servers that are meant, and
// the templates of others.
func (m *mcpProvider) listResources(ctx context.Context, server string) (json.RawMessage, error) {
	resources, err := m.everywhere(ctx, server, (*mcpLink).resources)
	if err != nil {
		return nil, err
	}
	templates, err := m.everywhere(ctx, server, (*mcpLink).templates)
	if err != nil {
		return nil, err
	}
	return encode(map[string]any{"resources": described(resources), "templates": described(templates)})
}

// readResource reads one resource, from the server that is named or the only
// one that may have it.
func (m *mcpProvider) readResource(ctx context.Context, p mcpParameters, host Host) (json.RawMessage, error) {
	s, err := m.holder(ctx, p.Server, "resource", p.URI, "uri", (*mcpLink).resources)
	if err != nil {
		return nil, err
	}
	return s.do(ctx, func(l *mcpLink) (json.RawMessage, error) {
		raw, err := l.ask(ctx, "resource "+p.URI, host, func(ctx context.Context, token string) (any, error) {
			params := &mcp.ReadResourceParams{URI: p.URI}
			params.SetMeta(mcp.Meta{"progressToken": token})
			return l.session.ReadResource(ctx, params)
		})
		if err != nil {
			return nil, err
		}
		return resourceResult(l.server, p.URI, raw)
	})
}

// mcpItems are what one server listed: resources, templates or prompts, each
// as the server described it.
type mcpItems struct {
	server *mcpServer
	items  []json.RawMessage
	err    error
}

// lister lists things of one server.
type lister func(l *mcpLink, ctx context.Context) ([]json.RawMessage, error)

// everywhere asks the servers that are meant for a list, all at once. An error
// of one is everybody's.
func (m *mcpProvider) everywhere(ctx context.Context, server string, list lister) ([]mcpItems, error) {
	servers, err := m.chosen(server)
	if err != nil {
		return nil, err
	}
	all := make([]mcpItems, len(servers))
	eachServer(servers, func(i int, s *mcpServer) {
		all[i].server = s
		_, all[i].err = s.do(ctx, func(l *mcpLink) (_ json.RawMessage, err error) {
			all[i].items, err = list(l, ctx)
			return nil, err
		})
	})
	for _, one := range all {
		if one.err != nil {
			return nil, one.err
		}
	}
	return all, nil
}

// described puts the server's name into each description.
func described(all []mcpItems) []json.RawMessage {
	list := []json.RawMessage{}
	for _, one := range all {
		name, _ := encode(one.server.name)
		for _, item := range one.items {
			item = bytes.TrimSpace(item)
			if len(item) < 2 || item[0] != '{' {
				continue
			}
			text := append(append([]byte(`{"server":`), name...), ',')
			if bytes.Equal(bytes.TrimSpace(item[1:]), []byte("}")) {
				text = text[:len(text)-1]
			}
			list = append(list, append(text, item[1:]...))
		}
	}
	return list
}

// holder finds the server to ask for one thing: the one that is meant, if that
// is clear, else the one that lists it by this name.
func (m *mcpProvider) holder(ctx context.Context, server, what, name, key string, list lister) (*mcpServer, error) {
	servers, err := m.chosen(server)
	if err != nil {
		return nil, err
	}
	switch len(servers) {
	case 0:
		return nil, protocols.Errorf(protocols.ProviderNotFound, "no MCP server is configured; add one to mcpServers")
	case 1:
		return servers[0], nil
	}
	all, err := m.everywhere(ctx, server, list)
	if err != nil {
		return nil, err
	}
	var having []string
	var found *mcpServer
	for _, one := range all {
		if slices.Contains(namesIn(one.items, key), name) {
			having, found = append(having, one.server.name), one.server
		}
	}
	switch len(having) {
	case 0:
		return nil, protocols.Errorf(protocols.MethodNotFound, "no MCP server lists the %s %q; say with server or provider which has it", what, name)
	case 1:
		return found, nil
	}
	return nil, protocols.Errorf(protocols.TaskParameterError,
		"%s %q is on several MCP servers: %s; say which with provider", what, name, strings.Join(having, ", "))
}

// namesIn reads the names of what was listed.
func namesIn(items []json.RawMessage, key string) (names []string) {
	for _, item := range items {
		var fields map[string]json.RawMessage
		var name string
		if json.Unmarshal(item, &fields) == nil && json.Unmarshal(fields[key], &name) == nil {
			names = append(names, name)
		}
	}
	return names
}

// resources lists the server's resources.
func (l *mcpLink) resources(ctx context.Context) ([]json.RawMessage, error) {
	if c := l.session.InitializeResult().Capabilities; c != nil && c.Resources == nil {
		return nil, nil
	}
	return l.listed(ctx, "resources/list", "resources", func(ctx context.Context, cursor string) (any, error) {
		return l.session.ListResources(ctx, &mcp.ListResourcesParams{Cursor: cursor})
	})
}

// templates lists those whose address has gaps. Not every server that has
// resources knows of them.
func (l *mcpLink) templates(ctx context.Context) ([]json.RawMessage, error) {
	if c := l.session.InitializeResult().Capabilities; c != nil && c.Resources == nil {
		return nil, nil
	}
	items, err := l.listed(ctx, "resources/templates/list", "resourceTemplates", func(ctx context.Context, cursor string) (any, error) {
		return l.session.ListResourceTemplates(ctx, &mcp.ListResourceTemplatesParams{Cursor: cursor})
	})
	var e *protocols.Error
	if errors.As(err, &e) && e.Code == protocols.MethodNotFound {
		return nil, nil
	}
	return items, err
}

// listed collects a list, each item as the server wrote it.
func (l *mcpLink) listed(ctx context.Context, request, key string, page func(ctx context.Context, cursor string) (any, error)) ([]json.RawMessage, error) {
	var all []json.RawMessage
	cursor := ""
	for range maxPages {
		raw, err := l.ask(ctx, request, nil, func(ctx context.Context, _ string) (any, error) { return page(ctx, cursor) })
		if err != nil {
			return nil, err
		}
		var answer map[string]json.RawMessage
		var items []json.RawMessage
		cursor = ""
		if err = json.Unmarshal(raw, &answer); err == nil && answer[key] != nil {
			err = json.Unmarshal(answer[key], &items)
		}
		if err == nil && answer["nextCursor"] != nil {
			err = json.Unmarshal(answer["nextCursor"], &cursor)
		}
		if err != nil {
			return nil, protocols.Errorf(protocols.TaskResultInvalid, "MCP server %s, %s: %v", l.server, request, err)
		}
		if all = append(all, items...); cursor == "" {
			return all, nil
		}
	}
	return nil, l.endless(request)
}

// resourceContent is a part of a resource as a server sends it.
type resourceContent struct {
	URI  string  `json:"uri"`
	Type string  `json:"mimeType"`
	Text *string `json:"text"`
	Blob *string `json:"blob"` // base64
}

// part is a piece of content in the one form that all results have.
type part struct {
	Type     string `json:"type"` // text, image, audio, blob
	MIMEType string `json:"mimeType,omitempty"`
	Text     string `json:"text,omitempty"`
	Data     string `json:"data,omitempty"` // base64
	URI      string `json:"uri,omitempty"`
}

// part brings it into that form.
func (c resourceContent) part() part {
	p := part{Type: "text", MIMEType: c.Type, URI: c.URI}
	switch {
	case c.Blob == nil:
		if c.Text != nil {
			p.Text = *c.Text
		}
		return p
	case strings.HasPrefix(c.Type, "image/"):
		p.Type = "image"
	case strings.HasPrefix(c.Type, "audio/"):
		p.Type = "audio"
	default:
		p.Type = "blob"
	}
	p.Data = *c.Blob
	return p
}

// resourceResult brings a resource into the form of a tool's result.
func resourceResult(server, uri string, raw json.RawMessage) (json.RawMessage, error) {
	var answer struct {
		Contents []resourceContent `json:"contents"`
	}
	err := json.Unmarshal(raw, &answer)
	if err == nil && answer.Contents == nil {
		err = errors.New("it has no contents")
	}
	if err != nil {
		return nil, protocols.Errorf(protocols.TaskResultInvalid, "resource %s of MCP server %s: %v", uri, server, err)
	}
	parts, texts := []part{}, []string{}
	for _, c := range answer.Contents {
		p := c.part()
		if parts = append(parts, p); p.Type == "text" {
			texts = append(texts, p.Text)
		}
	}
	text := strings.Join(texts, "\n")
	result := struct {
		Result   any    `json:"result"`
		Response string `json:"response"`
		Content  []part `json:"content"`
	}{text, text, parts}
	switch {
	case len(texts) == 0 && len(parts) > 0:
		result.Result = parts
	case json.Valid([]byte(text)):
		result.Result = json.RawMessage(bytes.TrimSpace([]byte(text)))
	}
	return encode(result)
}
