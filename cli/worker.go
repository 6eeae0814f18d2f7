package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"gleitzeit/cli/worker"
	"gleitzeit/protocols"
	"gleitzeit/providers"
)

// workerCmd turns this program into a worker of a server elsewhere.
type workerCmd struct {
	Connect   string        `required:"" placeholder:"URL" help:"The server, http://HOST:PORT."`
	Provider  []string      `placeholder:"NAME[=LOCAL]" sep:"none" help:"A remote provider of the server that is carried out here, by the provider LOCAL of the configuration here (default: the one of the same name). Without any, all that the server has for what is spoken here."`
	Slots     int           `default:"4" placeholder:"N" help:"How many calls to take at once (default: 4)."`
	Name      string        `placeholder:"NAME" help:"What people are shown (default: the machine's name)."`
	TokenFile string        `type:"path" placeholder:"FILE" help:"File with the token that lets us in (default: GLEITZEIT_TOKEN)."`
	Grace     time.Duration `default:"10s" placeholder:"TIME" help:"How long calls may go on when we are told to stop (default: 10s)."`
}

// Help shows how it is used.
func (workerCmd) Help() string {
	return `The server's configuration names the provider, and what its workers speak:

	providers: {gpu: {kind: remote, protocols: [python/v1]}}

Tasks for it wait until a worker is connected. A worker that loses its connection goes
on with what it has and hands it in when it is back, also to a server that was started
anew. See docs/workers.md.

Ctrl-C or SIGTERM takes no more calls and lets those end that run; a second one stops
them.

Examples:

	gleitzeit worker --connect http://server:8765
	gleitzeit worker --connect http://server:8765 --provider gpu=python --slots 8
	GLEITZEIT_TOKEN=gz_... gleitzeit worker --connect https://flows.example

Exit codes: 0 stopped by SIGTERM, 130 by Ctrl-C, 2 the server has no use for what is
spoken here, 8 it refuses the token.`
}

// Run does it.
func (c *workerCmd) Run(s *session) error {
	conf, err := s.config("")
	if err != nil {
		return err
	}
	own, err := ownOffers(conf.providers().List(), c.Provider)
	if err != nil {
		return usage(err)
	}
	token, err := c.token(s)
	if err != nil {
		return err
	}
	set, err := s.openConfigured(conf)
	if err != nil {
		return err
	}
	asked, stop := signals()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	now, quit := context.WithCancel(context.Background())
	defer quit()
	first := make(chan os.Signal, 1)
	go func() {
		select {
		case sig := <-asked:
			first <- sig
			s.print.say("Stopping: no more calls are taken. What runs may go on for up to %s; once more stops it.", short(c.Grace))
			cancel()
		case <-now.Done():
			return
		}
		select {
		case <-asked:
			quit()
		case <-now.Done():
		}
	}()
	s.print.say("working for %s: %s", c.Connect, own)
	err = worker.Run(ctx, worker.Options{Server: c.Connect, Token: token, Name: c.Name, Slots: c.Slots, Offers: own.offers, Grace: c.Grace,
		Logger: conf.logger(s.env.stderr), Do: func(ctx context.Context, call worker.Call) (json.RawMessage, error) {
			ctx, enough := context.WithCancel(ctx)
			defer enough()
			defer context.AfterFunc(now, enough)()
			return own.do(ctx, set, call)
		}})
	quit()
	err = errors.Join(workerError(err), set.Close())
	if len(first) > 0 && <-first == os.Interrupt && err == nil {
		return errAsked
	}
	return err
}

// token is what lets us in at the server, "" for nothing.
func (c *workerCmd) token(s *session) (string, error) {
	if c.TokenFile == "" {
		return s.env.get("GLEITZEIT_TOKEN"), nil
	}
	data, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return "", usage(fmt.Errorf("read the token: %w", err))
	}
	return strings.TrimSpace(string(data)), nil
}

// workerError gives an error its exit code.
func workerError(err error) error {
	var e *protocols.Error
	if errors.As(err, &e) && (e.Code == protocols.InvalidParams || e.Code == protocols.ProviderNotFound) {
		return usage(err)
	}
	return err
}

// own is what a worker offers of the providers here.
type own struct {
	offers []providers.WorkerOffer
	local  map[[2]string]string // names here, by the server's name ("" for any) and protocol
}

func (o *own) String() string {
	var texts []string
	for _, offer := range o.offers {
		text := offer.Protocol
		if offer.Provider != "" {
			text = offer.Provider + " (" + text + ")"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

// ownOffers are those of the providers that are named, or of all: of each
// protocol the provider that is preferred.
func ownOffers(infos []providers.Info, named []string) (*own, error) {
	o := &own{local: map[[2]string]string{}}
	add := func(provider string, info providers.Info) {
		key := [2]string{provider, info.Protocol}
		if _, there := o.local[key]; !there && info.Kind != "remote" {
			o.local[key] = info.Name
			o.offers = append(o.offers, providers.WorkerOffer{Provider: provider, Protocol: info.Protocol})
		}
	}
	for _, text := range named {
		remote, local, given := strings.Cut(text, "=")
		if !given {
			local = remote
		}
		some, err := choose(infos, []string{local})
		if err != nil {
			return nil, fmt.Errorf("--provider %s: %w", text, err)
		}
		for _, info := range infos {
			if info.Name == some[0].Name {
				add(remote, info)
			}
		}
	}
	if len(named) == 0 {
		for _, info := range infos {
			if !info.ByName {
				add("", info)
			}
		}
	}
	if len(o.offers) == 0 {
		return nil, errors.New("there is no provider here that could carry anything out (see: gleitzeit provider list)")
	}
	return o, nil
}

// do has the provider here carry out a call.
func (o *own) do(ctx context.Context, set *providers.Set, c worker.Call) (json.RawMessage, error) {
	local, err := o.localFor(c.Provider, c.Method)
	if err != nil {
		return nil, err
	}
	return set.Call(ctx, local, providers.Call{
		Method: c.Method, Parameters: c.Parameters, Bindings: c.Bindings, Env: c.Env, Key: c.Key,
		OutputSchema: c.OutputSchema, IdleTimeout: time.Duration(c.IdleTimeout * float64(time.Second)),
		Run: c.Run, Task: c.Task, Attempt: c.Attempt,
		File: func(name string) ([]byte, bool, error) {
			data, err := c.File(ctx, name)
			var e *protocols.Error
			if errors.As(err, &e) && e.Code == protocols.InvalidParams {
				return nil, false, nil
			}
			return data, err == nil, err
		},
	}, far{c})
}

// localFor is the provider here for a method that the server means by a name.
func (o *own) localFor(provider, method string) (string, error) {
	name, _, _ := strings.Cut(method, "/")
	for _, offer := range o.offers {
		if spoken, _, _ := strings.Cut(offer.Protocol, "/"); spoken == name && (offer.Provider == "" || offer.Provider == provider) {
			return o.local[[2]string{offer.Provider, offer.Protocol}], nil
		}
	}
	return "", protocols.Errorf(protocols.MethodNotSupported, "this worker has nothing for %s of %q", method, provider)
}

// far is a host at the server.
type far struct{ call worker.Call }

// Progress goes there.
func (f far) Progress(p providers.Progress) { f.call.Progress(p) }

// Ask finds nobody here.
func (far) Ask(context.Context, providers.Question) (providers.Answer, error) {
	return providers.Answer{Action: providers.Cancel}, nil
}

// Sample is refused.
func (far) Sample(context.Context, providers.Sample) (json.RawMessage, error) {
	return nil, protocols.Errorf(protocols.MethodNotSupported, "a worker asks no model on behalf of a call")
}
