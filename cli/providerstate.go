package cli

import (
	"context"
	"fmt"
	"os"
	"time"

	"gleitzeit/cli/client"
	"gleitzeit/cli/server"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// This file adds to providers what runs have found out about them: calls that
// they have, their breakers, and what is left of their rates.

// providerStates asks the store how the providers are; nil if there is no store
// yet, or nobody can say.
func (s *session) providerStates(ctx context.Context, c *config) []replay.ProviderView {
	p := server.ProviderStateParams{} // those of the server that we use
	if s.remote() == "" {
		if _, err := os.Stat(c.Store); c.Backend == "memory" || err != nil {
			return nil
		}
		p.Providers = c.setup().Providers
	}
	o := s.options(c, looks)
	o.Patience = statePatience
	store, err := client.Open(ctx, o)
	if err == nil {
		var r server.ProviderStatesResult
		err = store.Call(ctx, server.ProviderState, p, &r)
		if closing := store.Close(ctx); err == nil {
			err = closing
		}
		if err == nil {
			return r.States
		}
	}
	s.print.say("%s", s.print.errInk.faint(fmt.Sprintf("note: how the providers are in runs isn't known: %v", err)))
	return nil
}

// statePatience is how long a process that holds the store may take to answer.
const statePatience = 3 * time.Second

// stateOf is the state of one of the providers, which are listed in the same
// order.
func stateOf(states []replay.ProviderView, infos []providers.Info, name, protocol string) *replay.ProviderView {
	for i, info := range infos {
		if i < len(states) && info.Name == name && info.Protocol == protocol {
			return &states[i]
		}
	}
	return nil
}

// stateColumns adds columns for what there is to say of at least one of the
// rows.
func (i ink) stateColumns(rows [][]string, states []*replay.ProviderView) [][]string {
	now := time.Now()
	for _, column := range []struct {
		name string
		text func(v *replay.ProviderView) string
	}{
		{"WORKERS", func(v *replay.ProviderView) string { return unlessZero(v.Workers) }},
		{"IN USE", func(v *replay.ProviderView) string { return unlessZero(v.InUse) }},
		{"WAITING", func(v *replay.ProviderView) string { return unlessZero(v.Waiting) }},
		{"BREAKER", func(v *replay.ProviderView) string { return i.breaker(v, now) }},
		{"CALLS LEFT", func(v *replay.ProviderView) string { return leftOf(v.CallsLeft) }},
		{"TOKENS LEFT", func(v *replay.ProviderView) string { return leftOf(v.TokensLeft) }},
	} {
		texts, some := make([]string, len(states)), false
		for n, v := range states {
			if v != nil {
				texts[n] = column.text(v)
				some = some || texts[n] != ""
			}
		}
		if !some {
			continue
		}
		rows[0] = append(rows[0], column.name)
		for n := range texts {
			rows[n+1] = append(rows[n+1], texts[n])
		}
	}
	return rows
}

func unlessZero(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// breaker says where a breaker stands, "" if all is well.
func (i ink) breaker(v *replay.ProviderView, now time.Time) string {
	switch {
	case v.Breaker == "open" && v.Until.After(now):
		return i.red("open") + " for " + short(v.Until.Sub(now))
	case v.Breaker == "open", v.Breaker == "half_open":
		return i.yellow("to be tried")
	case v.Failures > 0:
		return i.yellow(plural(v.Failures, "failure"))
	}
	return ""
}

func leftOf(n *int64) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(max(*n, 0))
}
