package providers

import (
	"encoding/json"
	"strings"
)

// Foresee says what the provider of that name will refuse about a task's
// parameters, as far as that is known before the run: references in them need
// not have been filled in. The text is what is refused; a nil error means that
// nothing is known to be wrong.
func (c Config) Foresee(name string, parameters json.RawMessage) (text string, err error) {
	p := c.Complete().Providers[name]
	var literal struct {
		URL string `json:"url"`
	}
	if p.Kind != "http" || c.mocked(name) || json.Unmarshal(parameters, &literal) != nil ||
		literal.URL == "" || strings.Contains(literal.URL, "${") {
		return "", nil
	}
	made, err := newHTTP(name, p, deps{env: func(string) string { return "" }})
	if err != nil {
		return "", nil // that is the configuration's problem
	}
	server := made.(*httpProvider)
	to, err := server.target(&httpParameters{URL: literal.URL})
	if err != nil {
		return literal.URL, err
	}
	return literal.URL, server.reach.look(to)
}
