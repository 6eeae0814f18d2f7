package eventlog

import (
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// doom is the end of a log whose disk failed: once a write could not be made
// durable, what the process holds in memory is no longer what a restart would
// find, and there is no way on but to start again.
type doom struct {
	dir  string
	then func(error) // Options.Fatal
	why  atomic.Pointer[error]
}

// fail says why and does not return. It ends the process from a goroutine of
// its own, so that no deferred call runs on this one, deep inside Pebble.
func (d *doom) fail(err error) {
	err = fmt.Errorf("store %s: %w", d.dir, err)
	if vfs.IsNoSpaceError(err) {
		err = fmt.Errorf("%w: the disk is full; nothing that was acknowledged is lost: free some space and start again", err)
	}
	d.why.CompareAndSwap(nil, &err)
	if d.then != nil {
		d.then(err)
	}
	go panic(err)
	select {}
}

// reason returns why the log failed, nil if it is well.
func (d *doom) reason() error {
	if p := d.why.Load(); p != nil {
		return *p
	}
	return nil
}
