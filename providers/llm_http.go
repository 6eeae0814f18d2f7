package providers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"gleitzeit/protocols"
)

// This file is the HTTP client that the llm/v1 providers share. It follows no
// redirects: a prompt and a key go to the server that the configuration
// names, and nowhere else.

const (
	// maxAnswer is the size up to which a server's answer is read, in bytes.
	maxAnswer = 64 << 20
	// maxSilence is how long a server may send nothing: a big model may take
	// minutes to load before its first token.
	maxSilence = 10 * time.Minute
	// maxCheck bounds each request of a Check.
	maxCheck = 5 * time.Second
)

var (
	errTimeout = errors.New("the configured timeout of a request")
	errTooLong = errors.New("over 64 MiB")
)

// silenceError says that a server was silent for too long: whose bound that
// was, and how long it was.
type silenceError struct {
	code  protocols.Code
	words string
	after time.Duration
}

func (e *silenceError) Error() string { return e.words + " " + e.after.String() }

// llmServer is one server that a provider talks to.
type llmServer struct {
	provider string // the provider's name
	kind     string // for messages: Ollama, OpenAI-compatible server
	base     *url.URL
	client   *http.Client
	headers  map[string]string
	keyEnv   string // "" for none
	// keyHeader is the header that the key stands in as it is, "" for
	// "Authorization: Bearer …".
	keyHeader string
	version   string // the API's, as the query's api-version; "" for none
	env       func(string) string
	timeout   time.Duration // of one request, 0 for none
	first     time.Duration // until the answer begins, 0 for silence
	silence   time.Duration
	limit     int // of an answer's bytes
	// prices are the provider's own by model, sharedPrices everybody's.
	prices, sharedPrices map[string]Price
}

// newLLMServer refuses an address or a timeout that can't be meant.
func newLLMServer(name, kind, address string, c ProviderConfig, d deps) (*llmServer, error) {
	s := &llmServer{provider: name, kind: kind, headers: c.Headers, keyEnv: c.KeyEnv, keyHeader: c.KeyHeader, version: c.APIVersion,
		env: d.env, silence: maxSilence, limit: maxAnswer, prices: c.Prices, sharedPrices: d.prices}
	base, err := url.Parse(strings.TrimRight(address, "/"))
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		// Not the address itself: it may hold a password.
		return nil, protocols.Errorf(protocols.ConfigurationError,
			"provider %s: its url is not of the form http://host:port", name)
	}
	s.base = base
	for key, to := range map[string]struct {
		text string
		d    *time.Duration
	}{"timeout": {c.Timeout, &s.timeout}, "first_token_timeout": {c.FirstTokenTimeout, &s.first}, "idle_timeout": {c.IdleTimeout, &s.silence}} {
		if to.text == "" {
			continue
		}
		if *to.d, err = time.ParseDuration(to.text); err != nil || *to.d <= 0 {
			return nil, protocols.Errorf(protocols.ConfigurationError,
				"provider %s: %s %q is not a duration such as 90s", name, key, to.text)
		}
	}
	s.client = &http.Client{
		Transport: &http.Transport{
			Proxy:               proxyFrom(d.env),
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout: 10 * time.Second,
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: 16,
			IdleConnTimeout:     time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

// Close drops the connections that are kept for later calls.
func (s *llmServer) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// address is what messages may show of the server's.
func (s *llmServer) address() string {
	return s.base.Scheme + "://" + s.base.Host + s.base.Path
}

// key returns the API key, "" if none is needed.
func (s *llmServer) key() (string, error) {
	if s.keyEnv == "" {
		return "", nil
	}
	if key := strings.TrimSpace(s.env(s.keyEnv)); key != "" {
		return key, nil
	}
	return "", protocols.Errorf(protocols.AuthenticationFailed,
		"provider %s: the variable %s, which should hold its API key, is not set", s.provider, s.keyEnv)
}

// llmPost is a request that has a body.
type llmPost struct {
	path   string
	body   any // sent as JSON
	header http.Header
	model  string // for servers whose address depends on it
	// idle bounds the server's silence on behalf of the task, zero for the
	// provider's own bound.
	idle time.Duration
	// streams tells that the answer comes in pieces, the first of which the
	// provider may want soon.
	streams bool
}

// post sends a request and returns the answer once its head has come. Whoever
// gets an answer closes it. A status other than 2xx is an error.
func (s *llmServer) post(ctx context.Context, q llmPost) (*llmStream, error) {
	data, err := encode(q.body)
	if err != nil {
		return nil, err
	}
	return s.send(ctx, http.MethodPost, q, data)
}

// get fetches a JSON document into v.
func (s *llmServer) get(ctx context.Context, path string, header http.Header, v any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, maxCheck, errTimeout)
	defer cancel()
	answer, err := s.send(ctx, http.MethodGet, llmPost{path: path, header: header}, nil)
	if err != nil {
		return err
	}
	defer answer.Close()
	return answer.document(v)
}

// place is the URL of a request. {model} in the configured one stands for the
// model, as a deployment on Azure is named; without a model, for a list of
// them, that part of the path is left out.
func (s *llmServer) place(path, model string) string {
	u := *s.base
	if before, _, deployed := strings.Cut(u.Path, "/deployments/{model}"); deployed && model == "" {
		u.Path, u.RawPath = before, ""
	}
	path, query, _ := strings.Cut(path, "?")
	escaped := strings.ReplaceAll(u.EscapedPath(), "%7Bmodel%7D", url.PathEscape(model)) + path
	u.Path = strings.ReplaceAll(u.Path, "{model}", model) + path
	u.RawPath = escaped
	values := u.Query()
	for name, value := range parsedQuery(query) {
		values[name] = value
	}
	if s.version != "" {
		values.Set("api-version", s.version)
	}
	u.RawQuery = values.Encode()
	return u.String()
}

// parsedQuery reads a query of our own making.
func parsedQuery(query string) url.Values {
	values, err := url.ParseQuery(query)
	if err != nil {
		panic(fmt.Sprintf("query %q: %v", query, err))
	}
	return values
}

func (s *llmServer) send(ctx context.Context, method string, q llmPost, data []byte) (*llmStream, error) {
	key, err := s.key()
	if err != nil {
		return nil, err
	}
	ctx, a := s.stream(ctx, key, q)
	req, err := http.NewRequestWithContext(ctx, method, s.place(q.path, q.model), bytes.NewReader(data))
	if err != nil {
		a.Close()
		return nil, a.failed(err)
	}
	for name, values := range q.header {
		req.Header[name] = values
	}
	for name, value := range s.headers {
		req.Header.Set(name, value)
	}
	if data != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	s.authorize(req, key)
	resp, err := s.client.Do(req)
	if err != nil {
		defer a.Close()
		return nil, a.failed(err)
	}
	a.body, a.kind = resp.Body, resp.Header.Get("Content-Type")
	if resp.StatusCode/100 != 2 {
		defer a.Close()
		return nil, a.refused(resp)
	}
	return a, nil
}

// authorize puts the key into its header.
func (s *llmServer) authorize(req *http.Request, key string) {
	switch {
	case key == "":
	case s.keyHeader == "" || strings.EqualFold(s.keyHeader, "Authorization"):
		req.Header.Set("Authorization", "Bearer "+key)
	default:
		req.Header.Set(s.keyHeader, key)
	}
}

// llmStream is a server's answer as it comes in. It ends with its context,
// after too long a silence, and at its limit of size.
type llmStream struct {
	server *llmServer
	key    string
	ended  func() error  // why the context has ended, nil if it hasn't
	cancel func()        // ends it
	alarm  *time.Timer   // ends it after a silence
	idle   time.Duration // how long a silence
	// later is what the alarm will mean once the answer has begun, nil when it
	// means that already; why is what it means now.
	later *silenceError
	why   atomic.Pointer[silenceError]
	body  io.ReadCloser // nil until the head has come
	kind  string        // the media type
	read  int
}

// stream returns an answer that is yet to come, and the context to ask for it
// with.
func (s *llmServer) stream(caller context.Context, key string, q llmPost) (context.Context, *llmStream) {
	ctx, stop := caller, func() {}
	if s.timeout > 0 {
		ctx, stop = context.WithTimeoutCause(caller, s.timeout, errTimeout)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	a := &llmStream{
		server: s,
		key:    key,
		ended:  func() error { return s.endedError(caller, ctx) },
		cancel: func() { cancel(nil); stop() },
		idle:   s.silence,
	}
	silent := &silenceError{protocols.ProviderTimeout, "sent nothing for", s.silence}
	if q.idle > 0 {
		a.idle = q.idle
		silent = &silenceError{protocols.TaskTimeout, "sent nothing for", q.idle}
	}
	a.why.Store(silent)
	wait := a.idle
	if q.streams && s.first > 0 {
		wait, a.later = s.first, silent
		a.why.Store(&silenceError{protocols.ProviderTimeout, "did not begin its answer within", s.first})
	}
	a.alarm = time.AfterFunc(wait, func() { cancel(a.why.Load()) })
	return ctx, a
}

// begin notes that the answer has begun: from now on only silence counts.
func (a *llmStream) begin() {
	if a.later != nil {
		a.why.Store(a.later)
		a.later = nil
		a.alarm.Reset(a.idle)
	}
}

// Read is the body's, with the limits.
func (a *llmStream) Read(b []byte) (int, error) {
	n, err := a.body.Read(b)
	if n > 0 && a.later == nil {
		a.alarm.Reset(a.idle)
	}
	a.read += n
	if a.read > a.server.limit {
		return 0, errTooLong
	}
	return n, err
}

// Close ends the request: an answer that has not ended yet loses its
// connection, and the server stops working on it.
func (a *llmStream) Close() error {
	a.alarm.Stop()
	a.cancel()
	if a.body == nil {
		return nil
	}
	return a.body.Close()
}
