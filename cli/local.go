package cli

import (
	"context"
	"errors"
	"time"

	"gleitzeit/cli/server"
	"gleitzeit/providers"
)

// local is what a server of ours knows of its configuration.
func (s *session) local(c *config) server.Local {
	return server.Local{
		Compile:   s.compiler(c),
		Providers: func() []providers.Info { return c.providers().List() },
		Setup:     c.setup,
		Check: func(ctx context.Context, names []string, patience time.Duration) ([]server.ProviderHealth, error) {
			return s.check(ctx, c, names, patience)
		},
		Settings: func() []server.Setting { return c.shown() },
	}
}

// check asks the providers of those names whether they could work now.
func (s *session) check(ctx context.Context, c *config, names []string, patience time.Duration) ([]server.ProviderHealth, error) {
	infos, err := choose(c.providers().List(), names)
	if err != nil {
		return nil, err
	}
	set, err := s.openConfigured(c)
	if err != nil {
		return nil, err
	}
	results := checkAll(ctx, set, infos, patience)
	return results, errors.Join(set.Close())
}
