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
}

// Run does it.
func (c *providerModelsCmd) Run(s *session) error {
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
			models, err := set.Models(ctx, info.Name)
			if err != nil {
				answers[i] = []listedModel{{Provider: info.Name, Error: err.Error()}}
				return
			}
			answers[i] = marked(info.Name, models, all.Providers[info.Name])
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
	rows := [][]string{{"PROVIDER", "MODEL", "SIZE", "KIND", ""}}
	for _, m := range listed {
		if m.Error != "" {
			rows = append(rows, []string{m.Provider, "", "", "", i.red(line(m.Error, 120))})
			continue
		}
		var notes []string
		if m.Default {
			notes = append(notes, i.green("default"))
		}
		if m.Missing {
			notes = append(notes, i.red("missing"))
		}
		size := ""
		if m.Size > 0 {
			size = bytesOf(m.Size)
		}
		rows = append(rows, []string{m.Provider, m.Name, size, m.Family, strings.Join(notes, " ")})
	}
	return rows
}
