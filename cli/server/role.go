package server

import (
	"slices"

	"gleitzeit/protocols"
)

// Role is what somebody may do. Each may all that the one before it may; only
// a worker is a thing of its own.
type Role string

// The roles. The empty one is enough for what tells nothing about runs.
const (
	Read    Role = "read"    // look at everything
	Submit  Role = "submit"  // make runs, and send them signals
	Operate Role = "operate" // cancel, pause, retry, decide; schedules
	Admin   Role = "admin"   // all there is
	Worker  Role = "worker"  // carry tasks out for the server, and nothing else

	// Owner is what nobody has over the network: only commands of the server's
	// own user on its machine may read and write files there.
	Owner Role = "owner"
)

// Roles are all of them.
func Roles() []Role { return []Role{Read, Submit, Operate, Admin, Worker} }

// May tells whether whoever has the role may do what needs that one.
func (r Role) May(need Role) bool {
	order := []Role{Read, Submit, Operate, Admin}
	switch {
	case need == Owner:
		return false
	case need == "" || r == Admin:
		return true
	case need == Worker || r == Worker:
		return need == r
	}
	return slices.Contains(order, r) && slices.Index(order, r) >= slices.Index(order, need)
}

// may refuses a peer what its role doesn't allow, and everything once its token
// was revoked.
func (p *Peer) may(m Method) error {
	if err := p.proven(); err != nil {
		return err
	}
	if p.trusted || p.role.May(m.Role) {
		return nil
	}
	if m.Role == Owner {
		return protocols.Errorf(protocols.AuthorizationFailed, "%s is for commands of the server's own user on its machine", m.Name)
	}
	return protocols.Errorf(protocols.AuthorizationFailed, "%s needs the role %s, and %s has the role %s", m.Name, m.Role, p.name, p.role)
}
