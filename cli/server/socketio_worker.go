package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"gleitzeit/protocols"
	"gleitzeit/providers"
	"gleitzeit/replay"
)

// This file lets providers speak as those of the first gleitzeit did: one is
// asked by the event execute_method, and what it acknowledges that with is the
// outcome. It is a worker like any other, and may use the methods of worker.go.

// The events that a provider gets.
const (
	executeMethod = "execute_method" // something to carry out: ioExecute
	cancelMethod  = "cancel_method"  // nobody waits for that any more: providers.WorkerCancel
)

// ioExecute is a call as such a provider gets it.
type ioExecute struct {
	providers.WorkerCall
	Params json.RawMessage `json:"params,omitempty"` // instead of parameters
}

// ioProtocol is a protocol as register_protocol has it.
type ioProtocol struct {
	Name        string                       `json:"name"`
	Version     string                       `json:"version"` // v1 unless told otherwise
	Description string                       `json:"description"`
	Methods     map[string]*protocols.Method `json:"methods"`
}

// id is the name under which documents know the protocol.
func (p *ioProtocol) id() string {
	return strings.Split(p.Name, "/")[0] + "/v" + strings.TrimPrefix(cmp.Or(p.Version, "v1"), "v")
}

// maxProtocols is how many one client may register, and maxProtocolBytes how much
// it may say of all of them.
const (
	maxProtocols     = 64
	maxProtocolBytes = 1 << 20
)

// registerProtocol notes what the methods of a protocol are, for the provider
// that the same client is about to register.
func (l *ioSocket) registerProtocol(c *Call) (any, error) {
	var p struct {
		Protocol ioProtocol `json:"protocol"`
	}
	if err := readOld(c, &p); err != nil {
		return nil, err
	}
	if err := c.Peer.may(Method{Name: "register_protocol", Role: Worker}); err != nil {
		return nil, err
	}
	id := p.Protocol.id()
	if !protocols.IsProtocol(id) {
		return nil, protocols.Errorf(protocols.InvalidParams, "protocol: %q must be of the form name/v1", id)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.protocols) >= maxProtocols {
		return nil, protocols.Errorf(protocols.ResourceExhausted, "more than %d protocols", maxProtocols)
	}
	if l.described += len(c.Params); l.described > maxProtocolBytes {
		return nil, protocols.Errorf(protocols.ResourceExhausted, "more than %d KiB of protocols", maxProtocolBytes>>10)
	}
	l.protocols[id] = p.Protocol.Methods
	return l.confirm(c, "protocol_registered", map[string]any{"protocol_id": id, "message": fmt.Sprintf("Protocol %s registered", id)}), nil
}

// ioProvider is a provider as register_provider has it.
type ioProvider struct {
	ProviderID  string   `json:"provider_id"`
	ProtocolID  string   `json:"protocol_id"`
	Methods     []string `json:"supported_methods"` // none: all of the protocol
	Name        string   `json:"name"`
	Description string   `json:"description"`
	// What follows the first gleitzeit hadn't; it is as in provider/register.
	Provider string   `json:"provider"`
	Instance string   `json:"instance"`
	Slots    int      `json:"slots"` // 1 unless told otherwise
	Holds    []string `json:"holds"`
}

// registerProvider makes the client a worker that is asked by execute_method.
func (l *ioSocket) registerProvider(c *Call) (any, error) {
	var p ioProvider
	if err := readOld(c, &p); err != nil {
		return nil, err
	}
	link := &ioLink{socket: l, names: map[string]string{}}
	r := providers.Registration{Worker: p.ProviderID, Instance: cmp.Or(p.Instance, l.socket.ID), Slots: max(p.Slots, 1), Holds: p.Holds,
		Offers: []providers.WorkerOffer{{Provider: p.Provider, Protocol: p.ProtocolID, Methods: link.offer(&p)}}}
	c.link = link
	if _, err := l.call(ProviderRegister, c, RegisterParams{r}); err != nil {
		return nil, err
	}
	c.after = append(c.after, link.live)
	known := map[string]any{"provider_id": p.ProviderID, "protocol_id": p.ProtocolID, "supported_methods": p.Methods}
	c.after = append(c.after, func() { l.guest.door.crowd.tell(l, "provider_available", known) })
	return l.confirm(c, "provider_registered", map[string]any{"provider_id": p.ProviderID, "protocol_id": p.ProtocolID,
		"message": fmt.Sprintf("Provider %s registered", p.ProviderID)}), nil
}

// ioLink is the way to a provider that answers by acknowledging.
type ioLink struct {
	socket *ioSocket
	names  map[string]string // of methods, as the provider says them
}

// offer returns the methods that a provider has, by their full names.
func (k *ioLink) offer(p *ioProvider) (all []*protocols.Method) {
	k.socket.mu.Lock()
	described := k.socket.protocols[p.ProtocolID]
	k.socket.mu.Unlock()
	names := p.Methods
	if len(names) == 0 {
		for name := range described {
			names = append(names, name)
		}
	}
	space, _, _ := strings.Cut(p.ProtocolID, "/")
	for _, name := range names {
		full := space + "/" + strings.TrimPrefix(name, space+"/")
		m := &protocols.Method{Name: full}
		if d := described[name]; d != nil {
			m.Description, m.Parameters, m.Result = d.Description, d.Parameters, d.Result
		}
		k.names[full] = name
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *protocols.Method) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Call sends execute_method, which may hold secrets, while the provider is who
// it was.
func (k *ioLink) Call(c providers.WorkerCall) error {
	if err := k.socket.peer.proven(); err != nil {
		return err
	}
	asked := ioExecute{c, c.Parameters}
	asked.Method, asked.Parameters = cmp.Or(k.names[c.Method], c.Method), nil
	return k.socket.socket.Ask(executeMethod, func(answer json.RawMessage, err error) {
		if err == nil {
			k.answered(c.ID, answer)
		}
	}, asked)
}

// answered takes what a call came to.
func (k *ioLink) answered(id string, answer json.RawMessage) {
	peer := k.socket.peer
	peer.seating.Lock() // it may answer sooner than it has its seat
	defer peer.seating.Unlock()
	outcome := readOutcome(answer)
	outcome.ID = id
	if _, err := k.socket.call(ProviderResult, &Call{Peer: peer}, outcome); err != nil {
		k.Close() // it may not any more
	}
}

// readOutcome reads an acknowledgement: [{result}] or [{error}], in which error
// is a text or an object.
func readOutcome(answer json.RawMessage) (r CallResultParams) {
	var args []struct {
		Result json.RawMessage `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	if json.Unmarshal(answer, &args) != nil || len(args) != 1 || (args[0].Result == nil) == (args[0].Error == nil) {
		r.Error = protocols.Errorf(protocols.TaskExecutionFailed, "the provider acknowledged %s with neither {result} nor {error}", executeMethod)
		return r
	}
	if r.Result = args[0].Result; r.Result != nil {
		return r
	}
	var text string
	if r.Error = new(protocols.Error); isA(args[0].Error, &text) || !isA(args[0].Error, r.Error) {
		r.Error = protocols.Errorf(protocols.TaskExecutionFailed, "%s", cmp.Or(text, string(args[0].Error)))
	}
	return r
}

// Cancel sends cancel_method.
func (k *ioLink) Cancel(c providers.WorkerCancel) error { return k.socket.socket.Emit(cancelMethod, c) }

// Close hangs up.
func (k *ioLink) Close() { k.socket.socket.HangUp() }

// live has the session's own heartbeat be the provider's, while it is who it
// was.
func (k *ioLink) live() {
	if k.socket.guest.admit() != nil {
		return // it has left
	}
	go func() {
		defer k.socket.guest.dismiss()
		beat := time.NewTicker(providers.Heartbeat)
		defer beat.Stop()
		for {
			select {
			case <-k.socket.peer.left():
				return
			case <-beat.C:
			}
			if _, err := k.socket.call(ProviderHeartbeat, &Call{Peer: k.socket.peer}, empty{}); err != nil {
				k.Close()
				return
			}
		}
	}()
}

// providerRequest has a call carried out, as a run of one task, and returns what
// it came to.
func (l *ioSocket) providerRequest(c *Call) (any, error) {
	var p struct {
		Protocol string          `json:"protocol"`
		Method   string          `json:"method"`
		Params   json.RawMessage `json:"params"`
		TaskID   string          `json:"task_id"` // the task's, "request" unless told otherwise
		Key      string          `json:"key"`
		Timeout  float64         `json:"timeout"`
	}
	if err := readOld(c, &p); err != nil {
		return nil, err
	}
	task := map[string]any{"name": cmp.Or(p.TaskID, "request"), "method": p.Method}
	if p.Protocol != "" {
		task["protocol"] = p.Protocol
	}
	if p.Params != nil {
		task["parameters"] = p.Params
	}
	text, _ := json.Marshal(map[string]any{"name": cmp.Or(p.Method, "request"), "tasks": []any{task}}) // which came as JSON
	made, err := l.call(WorkflowRun, c, RunNowParams{SubmitParams{Workflow: string(text), Key: p.Key}, p.Timeout})
	if err != nil {
		return nil, err
	}
	run := made.(*replay.RunView)
	switch {
	case run.Status == replay.Completed:
		return run.Tasks[0].Result, nil
	case run.Error != nil:
		return nil, run.Error
	}
	return nil, protocols.Errorf(protocols.TaskTimeout, "the run %s goes on: it is %s", run.ID, run.Status)
}

// noEngines says what there is instead of engines.
func (l *ioSocket) noEngines(*Call) (any, error) {
	return nil, protocols.Errorf(protocols.MethodNotFound, "there are no engines: the server gives tasks to providers by itself (register_provider)")
}
