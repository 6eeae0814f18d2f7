package client

import (
	"errors"
	"io"

	"gleitzeit/cli/server"
)

// errNoHolder says that this process has nothing to serve.
var errNoHolder = errors.New("this process doesn't hold the store")

// ListenHTTP lets programs in over HTTP at the store that this client holds, and
// returns the address.
func (c *Client) ListenHTTP(o server.HTTPOptions) (url string, err error) {
	s := c.present()
	if s == nil || s.server == nil {
		return "", errNoHolder
	}
	return s.server.ListenHTTP(o)
}

// ServeStdio talks to whoever started this process, until in ends or the client
// is closed.
func (c *Client) ServeStdio(in io.Reader, out io.WriteCloser) error {
	s := c.present()
	if s == nil || s.server == nil {
		return errNoHolder
	}
	s.server.ServeStdio(in, out)
	return nil
}
