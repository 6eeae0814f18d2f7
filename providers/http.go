package providers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gleitzeit/protocols"
)

// httpProvider speaks http/v1: http/request with any server, or with the one
// that the configuration names.
//
//	http_request.go   parameters → request
//	http_address.go   which addresses may be reached
//	http_answer.go    answer → result or error
type httpProvider struct {
	name      string
	base      *url.URL // nil: any server
	headers   map[string]string
	keyEnv    string
	keyHeader string
	env       func(string) string
	timeout   time.Duration
	reach     *reach
	transport *http.Transport

	maxRequest, maxResponse, maxFile int64 // bytes of a body
}

// What the configuration doesn't say.
const (
	httpTimeout     = 5 * time.Minute
	httpMaxRequest  = 64 << 20
	httpMaxResponse = 16 << 20
	httpMaxFile     = 1 << 30
	httpRedirects   = 10
)

func newHTTP(name string, c ProviderConfig, d deps) (Provider, error) {
	if problems := checkHTTP(name, c); len(problems) > 0 {
		return nil, protocols.Errorf(protocols.ConfigurationError, "provider %s: %s", name, problems[0])
	}
	p := &httpProvider{name: name, headers: c.Headers, keyEnv: c.KeyEnv, keyHeader: c.KeyHeader, env: d.env, timeout: httpTimeout,
		maxRequest: sizeOr(c.MaxRequest, httpMaxRequest), maxResponse: sizeOr(c.MaxResponse, httpMaxResponse), maxFile: sizeOr(c.MaxFile, httpMaxFile)}
	if c.URL != "" {
		p.base, _ = url.Parse(c.URL) // no problem with it
	}
	if c.Timeout != "" {
		p.timeout, _ = time.ParseDuration(c.Timeout)
	}
	p.reach, _ = newReach(name, c)
	p.transport = &http.Transport{
		Proxy:                  p.proxies(c.Proxy),
		DialContext:            p.reach.dial,
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
	}
	return p, nil
}

// proxyFromEnvironment is the configuration's word for HTTP_PROXY and so on.
const proxyFromEnvironment = "environment"

// proxies chooses the proxy of a request: the configuration's, or none.
func (p *httpProvider) proxies(configured string) func(*http.Request) (*url.URL, error) {
	switch configured {
	case "":
		return nil
	case proxyFromEnvironment:
		choose := proxyFrom(p.env)
		return func(r *http.Request) (*url.URL, error) {
			proxy, err := choose(r)
			if proxy != nil {
				p.reach.useProxy(proxy)
			}
			return proxy, err
		}
	}
	proxy, _ := url.Parse(configured) // no problem with it
	p.reach.useProxy(proxy)
	return http.ProxyURL(proxy)
}

// checkHTTP finds what is wrong with the configuration of this kind.
func checkHTTP(name string, c ProviderConfig) []string {
	_, problems := newReach(name, c)
	problems = append(problems, checkServer(name, c)...)
	for _, one := range [][2]string{{"max_request", c.MaxRequest}, {"max_response", c.MaxResponse}, {"max_file", c.MaxFile}} {
		if one[1] == "" {
			continue
		}
		if n, err := parseSize(one[1]); err != nil || n == 0 {
			problems = append(problems, fmt.Sprintf("%s: %q: must be a size such as 16MiB", one[0], one[1]))
		} else if one[0] != "max_file" && n > httpMaxRequest {
			problems = append(problems, fmt.Sprintf("%s: %q: may be 64MiB at most; larger answers go into a file (save)", one[0], one[1]))
		}
	}
	if c.Proxy != "" && c.Proxy != proxyFromEnvironment && checkURL(c.Proxy) != nil {
		problems = append(problems, "proxy: must be of the form http://host:port, or environment for HTTP_PROXY and so on")
	}
	if c.URL == "" && (c.KeyEnv != "" || c.KeyHeader != "" || len(c.Headers) > 0) {
		problems = append(problems, "url: missing: key_env, key_header and headers are sent to one server only")
	}
	return problems
}

// ofOneServer tells whether a configuration is of one server.
func ofOneServer(c ProviderConfig) bool { return c.URL != "" }

// httpVariables are those of proxies, if they count.
func httpVariables(c ProviderConfig) []string {
	if c.Proxy == proxyFromEnvironment {
		return proxyVariables
	}
	return nil
}

func sizeOr(text string, otherwise int64) int64 {
	if n, err := parseSize(text); err == nil {
		return n
	}
	return otherwise
}

// Call carries out http/request.
func (p *httpProvider) Call(ctx context.Context, call Call, host Host) (json.RawMessage, error) {
	if call.Method != "http/request" {
		return nil, protocols.Errorf(protocols.MethodNotSupported, "http/v1 has no method %s", call.Method)
	}
	if err := ctx.Err(); err != nil {
		return nil, endedError(ctx)
	}
	var q httpParameters
	if err := readParameters(call, &q); err != nil {
		return nil, err
	}
	return p.request(ctx, call, &q, host)
}

// exchange is one request and its answer.
type exchange struct {
	*httpProvider
	q       *httpParameters
	call    Call
	host    Host
	caller  context.Context
	ctx     context.Context // ends with the caller's, or after the timeout
	within  time.Duration
	key     string
	secrets []string // that no text of ours repeats
	to      *url.URL
	began   time.Time
}

func (p *httpProvider) request(caller context.Context, call Call, q *httpParameters, host Host) (json.RawMessage, error) {
	x := &exchange{httpProvider: p, q: q, call: call, host: host, caller: caller, began: time.Now()}
	var err error
	if x.to, err = p.target(q); err != nil {
		return nil, err
	}
	if x.key, err = p.key(); err != nil {
		return nil, err
	}
	x.secrets = p.secretsIn(q, x.key)
	if x.within, err = q.within(p.timeout); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(caller, x.within, errTimeout)
	defer cancel()
	x.ctx = ctx
	req, err := x.make()
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: p.transport, CheckRedirect: x.redirect}
	resp, err := client.Do(req)
	if err != nil {
		return nil, x.failed(err)
	}
	defer resp.Body.Close()
	return x.answered(resp)
}

// make makes the request.
func (x *exchange) make() (*http.Request, error) {
	if err := x.reach.look(x.to); err != nil {
		return nil, x.failed(err)
	}
	body, kind, err := x.body(x.call, x.q)
	if err != nil {
		return nil, err
	}
	method := x.q.method(kind != "")
	header, err := x.header(x.call, x.q, method, kind, x.key)
	if err != nil {
		return nil, err
	}
	var reader *bytes.Reader
	if kind != "" {
		reader = bytes.NewReader(body)
	}
	req, err := newRequest(x.ctx, method, x.to.String(), reader)
	if err != nil {
		return nil, wrongParameter("url: not an address")
	}
	req.Header = header
	return req, nil
}

// newRequest keeps a nil reader from becoming a body.
func newRequest(ctx context.Context, method, to string, body *bytes.Reader) (*http.Request, error) {
	if body == nil {
		return http.NewRequestWithContext(ctx, method, to, nil)
	}
	return http.NewRequestWithContext(ctx, method, to, body)
}

// harmless are the headers that a redirect to another server keeps.
var harmless = []string{"Accept", "Accept-Language", "Content-Type", "User-Agent"}

// redirect judges one before it is followed. What logs in, and whatever else
// the request says of itself, goes to the first server only, and so does a body.
func (x *exchange) redirect(req *http.Request, via []*http.Request) error {
	most := httpRedirects
	if x.q.MaxRedirects != nil {
		most = *x.q.MaxRedirects
	}
	switch {
	case most == 0:
		return http.ErrUseLastResponse
	case len(via) > most:
		return wrongParameter("%s leads to more than %d redirects (max_redirects)", origin(x.to), most)
	case req.URL.Scheme != "http" && req.URL.Scheme != "https":
		return wrongParameter("%s redirects to what is not HTTP", origin(via[len(via)-1].URL))
	case req.URL.Scheme == "http" && via[len(via)-1].URL.Scheme == "https":
		return wrongParameter("%s redirects to %s, which is not encrypted: name that address itself if it is meant", origin(via[len(via)-1].URL), origin(req.URL))
	}
	if err := x.reach.look(req.URL); err != nil {
		return err
	}
	for _, before := range slices.Concat(via, []*http.Request{req}) {
		if !sameOrigin(before.URL, x.to) {
			return x.elsewhere(req)
		}
	}
	return nil
}

// elsewhere is a redirect to another server.
func (x *exchange) elsewhere(req *http.Request) error {
	if req.Body != nil && req.Body != http.NoBody {
		return wrongParameter("%s redirects to %s, where the request's body would go: name that address itself if it is meant", origin(x.to), origin(req.URL))
	}
	kept := http.Header{}
	for _, name := range harmless {
		if values, there := req.Header[name]; there {
			kept[name] = values
		}
	}
	req.Header = kept
	req.URL.User = nil
	return nil
}

// key returns the key of the configuration's server, "" if none is needed.
func (p *httpProvider) key() (string, error) {
	if p.keyEnv == "" {
		return "", nil
	}
	if key := strings.TrimSpace(p.env(p.keyEnv)); key != "" {
		return key, nil
	}
	return "", protocols.Errorf(protocols.AuthenticationFailed,
		"provider %s: the variable %s, which should hold its key, is not set", p.name, p.keyEnv)
}

// authorize puts the key into its header.
func (p *httpProvider) authorize(h http.Header, key string) {
	switch {
	case key == "":
	case p.keyHeader == "" || strings.EqualFold(p.keyHeader, "Authorization"):
		h.Set("Authorization", "Bearer "+key)
	default:
		h.Set(p.keyHeader, key)
	}
}

// Check asks the configuration's server for anything at all.
func (p *httpProvider) Check(ctx context.Context) Health {
	if p.base == nil {
		return Health{Status: "healthy", Message: "for any server"}
	}
	ctx, cancel := context.WithTimeout(ctx, maxCheck)
	defer cancel()
	x := &exchange{httpProvider: p, q: &httpParameters{}, caller: ctx, ctx: ctx, within: maxCheck, to: p.base}
	key, err := p.key()
	if err != nil {
		return Health{Status: "unhealthy", Message: err.Error()}
	}
	x.secrets = p.secretsIn(x.q, key)
	req, err := newRequest(ctx, http.MethodHead, p.base.String(), nil)
	if err != nil {
		return Health{Status: "unhealthy", Message: "its url is not an address"}
	}
	for name, value := range p.headers {
		req.Header.Set(name, value)
	}
	p.authorize(req.Header, key)
	client := &http.Client{Transport: p.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return Health{Status: "unhealthy", Message: x.failed(err).Error()}
	}
	resp.Body.Close()
	said := fmt.Sprintf("%s answers %s", origin(p.base), resp.Status)
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		return Health{Status: "degraded", Message: said}
	}
	return Health{Status: "healthy", Message: said}
}

// Close drops the connections that are kept for later requests.
func (p *httpProvider) Close() error {
	p.transport.CloseIdleConnections()
	return nil
}

// failed tells why no answer came, or not all of it.
func (x *exchange) failed(err error) *protocols.Error {
	at := origin(x.to)
	var already *protocols.Error
	var forbidden *outOfReach
	switch {
	case x.caller.Err() != nil:
		return endedError(x.caller)
	case errors.As(err, &already):
		return already
	case errors.As(err, &forbidden):
		return forbidden.forbidden()
	case x.ctx.Err() != nil:
		return protocols.Errorf(protocols.ProviderTimeout, "%s did not finish within %v", at, x.within)
	}
	var tooMuch interface{ Timeout() bool }
	if errors.As(err, &tooMuch) && tooMuch.Timeout() && !isDial(err) {
		return protocols.Errorf(protocols.ConnectionTimeout, "%s does not answer", at)
	}
	return networkFault(at, "", err, x.scrub)
}

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
