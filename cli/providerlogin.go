package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"gleitzeit/providers"
)

// providerLoginCmd logs in to an MCP server.
type providerLoginCmd struct {
	Name    string        `arg:"" help:"The MCP server's name in the configuration."`
	Timeout time.Duration `default:"10m" placeholder:"TIME" help:"How long to wait for the browser."`
}

// Help shows how it is used.
func (providerLoginCmd) Help() string {
	return `For MCP servers over HTTP that want a login (OAuth). It prints an address to open in a
browser of this machine, and waits until that has led back. What the login gives is kept
in the state folder, readable by nobody else, and renewed while the server allows it.

Examples:

	gleitzeit provider login tickets`
}

// Run does it.
func (c *providerLoginCmd) Run(s *session) error {
	if err := s.onlyHere("the configuration"); err != nil {
		return err
	}
	conf, err := s.config("")
	if err != nil {
		return err
	}
	server, known := conf.MCPServers[c.Name]
	if !known {
		return &exit{exitNotFound, fmt.Errorf("there is no MCP server %q in the configuration", c.Name)}
	}
	port := 0
	if server.OAuth != nil {
		port = server.OAuth.RedirectPort
	}
	door, err := openCallback(port)
	if err != nil {
		return err
	}
	defer door.close()
	options := s.forProviders()
	options.Login = &providers.Login{RedirectURL: door.address, Visit: func(ctx context.Context, address string) (*url.URL, error) {
		s.print.insist("open this address in a browser, and log in:\n\n  %s\n", clean(address))
		return door.wait(ctx)
	}}
	set, err := s.openWith(conf, options)
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	ctx, enough := context.WithTimeout(ctx, c.Timeout)
	defer enough()
	asked, err := set.Login(ctx, c.Name)
	if closing := set.Close(); err != nil || closing != nil {
		return errors.Join(err, closing)
	}
	what := "logged in"
	if !asked {
		what = "no login is needed"
	}
	return s.print.show(map[string]any{"provider": c.Name, "logged_in": asked}, func(w io.Writer) { fmt.Fprintf(w, "%s: %s\n", c.Name, what) })
}

// callback is the place on this machine to which a browser is led back.
type callback struct {
	address string
	server  *http.Server
	back    chan *url.URL
}

// openCallback listens on the port, 0 for any.
func openCallback(port int) (*callback, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, fmt.Errorf("wait for the browser: %w", err)
	}
	c := &callback{address: fmt.Sprintf("http://%s/callback", l.Addr()), back: make(chan *url.URL, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /callback", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "gleitzeit has heard of it. You may close this page.")
		select {
		case c.back <- r.URL:
		default: // it was led back before
		}
	})
	c.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = c.server.Serve(l) }() // until close
	return c, nil
}

func (c *callback) wait(ctx context.Context) (*url.URL, error) {
	select {
	case back := <-c.back:
		return back, nil
	case <-ctx.Done():
		return nil, errors.New("nobody has logged in")
	}
}

// close lets the page be sent that thanks the person.
func (c *callback) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.server.Shutdown(ctx)
}

// providerLogoutCmd forgets a login.
type providerLogoutCmd struct {
	Name string `arg:"" help:"The MCP server's name in the configuration."`
}

// Help shows how it is used.
func (providerLogoutCmd) Help() string {
	return `The server isn't told; what it gave is removed from this machine.

Examples:

	gleitzeit provider logout tickets`
}

// Run does it.
func (c *providerLogoutCmd) Run(s *session) error {
	if err := s.onlyHere("the configuration"); err != nil {
		return err
	}
	conf, err := s.config("")
	if err != nil {
		return err
	}
	server, known := conf.MCPServers[c.Name]
	if !known {
		return &exit{exitNotFound, fmt.Errorf("there is no MCP server %q in the configuration", c.Name)}
	}
	removed, err := s.logins().remove(server.TokenName())
	if err != nil {
		return err
	}
	what := "logged out"
	if !removed {
		what = "was not logged in"
	}
	return s.print.show(map[string]any{"provider": c.Name, "logged_out": removed}, func(w io.Writer) { fmt.Fprintf(w, "%s: %s\n", c.Name, what) })
}

// loginFolder keeps logins, a file each, in a folder of the person's own.
type loginFolder string

// logins is where they are kept, "" if there is no home.
func (s *session) logins() loginFolder {
	folder := s.env.stateFolder()
	if folder == "" {
		return ""
	}
	return loginFolder(filepath.Join(folder, "logins"))
}

func (f loginFolder) file(name string) string {
	return filepath.Join(string(f), filepath.Base(name)+".json")
}

// Load returns what is kept, nil for nothing.
func (f loginFolder) Load(name string) ([]byte, error) {
	data, err := os.ReadFile(f.file(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// Save keeps it, for nobody else to read.
func (f loginFolder) Save(name string, data []byte) error {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(string(f), ".login-*") // for its owner only
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // there is nothing left of it when all went well
	_, err = temp.Write(data)
	if err := errors.Join(err, temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), f.file(name))
}

// remove forgets it, and tells whether there was anything.
func (f loginFolder) remove(name string) (bool, error) {
	err := os.Remove(f.file(name))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
