package providers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
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
	errSilence = errors.New("the server was silent for too long")
	errTooLong = errors.New("over 64 MiB")
)

// llmServer is one server that a provider talks to.
type llmServer struct {
	provider string // the provider's name
	kind     string // for messages: Ollama, OpenAI-compatible server
	base     *url.URL
	client   *http.Client
	headers  map[string]string
	keyEnv   string // "" for none
	env      func(string) string
	timeout  time.Duration // of one request, 0 for none
	silence  time.Duration
}

// newLLMServer refuses an address or a timeout that can't be meant.
func newLLMServer(name, kind, address string, c ProviderConfig, env func(string) string) (*llmServer, error) {
	s := &llmServer{provider: name, kind: kind, headers: c.Headers, keyEnv: c.KeyEnv, env: env, silence: maxSilence}
	base, err := url.Parse(strings.TrimRight(address, "/"))
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		// Not the address itself: it may hold a password.
		return nil, protocols.Errorf(protocols.ConfigurationError,
			"provider %s: its url is not of the form http://host:port", name)
	}
	s.base = base
	if c.Timeout != "" {
		s.timeout, err = time.ParseDuration(c.Timeout)
		if err != nil || s.timeout <= 0 {
			return nil, protocols.Errorf(protocols.ConfigurationError,
				"provider %s: timeout %q is not a duration such as 90s", name, c.Timeout)
		}
	}
	s.client = &http.Client{
		Transport: &http.Transport{
			Proxy:               proxyFrom(env),
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

// post sends body as JSON and returns the answer once its head has come.
// Whoever gets an answer closes it. A status other than 2xx is an error.
func (s *llmServer) post(ctx context.Context, path string, body any, header http.Header) (*llmStream, error) {
	data, err := encode(body)
	if err != nil {
		return nil, err
	}
	return s.send(ctx, http.MethodPost, path, data, header)
}

// get fetches a JSON document into v.
func (s *llmServer) get(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, maxCheck, errTimeout)
	defer cancel()
	answer, err := s.send(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	defer answer.Close()
	return answer.document(v)
}

func (s *llmServer) send(ctx context.Context, method, path string, data []byte, header http.Header) (*llmStream, error) {
	key, err := s.key()
	if err != nil {
		return nil, err
	}
	ctx, a := s.stream(ctx, key)
	req, err := http.NewRequestWithContext(ctx, method, s.base.String()+path, bytes.NewReader(data))
	if err != nil {
		a.Close()
		return nil, a.failed(err)
	}
	for name, value := range s.headers {
		req.Header.Set(name, value)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if data != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
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

// llmStream is a server's answer as it comes in. It ends with its context,
// after too long a silence, and at its limit of size.
type llmStream struct {
	server *llmServer
	key    string
	ended  func() error  // why the context has ended, nil if it hasn't
	cancel func()        // ends it
	alarm  *time.Timer   // ends it after a silence
	body   io.ReadCloser // nil until the head has come
	kind   string        // the media type
	read   int
}

// stream returns an answer that is yet to come, and the context to ask for it
// with.
func (s *llmServer) stream(caller context.Context, key string) (context.Context, *llmStream) {
	ctx, stop := caller, func() {}
	if s.timeout > 0 {
		ctx, stop = context.WithTimeoutCause(caller, s.timeout, errTimeout)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &llmStream{
		server: s,
		key:    key,
		ended:  func() error { return s.endedError(caller, ctx) },
		cancel: func() { cancel(nil); stop() },
		alarm:  time.AfterFunc(s.silence, func() { cancel(errSilence) }),
	}
}

// Read is the body's, with the limits.
func (a *llmStream) Read(b []byte) (int, error) {
	n, err := a.body.Read(b)
	if n > 0 {
		a.alarm.Reset(a.server.silence)
	}
	a.read += n
	if a.read > maxAnswer {
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
