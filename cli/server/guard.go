package server

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"gleitzeit/protocols"
)

// guard says who may come in over HTTP. It keeps pages of other origins out,
// which a browser would let speak to us in its user's name: by their origin,
// and by the name under which they reach us, for a page may have its own name
// point to our address (DNS rebinding).
type guard struct {
	tokens  *Tokens
	free    bool // nobody needs a token: only this machine reaches us
	hosts   []string
	origins []string
}

// visitor is who makes a request.
type visitor struct {
	name  string
	role  Role
	proof func() error
}

// wrap lets requests through that don't come from a page of somebody else.
func (g *guard) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.mayBeCalled(r.Host) {
			refuse(w, protocols.Errorf(protocols.AuthorizationFailed, "nobody reaches this server as %q: name it under hosts in gleitzeit.yaml", r.Host))
			return
		}
		origin := r.Header.Get("Origin")
		listed := slices.Contains(g.origins, origin)
		if !listed && !g.ownPage(r, origin) {
			refuse(w, protocols.Errorf(protocols.AuthorizationFailed, "pages of %q may not use this server: name it under origins in gleitzeit.yaml", origin))
			return
		}
		if listed && g.allow(w, r, origin) {
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// mayBeCalled tells whether a request may name us so: by an address, which
// nobody can point elsewhere, by localhost, or by a name that we were given.
func (g *guard) mayBeCalled(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.Trim(strings.ToLower(name), "[]"), ".")
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return name == "localhost" || slices.ContainsFunc(g.hosts, func(own string) bool { return strings.EqualFold(own, name) })
}

// ownPage tells whether a request comes from no page, or from one of ours.
func (g *guard) ownPage(r *http.Request, origin string) bool {
	if origin == "" {
		site := r.Header.Get("Sec-Fetch-Site")
		return site == "" || site == "none" || site == "same-origin"
	}
	u, err := url.Parse(origin)
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return err == nil && u.Scheme == scheme && strings.EqualFold(u.Host, r.Host)
}

// allow tells the browser that a listed origin's page may use us. It returns
// true for a question that is answered with that.
func (g *guard) allow(w http.ResponseWriter, r *http.Request, origin string) bool {
	w.Header().Set("Access-Control-Allow-Origin", origin)
	w.Header().Set("Access-Control-Expose-Headers", "Mcp-Session-Id")
	w.Header().Add("Vary", "Origin")
	if r.Method != http.MethodOptions {
		return false
	}
	w.Header().Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
	w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID, Mcp-Session-Id, Mcp-Protocol-Version, Mcp-Method, Mcp-Name")
	w.Header().Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// visitor says who makes a request. A token that is given must be right, also
// where none is needed.
func (g *guard) visitor(r *http.Request) (v visitor, err error) {
	given := r.Header.Get("Authorization")
	if given == "" && g.free {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		return visitor{name: host, role: Admin}, nil
	}
	scheme, secret, _ := strings.Cut(given, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return v, protocols.Errorf(protocols.AuthenticationFailed, "a token is needed: Authorization: Bearer TOKEN")
	}
	return g.bearer(strings.TrimSpace(secret))
}

// bearer says who brings a token.
func (g *guard) bearer(secret string) (v visitor, err error) {
	token, err := g.tokens.Find(secret)
	if err != nil {
		return v, err
	}
	return visitor{name: "token " + token.Name, role: token.Role, proof: func() error {
		_, err := g.tokens.Find(secret)
		return err
	}}, nil
}
