package client

import (
	"context"
	"errors"

	"gleitzeit/cli/cluster"
	"gleitzeit/cli/server"
	"gleitzeit/eventlog"
)

// This file makes this process a node of a store that many share. Its folder,
// and so its lock and its socket, are the node's own: other commands in the same
// folder are its guests, as with any store.

// tryJoin is tryLock for such a store.
func (c *Client) tryJoin(w *wait) (*session, error) {
	store, err := eventlog.OpenPartitions(c.o.Store, c.o.Log)
	var locked *eventlog.LockedError
	switch {
	case errors.As(err, &locked):
		w.saw(locked.PID)
		w.host = locked.Host
		return nil, nil
	case err != nil:
		return nil, &StoreError{Store: c.o.Store, Err: err}
	}
	node, err := cluster.New(cluster.Options{Store: store, Server: c.serving(), Serve: c.o.Scheduler.Policy.Schedules, Begin: c.carryOn})
	if err != nil {
		return nil, &StoreError{Store: c.o.Store, Err: errors.Join(err, store.Close())}
	}
	return c.hold(server.NewFront(node, c.serving())), nil
}

// carryOn takes on what is left in a partition, with the secrets that we have.
func (c *Client) carryOn(ctx context.Context, call func(ctx context.Context, method string, params, result any) error) error {
	var secrets map[string]string
	if c.o.Secrets != nil {
		var r server.ReferencesResult
		if err := call(ctx, server.SecretReferences, server.ReferencesParams{}, &r); err != nil {
			return err
		}
		secrets = c.o.Secrets(r.References)
	}
	return call(ctx, server.WorkflowResumeAll, server.ResumeAllParams{Secrets: secrets}, nil)
}
