package server

import (
	"errors"

	"github.com/sourcegraph/jsonrpc2"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
)

// errLeaving is what a wish gets from a process that is about to give the
// store up. A client waits for that and asks the next one.
var errLeaving = protocols.Errorf(protocols.SystemShutdown, "the process that holds the store is about to leave")

// asError gives any error a code.
func asError(err error) *protocols.Error {
	var e *protocols.Error
	switch {
	case errors.As(err, &e):
		return &protocols.Error{Code: e.Code, Message: err.Error(), Data: e.Data}
	case errors.Is(err, eventlog.ErrClosed):
		return errLeaving
	case errors.Is(err, eventlog.ErrReadOnly):
		return protocols.Errorf(protocols.PersistenceWriteFailed, "%v", err)
	}
	return protocols.Errorf(protocols.InternalError, "%v", err)
}

func isCode(err error, code protocols.Code) bool {
	var e *protocols.Error
	return errors.As(err, &e) && e.Code == code
}

// FromWire makes the error of a JSON-RPC answer the *protocols.Error that it
// was; any other error it leaves alone.
func FromWire(err error) error {
	var w *jsonrpc2.Error
	if !errors.As(err, &w) {
		return err
	}
	e := &protocols.Error{Code: protocols.Code(w.Code), Message: w.Message}
	if w.Data != nil {
		e.Data = *w.Data
	}
	return e
}
