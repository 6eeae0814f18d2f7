package cli

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"gleitzeit/providers"
	"gleitzeit/replay"
)

// providerModelsCmd lists models.
type providerModelsCmd struct {
	Names   []string      `arg:"" optional:"" name:"name" help:"Of which providers; without any, of all that have models."`
	Timeout time.Duration `default:"10s" placeholder:"TIME" help:"How long to wait for each."`
}

// Help shows how it is used.
func (providerModelsCmd) Help() string {
	return `Each server is asked what it has at this moment. "default" marks the model that a task
gets which names none, "missing" one that the configuration names and the server hasn't.
What runs have found out about its provider is shown beside it, as provider list does.
The exit code is 8 if a server doesn't answer.

Examples:

	gleitzeit provider models
	gleitzeit provider models ollama -o json`
}

// listedModel is a model of a provider, or why there is none.
type listedModel struct {
	Provider string `json:"provider"`
	providers.Model
	Default bool   `json:"default,omitempty"`
	Missing bool   `json:"missing,omitempty"`
	Error   string `json:"error,omitempty"` // instead of a model
	// LatencyMS is how long the provider took to answer, and State what runs have
	// found out about it; none: there is no store.
	LatencyMS int64                `json:"latency_ms"`
	State     *replay.ProviderView `json:"state,omitempty"`
}

// Run does it.
func (c *providerModelsCmd) Run(s *session) error {
	if err := s.onlyHere("the configuration"); err != nil {
		return err
	}
	conf, err := s.config("")
	if err != nil {
		return err
	}
	infos, err := choose(conf.providers().List(), c.Names)
	if err != nil {
		return err
	}
	if len(c.Names) == 0 {
		infos = slices.DeleteFunc(infos, func(i providers.Info) bool { return i.Protocol != "llm/v1" })
	}
	set, err := s.openConfigured(conf)
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	listed, code := modelsOf(ctx, set, infos, conf.addressed(), c.Timeout)
	closing := set.Close()
	states, all := s.providerStates(ctx, conf), conf.providers().List()
	for i, m := range listed {
		listed[i].State = stateOf(states, all, m.Provider, "llm/v1")
	}
	err = s.print.show(listed, func(w io.Writer) { table(w, modelRows(s.print.outInk, listed)) })
	return errors.Join(err, closing, silently(code))
}

// modelsOf asks all of them at once.
func modelsOf(ctx context.Context, set *providers.Set, infos []providers.Info, all providers.Config, patience time.Duration) ([]listedModel, int) {
	answers := make([][]listedModel, len(infos))
	var asking sync.WaitGroup
	for i, info := range infos {
		asking.Go(func() {
			ctx, enough := context.WithTimeout(ctx, patience)
			defer enough()
			began := time.Now()
			models, err := set.Models(ctx, info.Name)
			took := time.Since(began).Milliseconds()
			answers[i] = marked(info.Name, models, all.Providers[info.Name])
			if err != nil {
				answers[i] = []listedModel{{Provider: info.Name, Error: err.Error()}}
			}
			for n := range answers[i] {
				answers[i][n].LatencyMS = took
			}
		})
	}
	asking.Wait()
	listed, code := []listedModel{}, exitOK
	for _, some := range answers {
		if len(some) > 0 && some[0].Error != "" {
			code = exitUnreachable
		}
		listed = append(listed, some...)
	}
	return listed, code
}

// marked compares a server's models with those of the configuration.
func marked(name string, models []providers.Model, c providers.ProviderConfig) []listedModel {
	first := c.ModelByDefault()
	listed := []listedModel{}
	for _, m := range models {
		listed = append(listed, listedModel{Provider: name, Model: m, Default: providers.SameModel(m.Name, first)})
	}
	for _, wanted := range c.Wanted() {
		if !slices.ContainsFunc(models, func(m providers.Model) bool { return providers.SameModel(m.Name, wanted) }) {
			listed = append(listed, listedModel{Provider: name, Model: providers.Model{Name: wanted},
				Default: providers.SameModel(wanted, first), Missing: true})
		}
	}
	return listed
}

func modelRows(i ink, listed []listedModel) [][]string {
	rows := [][]string{{"PROVIDER", "MODEL", "SIZE", "KIND", "TIME"}}
	var views []*replay.ProviderView
	for _, m := range listed {
		size := ""
		if m.Size > 0 {
			size = bytesOf(m.Size)
		}
		rows = append(rows, []string{m.Provider, m.Name, size, m.Family, short(time.Duration(m.LatencyMS) * time.Millisecond)})
		views = append(views, m.State)
	}
	rows = i.stateColumns(rows, views)
	rows[0] = append(rows[0], "")
	for n, m := range listed {
		rows[n+1] = append(rows[n+1], m.notes(i))
	}
	return rows
}

// notes are what there is to say of a model, or why there is none.
func (m listedModel) notes(i ink) string {
	var notes []string
	if m.Error != "" {
		notes = append(notes, i.red(line(m.Error, 120)))
	}
	if m.Default {
		notes = append(notes, i.green("default"))
	}
	if m.Missing {
		notes = append(notes, i.red("missing"))
	}
	return strings.Join(notes, " ")
}
