package providers

import (
	"context"
	"encoding/json"
	"time"

	"gleitzeit/protocols"
)

// data speaks data/v1: it reshapes values.
//
//	data/set   value                 {result}: the value
//	data/jq    filter, input, vars   {result}: what the filter makes of it
//
// Filters run in processes of our own (data_worker.go).
type data struct {
	workers *filterWorkers
	timeout time.Duration
}

// filterTimeout is how long a filter may take unless the configuration says.
const filterTimeout = time.Minute

func newData(name string, c ProviderConfig, d deps) (Provider, error) {
	p := &data{workers: newFilterWorkers(d.self, d.children), timeout: filterTimeout}
	if c.Timeout != "" {
		var err error
		if p.timeout, err = time.ParseDuration(c.Timeout); err != nil || p.timeout <= 0 {
			return nil, protocols.Errorf(protocols.ConfigurationError, "provider %s: timeout %q is not a duration such as 90s", name, c.Timeout)
		}
	}
	return p, nil
}

// Call carries out either method.
func (p *data) Call(ctx context.Context, call Call, _ Host) (json.RawMessage, error) {
	switch call.Method {
	case "data/set":
		var set struct {
			Value json.RawMessage `json:"value"`
		}
		if err := readParameters(call, &set); err != nil {
			return nil, err
		}
		return encode(filterReply{Result: orNull(set.Value)})
	case "data/jq":
		var q filterRequest
		if err := readParameters(call, &q); err != nil {
			return nil, err
		}
		return p.filter(ctx, q)
	}
	return nil, protocols.Errorf(protocols.MethodNotSupported, "data/v1 has no method %s", call.Method)
}

func (p *data) filter(caller context.Context, q filterRequest) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(caller, p.timeout)
	defer cancel()
	reply, err := p.workers.do(ctx, q)
	switch {
	case caller.Err() != nil:
		return nil, endedError(caller)
	case ctx.Err() != nil:
		return nil, protocols.Errorf(protocols.ProviderTimeout, "the filter was not done after %v", p.timeout)
	case err != nil:
		return nil, err
	case reply.Error != nil:
		return nil, reply.Error
	}
	return encode(reply)
}

// Check runs a filter.
func (p *data) Check(ctx context.Context) Health {
	if _, err := p.filter(ctx, filterRequest{Filter: "."}); err != nil {
		return Health{Status: "unhealthy", Message: err.Error()}
	}
	return Health{Status: "healthy"}
}

// Close ends the processes that run filters.
func (p *data) Close() error {
	p.workers.close()
	return nil
}

func orNull(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}
