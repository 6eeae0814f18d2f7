package providers

import (
	"io"

	"gleitzeit/protocols"
	"gleitzeit/providers/launcher"
)

// This file starts programs that are not ours in a sandbox: by way of ourselves
// (package launcher), since between a fork and its exec nothing of Go can run.

// confiner starts them.
type confiner struct{ children *children }

// confined is a program in its sandbox.
type confined struct {
	*child
	box     *confinement      // nil: it is in none
	refused *launcher.Failure // why it never began, after listen
}

// start starts a program. The caller closes what it returns, once it has ended.
// A nil sandbox is none.
func (c *confiner) start(what command, box *sandbox) (*confined, error) {
	if box == nil || !launches {
		kid, err := c.children.start(what)
		if err != nil {
			return nil, protocols.Errorf(protocols.TaskParameterError, "%v", err)
		}
		return &confined{child: kid}, nil
	}
	ready, err := box.confine()
	if err != nil {
		return nil, protocols.Errorf(protocols.ResourceExhausted, "sandbox: %v", err)
	}
	kid, err := c.launch(what, ready)
	if err != nil {
		ready.close()
		return nil, protocols.Errorf(protocols.ResourceExhausted, "%v", err)
	}
	return &confined{child: kid, box: ready}, nil
}

// launch starts ourselves, to become the program.
func (c *confiner) launch(what command, ready *confinement) (*child, error) {
	self, err := ownProgram()
	if err != nil {
		return nil, err
	}
	what.Args = launcher.Arguments(ready.Box, backArg, firstFile, what.Path, what.Args)
	what.Path, what.Back, what.Files = self, true, ready.files
	kid, err := c.children.start(what)
	if err != nil {
		return nil, err
	}
	ready.handedDown()
	ready.watch(kid)
	return kid, nil
}

// listen hears whether the program began.
func (c *confined) listen() {
	if c.box != nil {
		said, _ := io.ReadAll(io.LimitReader(c.Back, 64<<10))
		c.refused = launcher.Heard(string(said))
	}
}

// crowded tells whether it was ended for having too many processes.
func (c *confined) crowded() bool { return c.box != nil && c.box.crowded() }

// close ends watching.
func (c *confined) close() {
	if c.box != nil {
		c.box.close()
	}
}
