package cli

import "gleitzeit/protocols"

// This file knows the protocols that only workers speak: a configuration names
// them, and what their methods are a worker says when it comes.

// registry knows the protocols that documents of a folder may speak. What is
// sent to a server is judged there.
func (s *session) registry(dir string) *protocols.Registry {
	r := protocols.NewRegistry()
	if s.remote() != "" {
		r.AdmitAll()
		return r
	}
	if c, err := s.config(dir); err == nil { // else that is told by whoever needs the configuration
		c.admit(r)
	}
	return r
}

// admit lets a registry know the protocols of remote providers.
func (c *config) admit(r *protocols.Registry) {
	for _, info := range c.providers().List() {
		r.Admit(info.Protocol)
	}
}
