package scheduler

import (
	"encoding/json"
	"time"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// cached looks for an earlier result of the same call: the same method,
// provider and parameters, or the key that the task gives instead of the
// parameters. It notes under which name a new result is to be kept.
func (s *Scheduler) cached(j job, c replay.Context, filled *protocols.Substituted, secrets opened) (came cameTo, err error) {
	if len(secrets.values) > 0 { // the name of a call must not depend on what they are
		if filled, err = s.fill(j, c, secrets.references); err != nil {
			return came, err
		}
	}
	call, err := s.callHash(j, c, filled)
	if err != nil {
		return came, err
	}
	value, found, err := replay.Cached(s.log, call, time.Now())
	if err != nil || !found {
		return cameTo{call: call}, err
	}
	raw, err := value.Load(s.log.Value)
	return cameTo{result: raw, cached: err == nil}, err
}

// callHash names a call by all that its result may depend on.
func (s *Scheduler) callHash(j job, c replay.Context, filled *protocols.Substituted) (eventlog.Hash, error) {
	task := j.plan.Task(j.def)
	of := struct {
		Method, Provider, Key string
		Schema                json.RawMessage            `json:",omitempty"`
		Parameters            json.RawMessage            `json:",omitempty"`
		Bindings              map[string]json.RawMessage `json:",omitempty"`
		Files                 map[string]eventlog.Hash   `json:",omitempty"`
	}{Method: task.Method, Provider: j.plan.Serves(j.def), Key: task.Cache.Key, Schema: task.OutputSchema}
	if task.Cache.Key == "" {
		of.Parameters, of.Bindings, of.Files = filled.Parameters, filled.Bindings, c.Files
	} else {
		scope, err := s.scope(j, c)
		if err != nil {
			return eventlog.Hash{}, err
		}
		key, failed := j.plan.Workflow.CacheKey(j.def, scope)
		if failed != nil {
			return eventlog.Hash{}, failed
		}
		of.Key = key
	}
	raw, err := json.Marshal(of)
	return eventlog.Sum(raw), err
}
