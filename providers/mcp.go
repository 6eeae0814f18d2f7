package providers

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"gleitzeit/protocols"
)

// mcpProvider speaks mcp/v1 for all configured MCP servers, or for one.
//
//	mcp/tool.NAME       the tool's arguments, or {arguments, server}
//	mcp/call_tool       name, arguments, server
//	mcp/tools/list      server  {tools: [{server, name, description, inputSchema}]}
//	mcp/resources/list  server  {resources: [{server, uri, …}], templates: […]}
//	mcp/resources/read  uri, server
//	mcp/prompt.NAME     the prompt's arguments, or {arguments, server}
//	mcp/prompts/list    server  {prompts: [{server, name, …}]}
//	mcp/prompts/get     name, arguments, server
//	mcp/server_info     server  {servers: [{server, name, version, …}]}
//	mcp/ping            server  {response: "pong", servers: [{server, latency_ms}]}
//
// A call of a tool goes to the one server that has it; without one, to the
// built-in tool of that name. So all servers are asked, and one that is slow
// to start holds up the first call that names no server. `server` is ours
// only beside `arguments`: a tool may have an argument of that name.
type mcpProvider struct {
	servers *mcpServers
	only    string        // the one server's name, "" for all and the built-in tools
	timeout time.Duration // of one call, 0 for none
}

func newMCP(name string, c ProviderConfig, d deps) (Provider, error) {
	m := &mcpProvider{servers: d.servers}
	if c.Timeout != "" {
		var err error
		if m.timeout, err = time.ParseDuration(c.Timeout); err != nil {
			return nil, protocols.Errorf(protocols.ConfigurationError, "provider %s: timeout: %v", name, err)
		}
	}
	return m, nil
}

// Close has nothing to do: the servers are the set's, which several providers
// may share.
func (m *mcpProvider) Close() error { return nil }

// mcpParameters are those of every method but mcp/tool.NAME and
// mcp/prompt.NAME.
type mcpParameters struct {
	Name      string          `json:"name"`
	URI       string          `json:"uri"`
	Arguments json.RawMessage `json:"arguments"`
	Server    string          `json:"server"`
}

// Call carries out one mcp/v1 method.
func (m *mcpProvider) Call(ctx context.Context, call Call, host Host) (json.RawMessage, error) {
	if ctx.Err() != nil {
		return nil, endedError(ctx)
	}
	within := context.WithValue(context.WithValue(ctx, runKey{}, call.Run), traceKey{}, call.Trace)
	if m.timeout > 0 {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(within, m.timeout)
		defer cancel()
	}
	result, err := m.dispatch(within, call, host)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		return nil, protocols.Errorf(protocols.ProviderTimeout, "%s took longer than %v", call.Method, m.timeout)
	}
	return result, err
}

func (m *mcpProvider) dispatch(ctx context.Context, call Call, host Host) (json.RawMessage, error) {
	if tool, is := strings.CutPrefix(call.Method, "mcp/tool."); is && tool != "" {
		p, err := namedParameters(call, tool)
		if err != nil {
			return nil, err
		}
		return m.callTool(ctx, p, host)
	}
	if prompt, is := strings.CutPrefix(call.Method, "mcp/prompt."); is && prompt != "" {
		p, err := namedParameters(call, prompt)
		if err != nil {
			return nil, err
		}
		return m.getPrompt(ctx, p, host)
	}
	var p mcpParameters
	if err := readParameters(call, &p); err != nil {
		return nil, err
	}
	switch call.Method {
	case "mcp/call_tool":
		if p.Name == "" {
			return nil, protocols.Errorf(protocols.TaskParameterError, "mcp/call_tool needs name, the tool's")
		}
		return m.callTool(ctx, p, host)
	case "mcp/tools/list":
		return m.listTools(ctx, p.Server)
	case "mcp/resources/list":
		return m.listResources(ctx, p.Server)
	case "mcp/resources/read":
		if p.URI == "" {
			return nil, protocols.Errorf(protocols.TaskParameterError, "mcp/resources/read needs uri, the resource's")
		}
		return m.readResource(ctx, p, host)
	case "mcp/prompts/list":
		return m.listPrompts(ctx, p.Server)
	case "mcp/prompts/get":
		if p.Name == "" {
			return nil, protocols.Errorf(protocols.TaskParameterError, "mcp/prompts/get needs name, the prompt's")
		}
		return m.getPrompt(ctx, p, host)
	case "mcp/server_info":
		return m.serverInfo(ctx, p.Server)
	case "mcp/ping":
		return m.ping(ctx, p.Server)
	}
	return nil, protocols.Errorf(protocols.MethodNotSupported, "mcp/v1 has no method %s; there is mcp/tool.NAME, mcp/call_tool, mcp/tools/list, "+
		"mcp/resources/list, mcp/resources/read, mcp/prompt.NAME, mcp/prompts/list, mcp/prompts/get, mcp/server_info, mcp/ping", call.Method)
}

// namedParameters tells the arguments of a tool or a prompt from ours.
func namedParameters(call Call, name string) (mcpParameters, error) {
	var given map[string]json.RawMessage
	if err := readParameters(call, &given); err != nil {
		return mcpParameters{}, err
	}
	if _, wrapped := given["arguments"]; !wrapped {
		return mcpParameters{Name: name, Arguments: call.Parameters}, nil
	}
	var p mcpParameters
	if err := readParameters(call, &p); err != nil {
		return mcpParameters{}, err
	}
	p.Name = name
	return p, nil
}

// callTool finds the tool and calls it.
func (m *mcpProvider) callTool(ctx context.Context, p mcpParameters, host Host) (json.RawMessage, error) {
	arguments := json.RawMessage(bytes.TrimSpace(p.Arguments))
	if len(arguments) == 0 || string(arguments) == "null" {
		arguments = json.RawMessage("{}")
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(arguments, &members) != nil {
		return nil, protocols.Errorf(protocols.TaskParameterError, "arguments of tool %s: must be a map", p.Name)
	}
	server, err := m.find(ctx, p.Name, p.Server)
	if err != nil {
		return nil, err
	}
	if server != nil {
		return server.do(ctx, func(l *mcpLink) (json.RawMessage, error) { return l.callTool(ctx, p.Name, arguments, host) })
	}
	tool, _ := builtin(p.Name)
	result, err := tool.call(members)
	if err != nil {
		return nil, err
	}
	return encode(result)
}

// find returns the one server that has the tool, nil for a built-in one. Those servers that can't be reached are no answer to whether
// a tool exists: then it is their error that is returned.
func (m *mcpProvider) find(ctx context.Context, tool, server string) (*mcpServer, error) {
	lists, err := m.lists(ctx, server)
	if err != nil {
		return nil, err
	}
	var having []string
	var found *mcpServer
	for _, l := range lists {
		if l.err == nil && l.has(tool) {
			having, found = append(having, l.server.name), l.server
		}
	}
	switch {
	case len(having) == 1:
		return found, nil
	case len(having) > 1:
		return nil, protocols.Errorf(protocols.TaskParameterError,
			"tool %q is on several MCP servers: %s; say which with provider", tool, strings.Join(having, ", "))
	}
	for _, l := range lists {
		if l.err != nil {
			return nil, l.err
		}
	}
	if _, is := builtin(tool); is && m.hasBuiltin(server) {
		return nil, nil
	}
	return nil, m.unknownTool(tool, server, lists)
}

// hasBuiltin tells whether the built-in tools count.
func (m *mcpProvider) hasBuiltin(server string) bool { return m.only == "" && server == "" }

func (m *mcpProvider) unknownTool(tool, server string, lists []mcpList) error {
	var names []string
	for _, l := range lists {
		for _, t := range l.tools {
			names = append(names, t.Name)
		}
	}
	if m.hasBuiltin(server) {
		for _, t := range builtinTools() {
			names = append(names, t.name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	where := "no MCP server has a tool"
	if len(lists) == 1 {
		where = "MCP server " + lists[0].server.name + " has no tool"
	}
	return protocols.Errorf(protocols.MethodNotFound, "%s %q%s", where, tool, choices(tool, names)).
		With(map[string]any{"tools": names})
}

// mcpList is what one server answered.
type mcpList struct {
	server *mcpServer
	tools  []mcpTool
	err    error
}

func (l mcpList) has(tool string) bool {
	return slices.ContainsFunc(l.tools, func(t mcpTool) bool { return t.Name == tool })
}

// lists asks the servers that are meant for their tools, all at once.
func (m *mcpProvider) lists(ctx context.Context, server string) ([]mcpList, error) {
	servers, err := m.chosen(server)
	if err != nil {
		return nil, err
	}
	lists := make([]mcpList, len(servers))
	eachServer(servers, func(i int, s *mcpServer) {
		lists[i].server = s
		lists[i].tools, lists[i].err = s.tools(ctx)
	})
	return lists, nil
}

// chosen are the servers that a call means, by name.
func (m *mcpProvider) chosen(server string) ([]*mcpServer, error) {
	if m.only != "" {
		if server != "" && server != m.only {
			return nil, protocols.Errorf(protocols.TaskParameterError,
				"server %q is named for a call of provider %q", server, m.only)
		}
		server = m.only
	}
	if server == "" {
		return m.servers.list, nil
	}
	s, err := m.servers.get(server)
	if err != nil {
		return nil, err
	}
	return []*mcpServer{s}, nil
}

func eachServer(servers []*mcpServer, do func(i int, s *mcpServer)) {
	var all sync.WaitGroup
	for i, s := range servers {
		all.Go(func() { do(i, s) })
	}
	all.Wait()
}

// listTools describes every tool that a call without a server would find.
func (m *mcpProvider) listTools(ctx context.Context, server string) (json.RawMessage, error) {
	type described struct {
		Server      string          `json:"server"`
		Name        string          `json:"name"`
		Description string          `json:"description,omitempty"`
		InputSchema json.RawMessage `json:"inputSchema"`
	}
	tools := []described{}
	lists, err := m.lists(ctx, server)
	if err != nil {
		return nil, err
	}
	for _, l := range lists {
		if l.err != nil {
			return nil, l.err
		}
		for _, t := range l.tools {
			tools = append(tools, described{l.server.name, t.Name, t.Description, t.InputSchema})
		}
	}
	if m.hasBuiltin(server) {
		for _, t := range builtinTools() {
			if !slices.ContainsFunc(lists, func(l mcpList) bool { return l.has(t.name) }) {
				tools = append(tools, described{"", t.name, t.description, json.RawMessage(t.arguments)})
			}
		}
	}
	return encode(map[string]any{"tools": tools})
}

// serverInfo tells what the servers say of themselves.
func (m *mcpProvider) serverInfo(ctx context.Context, server string) (json.RawMessage, error) {
	servers, err := m.chosen(server)
	if err != nil {
		return nil, err
	}
	infos := make([]mcpInfo, len(servers))
	errs := make([]error, len(servers))
	eachServer(servers, func(i int, s *mcpServer) {
		var link *mcpLink
		if link, errs[i] = s.link(ctx); errs[i] == nil {
			infos[i] = link.info()
		}
	})
	if err := firstError(errs); err != nil {
		return nil, err
	}
	return encode(map[string]any{"servers": infos})
}

// ping asks every server for a sign of life.
func (m *mcpProvider) ping(ctx context.Context, server string) (json.RawMessage, error) {
	servers, err := m.chosen(server)
	if err != nil {
		return nil, err
	}
	type answer struct {
		Server  string  `json:"server"`
		Latency float64 `json:"latency_ms"`
	}
	answers := make([]answer, len(servers))
	errs := make([]error, len(servers))
	eachServer(servers, func(i int, s *mcpServer) {
		var took time.Duration
		took, errs[i] = s.ping(ctx)
		answers[i] = answer{s.name, float64(took.Microseconds()) / 1000}
	})
	if err := firstError(errs); err != nil {
		return nil, err
	}
	return encode(map[string]any{"response": "pong", "servers": answers})
}

func firstError(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkTime bounds the answer to a Check, a server's start included.
const checkTime = 30 * time.Second

// Check starts the servers and pings them: healthy when all answer, degraded
// when some do.
func (m *mcpProvider) Check(ctx context.Context) Health {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	servers, err := m.chosen("")
	if err != nil {
		return Health{Status: "unhealthy", Message: err.Error()}
	}
	started := time.Now()
	errs := make([]error, len(servers))
	eachServer(servers, func(i int, s *mcpServer) { _, errs[i] = s.ping(ctx) })
	details := map[string]string{}
	var failed []string
	for i, s := range servers {
		details[s.name] = "healthy"
		if errs[i] != nil {
			details[s.name] = errs[i].Error()
			failed = append(failed, errs[i].Error())
		}
	}
	h := Health{Status: "healthy", Latency: time.Since(started), Details: details}
	switch {
	case len(servers) == 0:
		h.Message, h.Details = "no servers configured; the built-in tools are there", nil
	case len(failed) == 0:
		h.Message = "all servers answer"
	case len(failed) < len(servers):
		h.Status, h.Message = "degraded", strings.Join(failed, "; ")
	default:
		h.Status, h.Message = "unhealthy", strings.Join(failed, "; ")
	}
	return h
}

// ServerTools are the tools of one MCP server, as it describes them.
type ServerTools struct {
	Server string // "" for those that are built in
	Tools  []protocols.Tool
	Err    error // the server could not be asked
}

// Tools asks every MCP server of the configuration for its tools, all at once;
// those that aren't running are started. The built-in ones come first.
func (s *Set) Tools(ctx context.Context) []ServerTools {
	all := make([]ServerTools, len(s.deps.servers.list)+1)
	for _, t := range builtinTools() {
		all[0].Tools = append(all[0].Tools, protocols.Tool{Name: t.name, Parameters: json.RawMessage(t.arguments)})
	}
	eachServer(s.deps.servers.list, func(i int, server *mcpServer) {
		tools, err := server.tools(ctx)
		all[i+1].Server, all[i+1].Err = server.name, err
		if err == nil {
			all[i+1].Tools = []protocols.Tool{}
		}
		for _, t := range tools {
			all[i+1].Tools = append(all[i+1].Tools, protocols.Tool{Name: t.Name, Parameters: t.InputSchema})
		}
	})
	return all
}
