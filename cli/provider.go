package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// providerCmd is about what carries tasks out.
type providerCmd struct {
	List   providerListCmd   `cmd:"" help:"List the providers of this configuration, the preferred ones first."`
	Check  providerCheckCmd  `cmd:"" help:"Ask providers whether they could work now; MCP servers are started for it."`
	Models providerModelsCmd `cmd:"" help:"List the models that the language model servers have now."`
	Login  providerLoginCmd  `cmd:"" help:"Log in to an MCP server that wants it."`
	Logout providerLogoutCmd `cmd:"" help:"Forget the login to an MCP server."`
}

// providerListCmd lists providers.
type providerListCmd struct{}

// Help shows how it is used.
func (providerListCmd) Help() string {
	return `What runs have found out is shown where there is something to say: calls in use, tasks
that wait, breakers that aren't closed, and what is left of rates.

Examples:

	gleitzeit provider list
	gleitzeit provider list -o json`
}

// Run does it.
func (providerListCmd) Run(s *session) error {
	c, err := s.config("")
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	listed, views := []listedProvider{}, []*replay.ProviderView{}
	rows := [][]string{{"NAME", "PROTOCOL", "KIND", "SLOTS"}}
	states := s.providerStates(ctx, c)
	infos, err := s.providerInfos(ctx, c)
	if err != nil {
		return err
	}
	for _, info := range infos {
		v := stateOf(states, infos, info.Name, info.Protocol)
		listed, views = append(listed, listedProvider{info, v}), append(views, v)
		rows = append(rows, []string{info.Name, info.Protocol, info.Kind, slotsOf(info, v)})
	}
	return s.print.show(listed, func(w io.Writer) { table(w, s.print.outInk.stateColumns(rows, views)) })
}

// providerInfos are the providers of the configuration, the server's if we use
// one.
func (s *session) providerInfos(ctx context.Context, c *config) ([]providers.Info, error) {
	if s.remote() == "" {
		return c.providers().List(), nil
	}
	var r server.ProvidersResult
	err := s.use(ctx, c, looks, func(store *client.Client) error {
		return store.Call(ctx, server.ProviderList, struct{}{}, &r)
	})
	return r.Providers, err
}

// slotsOf is how many calls at once a provider may have now.
func slotsOf(info providers.Info, v *replay.ProviderView) string {
	if info.Kind == "remote" && v != nil {
		return fmt.Sprint(v.Slots)
	}
	return fmt.Sprint(info.Slots)
}

// listedProvider is a provider, and how it is; no State: there is no store.
type listedProvider struct {
	providers.Info
	State *replay.ProviderView `json:"state,omitempty"`
}

// providerCheckCmd asks providers how they are.
type providerCheckCmd struct {
	Names   []string      `arg:"" optional:"" name:"name" help:"Which ones; without any, all."`
	Timeout time.Duration `default:"10s" placeholder:"TIME" help:"How long to wait for each."`
}

// Help shows how it is used.
func (providerCheckCmd) Help() string {
	return `The exit code is 8 if any of them could not work.

Examples:

	gleitzeit provider check
	gleitzeit provider check ollama`
}

// Run does it.
func (c *providerCheckCmd) Run(s *session) error {
	conf, err := s.config("")
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	infos, err := s.providerInfos(ctx, conf)
	if err != nil {
		return err
	}
	results, closing := s.ask(ctx, conf, c)
	if results == nil {
		return closing
	}
	code := exitOK
	states := s.providerStates(ctx, conf)
	var views []*replay.ProviderView
	rows := [][]string{{"NAME", "PROTOCOL", "STATUS", "TIME"}}
	for i, r := range results {
		results[i].State = stateOf(states, infos, r.Name, r.Protocol)
		views = append(views, results[i].State)
		if r.Status == "unhealthy" {
			code = exitUnreachable
		}
		rows = append(rows, []string{r.Name, r.Protocol, s.print.outInk.health(r.Status),
			short(time.Duration(r.LatencyMS) * time.Millisecond)})
	}
	err = s.print.show(results, func(w io.Writer) {
		rows = s.print.outInk.stateColumns(rows, views)
		rows[0] = append(rows[0], "")
		for i, r := range results {
			rows[i+1] = append(rows[i+1], line(r.Message, 120))
		}
		table(w, rows)
	})
	return errors.Join(err, closing, silently(code))
}

// ask asks the providers how they are, or has the server ask that we use.
func (s *session) ask(ctx context.Context, conf *config, c *providerCheckCmd) ([]server.ProviderHealth, error) {
	if s.remote() == "" {
		return s.check(ctx, conf, c.Names, c.Timeout)
	}
	var r server.HealthsResult
	err := s.use(ctx, conf, looks, func(store *client.Client) error {
		return store.Call(ctx, server.ProviderCheck, server.NamesParams{Names: c.Names, Timeout: c.Timeout.Seconds()}, &r)
	})
	return r.Providers, err
}

// health colours the word for a provider's state.
func (i ink) health(status string) string {
	switch status {
	case "healthy":
		return i.green(status)
	case "unhealthy":
		return i.red(status)
	}
	return i.yellow(status)
}

// choose returns the providers of those names.
func choose(infos []providers.Info, names []string) ([]providers.Info, error) {
	if len(names) == 0 {
		return infos, nil
	}
	known := map[string]providers.Info{}
	for _, info := range infos {
		known[info.Name] = info
	}
	var chosen []providers.Info
	for _, name := range names {
		info, there := known[name]
		if !there {
			hint := firstOf(protocols.Suggest(name, sortedNames(known)), "see: gleitzeit provider list")
			return nil, &exit{exitNotFound, protocols.Errorf(protocols.ProviderNotFound, "there is no provider %q (%s)", name, hint)}
		}
		chosen = append(chosen, info)
	}
	return chosen, nil
}

// checkAll asks all of them at once.
func checkAll(ctx context.Context, set *providers.Set, infos []providers.Info, patience time.Duration) []server.ProviderHealth {
	results := make([]server.ProviderHealth, len(infos))
	var asking sync.WaitGroup
	for i, info := range infos {
		asking.Go(func() {
			ctx, enough := context.WithTimeout(ctx, patience)
			defer enough()
			began := time.Now()
			h := set.Check(ctx, info.Name)
			results[i] = server.ProviderHealth{Name: info.Name, Protocol: info.Protocol, Kind: info.Kind, Status: h.Status, Message: h.Message,
				LatencyMS: time.Since(began).Milliseconds(), Details: h.Details}
		})
	}
	asking.Wait()
	return results
}
