package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// This file is about runs whose answers are made up: --mock FILE, and providers
// of kind mock with a script. What the files say becomes part of the
// configuration that a run is submitted with.

// readMocks reads the scripts that the configuration names.
func (c *config) readMocks(env *environment) (err error) {
	if c.Mock != "" {
		if c.mocks, err = readScript(env, c.Mock); err != nil {
			return err
		}
	}
	for _, name := range sortedNames(c.Providers) {
		p := c.Providers[name]
		if p.Kind != "mock" || p.Script == "" {
			continue
		}
		if p.Mocks, err = readScript(env, p.Script); err != nil {
			return err
		}
		p.Script = p.Mocks.File
		c.Providers[name] = p
	}
	return nil
}

// readScript reads a file of scripted answers.
func readScript(env *environment, path string) (*providers.Mocks, error) {
	data, err := readLimited(path, maxFile)
	if err != nil {
		return nil, usage(fmt.Errorf("read the mocks: %w", err))
	}
	mocks, problems := providers.ParseMocks(env.relative(path), data)
	if len(problems) > 0 {
		return nil, problems
	}
	return mocks, nil
}

// mocking changes the setups that others submit their runs with, when this
// process was told to mock. nil: it wasn't.
func (c *config) mocking() func(*replay.Setup) error {
	if c.mocks == nil {
		return nil
	}
	return func(s *replay.Setup) error {
		var all providers.Config
		if len(s.Config) > 0 {
			if err := json.Unmarshal(s.Config, &all); err != nil {
				return fmt.Errorf("read the setup of the run: %w", err)
			}
		}
		if all.Mocks != nil && all.Mocks.File == c.mocks.File {
			return nil // submitted by this very process
		}
		all.Mocks = c.mocks
		s.Config, s.Providers = all.Canonical(), mockedSlots(s.Providers, all)
		return nil
	}
}

// mockedSlots are the providers of a setup when mocks stand in for some.
func mockedSlots(given []replay.ProviderSlots, all providers.Config) (slotted []replay.ProviderSlots) {
	for _, p := range given {
		if all.Mocks.Covers(p.Protocol) {
			p.Mock, p.ID, p.Secrets = all.Mocks.File, all.Identity(p.Name), nil
		}
		slotted = append(slotted, p)
	}
	for _, info := range all.List() {
		known := func(p replay.ProviderSlots) bool { return p.Name == info.Name && p.Protocol == info.Protocol }
		if !slices.ContainsFunc(slotted, known) {
			slotted = append(slotted, slots(info, all))
		}
	}
	return slotted
}

// unmocked warns of mocks that nothing of the workflow has a use for.
func unmocked(f *workflowFile, c *config, w *protocols.Workflow) protocols.Problems {
	if c.mocks == nil || len(w.Children) > 0 || slices.ContainsFunc(w.Tasks, func(t *protocols.Task) bool { return c.mocks.Covers(t.Protocol) }) {
		return nil
	}
	return protocols.Problems{{File: f.name, Line: 1, Col: 1, Warning: true,
		Text: fmt.Sprintf("%s mocks nothing that this workflow does: all of it is real", c.mocks.File)}}
}

// refuseMock is for commands that go on with runs.
func (s *session) refuseMock() error {
	if s.Mock == "" {
		return nil
	}
	return usage(errors.New("--mock: a run goes on with the providers, or the mocks, that it was submitted with"))
}
