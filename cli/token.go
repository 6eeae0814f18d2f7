package cli

import (
	"errors"
	"fmt"
	"io"
	"time"

	"gleitzeit/cli/server"
)

// tokenCmd is about who may come in over the network.
type tokenCmd struct {
	Create tokenCreateCmd `cmd:"" help:"Make a token and print it; nobody can ask for it again."`
	List   tokenListCmd   `cmd:"" help:"List the tokens: names and roles, not what they are."`
	Revoke tokenRevokeCmd `cmd:"" help:"Make tokens worth nothing, at once."`
}

// tokenCreateCmd makes one.
type tokenCreateCmd struct {
	Name    string        `arg:"" help:"Whose it is; the history names it."`
	Role    string        `required:"" enum:"read,submit,operate,admin,worker" placeholder:"ROLE" help:"What it may do: read, submit, operate, admin or worker."`
	Expires time.Duration `placeholder:"TIME" help:"How long it is good for, as 720h (default: until it is revoked)."`
}

// Help shows how it is used.
func (tokenCreateCmd) Help() string {
	return `Each role may all that the one before it may:

	read     look at everything
	submit   make runs, and send them signals
	operate  cancel, pause, retry, decide; schedules; check providers and the store
	admin    all there is
	worker   carry tasks out for the server, and nothing else

The token is printed once. The store keeps only its hash. It is good for the server
of this store, also for one that runs already.

Examples:

	gleitzeit token create ci --role submit
	gleitzeit token create ann --role operate --expires 720h`
}

// createdToken is what is printed of a new token.
type createdToken struct {
	server.Token
	Secret string `json:"token"`
}

// Run does it.
func (c *tokenCreateCmd) Run(s *session) error {
	if c.Expires < 0 {
		return usage(errors.New("--expires: must be more than 0"))
	}
	tokens, err := s.tokens()
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	k := server.Token{Name: c.Name, Role: server.Role(c.Role), Created: now, By: s.env.user()}
	if c.Expires > 0 {
		k.Expires = now.Add(c.Expires)
	}
	secret, err := tokens.Create(k)
	if err != nil {
		return usage(err)
	}
	s.audited("token/create", fmt.Sprintf("%s with the role %s", k.Name, k.Role))
	return s.print.show(createdToken{k, secret}, func(w io.Writer) { fmt.Fprintln(w, secret) })
}

// tokens are those of the store.
func (s *session) tokens() (*server.Tokens, error) {
	if err := s.ownStore(); err != nil {
		return nil, err
	}
	c, err := s.config("")
	if err == nil && c.Backend == "memory" {
		err = usage(errors.New("a store in memory has no tokens"))
	}
	if err != nil {
		return nil, err
	}
	return c.tokens(), nil
}

// tokenListCmd lists them.
type tokenListCmd struct{}

// Help shows how it is used.
func (tokenListCmd) Help() string {
	return `Examples:

	gleitzeit token list
	gleitzeit token list -o json`
}

// Run does it.
func (tokenListCmd) Run(s *session) error {
	tokens, err := s.tokens()
	if err != nil {
		return err
	}
	all, err := tokens.List()
	if err != nil {
		return err
	}
	return s.print.show(append([]server.Token{}, all...), func(w io.Writer) {
		if len(all) == 0 {
			s.print.say("No tokens.")
			return
		}
		rows := [][]string{{"NAME", "ROLE", "CREATED", "EXPIRES", "BY"}}
		for _, k := range all {
			rows = append(rows, []string{k.Name, string(k.Role), k.Created.Local().Format(time.DateTime), expiry(k), line(k.By, 40)})
		}
		table(w, rows)
	})
}

func expiry(k server.Token) string {
	switch {
	case k.Expires.IsZero():
		return "never"
	case time.Now().After(k.Expires):
		return "expired"
	}
	return k.Expires.Local().Format(time.DateTime)
}

// tokenRevokeCmd removes some.
type tokenRevokeCmd struct {
	Names []string `arg:"" name:"name" help:"Which ones."`
}

// Help shows how it is used.
func (tokenRevokeCmd) Help() string {
	return `A server that runs refuses the token from its next call on.

Examples:

	gleitzeit token revoke ci`
}

// Run does it.
func (c *tokenRevokeCmd) Run(s *session) error {
	tokens, err := s.tokens()
	if err != nil {
		return err
	}
	var failed []error
	for _, name := range c.Names {
		err := tokens.Revoke(name)
		if errors.Is(err, server.ErrUnknownToken) {
			err = &exit{exitNotFound, fmt.Errorf("there is no token %q (see: gleitzeit token list)", name)}
		}
		if err == nil {
			s.audited("token/revoke", name)
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}
