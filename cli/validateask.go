package cli

import (
	"context"
	"time"

	"gleitzeit/protocols"
)

// This file has MCP servers asked for their tools, for validate.

// askServers tells the registry what tools the servers of the configuration
// for a workflow's folder have. It returns a problem, to be told as a warning,
// for each that can't be asked.
func (s *session) askServers(dir string, registry *protocols.Registry, patience time.Duration) (protocols.Problems, error) {
	conf, err := s.config(dir)
	if err != nil {
		return nil, err
	}
	if len(conf.MCPServers) == 0 || conf.mocks != nil && conf.mocks.Covers("mcp/v1") {
		return nil, nil
	}
	set, err := s.openConfigured(conf)
	if err != nil {
		return nil, err
	}
	ctx, stop := interruptible()
	defer stop()
	ctx, enough := context.WithTimeout(ctx, patience)
	defer enough()
	var problems protocols.Problems
	for _, a := range set.Tools(ctx) {
		if a.Err != nil {
			problems = append(problems, protocols.Problem{Warning: true,
				Text: "calls of MCP tools are not checked against server " + a.Server + ": " + a.Err.Error()})
		}
		registry.LearnTools(a.Server, a.Tools)
	}
	return problems, set.Close()
}
