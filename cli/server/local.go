package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// This file answers from what the program around the server knows, and says
// how the server is.

var errNotOffered = protocols.Errorf(protocols.MethodNotSupported, "this process doesn't offer that")

func (s *Server) listProviders(context.Context, *Call, empty) (r ProvidersResult, err error) {
	if s.o.Local.Providers == nil {
		return r, errNotOffered
	}
	r.Providers = s.o.Local.Providers()
	if s.o.Workers != nil {
		r.Workers = s.o.Workers.List()
	}
	return r, nil
}

func (s *Server) providerStates(ctx context.Context, _ *Call, p ProviderStateParams) (r ProviderStatesResult, err error) {
	if len(p.Providers) == 0 {
		if s.o.Local.Setup == nil {
			return r, errNotOffered
		}
		p.Providers = s.o.Local.Setup().Providers
	}
	now := time.Now()
	r.States = make([]replay.ProviderView, len(p.Providers))
	return r, s.state(ctx, func(state *replay.State, _ bool) {
		for i := range p.Providers {
			r.States[i] = state.Provider(&p.Providers[i], now)
		}
	})
}

// fewProviders are at most maxProviders. There is no more to be read than that:
// a short text may describe so many that memory has no room for them.
type fewProviders []replay.ProviderSlots

const maxProviders = 10_000

// UnmarshalJSON reads them.
func (f *fewProviders) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if begin, err := d.Token(); err != nil || begin != json.Delim('[') {
		return errors.New("providers can't be anything but a list")
	}
	for d.More() {
		if len(*f) >= maxProviders {
			return fmt.Errorf("more than %d providers", maxProviders)
		}
		var p replay.ProviderSlots
		if err := d.Decode(&p); err != nil {
			return err
		}
		*f = append(*f, p)
	}
	return nil
}

// checkPatience and maxCheck are how long a provider may take to say how it is.
const (
	checkPatience = 10 * time.Second
	maxCheck      = 5 * time.Minute
)

func (s *Server) checkProviders(ctx context.Context, _ *Call, p NamesParams) (r HealthsResult, err error) {
	if s.o.Local.Check == nil {
		return r, errNotOffered
	}
	patience, err := seconds(p.Timeout, checkPatience, maxCheck)
	if err == nil {
		r.Providers, err = s.o.Local.Check(ctx, p.Names, patience)
	}
	return r, err
}

func (s *Server) listProtocols(context.Context, *Call, empty) (ProtocolsResult, error) {
	return ProtocolsResult{protocols.NewRegistry().List()}, nil
}

func (s *Server) getProtocol(_ context.Context, _ *Call, p ProtocolParams) (*protocols.Spec, error) {
	registry := protocols.NewRegistry()
	if spec, found := registry.Get(p.Protocol); found {
		return spec, nil
	}
	var known []string
	for _, spec := range registry.List() {
		known = append(known, spec.Protocol)
	}
	err := protocols.Errorf(protocols.ProtocolNotFound, "there is no protocol %q", p.Protocol)
	if hint := protocols.Suggest(p.Protocol, known); hint != "" {
		err.Message += " (" + hint + ")"
	}
	return nil, err
}

func (s *Server) health(context.Context, *Call, empty) (HealthResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := HealthResult{Status: "ok", Ready: !s.leaving && !s.o.Passive, Since: s.since, Version: s.o.Scheduler.Version}
	switch {
	case s.leaving:
		r.Status = "leaving"
	case s.trouble() != nil:
		r.Status, r.Ready = "waiting", false
	}
	return r, nil
}

func (s *Server) settings(context.Context, *Call, empty) (r SettingsResult, err error) {
	if s.o.Local.Settings == nil {
		return r, errNotOffered
	}
	return SettingsResult{s.o.Local.Settings()}, nil
}
