package providers

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"gleitzeit/protocols"
)

// This file is the line to a server over HTTP: streamable HTTP, or the older
// one whose answers all come in one stream of events (SSE).

// mcpHTTP is a server somewhere else, and a session with it.
type mcpHTTP struct {
	server  string
	address string // what messages may show of it
	trip    *mcpTrip
	make    func() mcp.Transport
	sse     bool
	conn    mcp.Connection // nil before Connect
	wire    *mcpWire       // conn's, of SSE
	cancel  func()         // ends what Connect has opened
}

// httpLines are the ways that a server's URL may be meant, the likely one
// first.
func (s *mcpServer) httpLines() []func() (mcpLine, error) {
	streamable := func() (mcpLine, error) { return s.httpLine(false) }
	sse := func() (mcpLine, error) { return s.httpLine(true) }
	switch s.config.transport() {
	case "http":
		return []func() (mcpLine, error){streamable}
	case "sse":
		return []func() (mcpLine, error){sse}
	}
	return []func() (mcpLine, error){streamable, sse}
}

// httpLine makes a line; it reaches nobody.
func (s *mcpServer) httpLine(sse bool) (mcpLine, error) {
	base, err := url.Parse(s.config.URL)
	if err != nil || base.Host == "" { // Validate has looked at the rest
		return nil, protocols.Errorf(protocols.ConfigurationError, "MCP server %s: its url is not of the form https://host/path", s.name)
	}
	h := &mcpHTTP{server: s.name, address: base.Scheme + "://" + base.Host + base.Path, sse: sse}
	h.trip = newMCPTrip(base, s, sse)
	client := &http.Client{
		Transport:     h.trip,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if s.login == nil && !sse {
		if s.login, err = s.newLogin(); err != nil {
			return nil, err
		}
	}
	h.trip.tokens = s.tokens
	h.make = func() mcp.Transport {
		t := &mcp.StreamableClientTransport{Endpoint: s.config.URL, HTTPClient: client, MaxEventSize: s.limit}
		if s.login != nil {
			t.OAuthHandler = s.login
		}
		return t
	}
	if sse {
		h.make = func() mcp.Transport {
			return &mcp.SSEClientTransport{Endpoint: s.config.URL, HTTPClient: client, MaxEventSize: s.limit}
		}
	}
	return h, nil
}

// Connect is what the SDK calls first. The connection of streamable HTTP must
// be the SDK's own: it is told in private what was negotiated. That of SSE is
// a request that lasts, longer than ctx.
func (h *mcpHTTP) Connect(ctx context.Context) (mcp.Connection, error) {
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h.cancel = cancel
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	c, err := h.make().Connect(lasting)
	if err != nil {
		return nil, err
	}
	h.conn = c
	if h.sse {
		h.wire = newMCPWire(c)
		return h.wire, nil
	}
	return c, nil
}

func (h *mcpHTTP) ended() <-chan struct{} { return nil }

// end ends the session: the server is told, and every request is broken off.
func (h *mcpHTTP) end() {
	if h.conn != nil {
		_ = h.conn.Close() // the server may be gone, or not have liked it
	}
	if h.cancel != nil {
		h.cancel()
	}
	h.trip.close()
}

func (h *mcpHTTP) drain() { h.trip.wait() }

func (h *mcpHTTP) fate() string { return "closed the session" }

func (h *mcpHTTP) words() string { return "" }

// clean takes out the tokens of a login. What the configuration's headers hold
// is known to whoever configured it.
func (h *mcpHTTP) clean(result json.RawMessage) json.RawMessage {
	for _, secret := range h.trip.tokens.secrets() {
		if len(secret) >= 4 && bytes.Contains(result, []byte(secret)) {
			result = bytes.ReplaceAll(result, []byte(secret), []byte("***"))
		}
	}
	return result
}

func (h *mcpHTTP) forget(r *rawResult) {
	if h.wire != nil {
		h.wire.forget(r)
	}
}

// fault turns a status, or what the network did, into an error.
func (h *mcpHTTP) fault(request string, answer mcpAnswer) *protocols.Error {
	at := "MCP server " + h.server + " at " + h.address
	switch {
	case h.trip.strayed.Load():
		return protocols.Errorf(protocols.ConfigurationError, "%s: %v", at, errStranger)
	case errors.Is(answer.failure, errTooLongMessage):
		return tooLongMessage(h.server, request, h.trip.limit)
	case answer.status != 0 && answer.spoken && statusCode(answer.status) == protocols.TaskParameterError:
		return nil // the server's own words are better
	case answer.status != 0:
		return h.refusal(at, request, answer)
	case answer.failure != nil:
		return h.networkFault(at, answer.failure)
	}
	return nil
}

// refusal is the error of a status that is no success.
func (h *mcpHTTP) refusal(at, request string, answer mcpAnswer) *protocols.Error {
	code := statusCode(answer.status)
	message := fmt.Sprintf("%s answered %d %s to %s", at, answer.status, http.StatusText(answer.status), request)
	switch {
	case code == protocols.ConfigurationError:
		message += "; redirects are not followed, put the address it leads to into the server's url"
	case answer.reason != "":
		message += ": " + h.trip.scrub(answer.reason)
	}
	switch {
	case code != protocols.AuthenticationFailed && code != protocols.AuthorizationFailed:
	case h.trip.tokens != nil:
		message += "; log in with: gleitzeit provider login " + h.server
	default:
		message += "; see headers in its configuration"
	}
	data := map[string]any{"server": h.server, "status": answer.status}
	if answer.retryAfter > 0 {
		data["retry_after"] = answer.retryAfter.Seconds()
	}
	return protocols.Errorf(code, "%s", message).With(data)
}

// networkFault names what kept an answer from coming.
func (h *mcpHTTP) networkFault(at string, err error) *protocols.Error {
	var op *net.OpError
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case isSyscall(err, syscall.ECONNREFUSED, 10061):
		return protocols.Errorf(protocols.ConnectionRefused, "%s is not running", at)
	case errors.As(err, &dns):
		return protocols.Errorf(protocols.NetworkUnreachable, "%s: the name %s can't be looked up", at, dns.Name)
	case isSyscall(err, syscall.ENETUNREACH, 10051), isSyscall(err, syscall.EHOSTUNREACH, 10065):
		return protocols.Errorf(protocols.NetworkUnreachable, "%s can't be reached", at)
	case errors.As(err, &certificate):
		return protocols.Errorf(protocols.ConfigurationError, "%s: %s", at, h.trip.scrub(certificate.Error()))
	case errors.As(err, &op) && op.Op == "dial" && op.Timeout():
		return protocols.Errorf(protocols.ConnectionTimeout, "%s takes no connection", at)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		isSyscall(err, syscall.ECONNRESET, 10054), isSyscall(err, syscall.EPIPE, 10053):
		return protocols.Errorf(protocols.ConnectionLost, "%s broke off its answer", at)
	}
	var about *url.Error // its text repeats the address
	if errors.As(err, &about) {
		err = about.Err
	}
	return protocols.Errorf(protocols.ConnectionLost, "%s: %s", at, h.trip.scrub(err.Error()))
}

// secretsOf are the values that must not get into an error.
func secretsOf(base *url.URL, headers map[string]string) (secrets []string) {
	for _, value := range headers {
		secrets = append(secrets, value)
		if _, token, found := strings.Cut(value, " "); found {
			secrets = append(secrets, token) // "Bearer …"
		}
	}
	if password, set := base.User.Password(); set {
		secrets = append(secrets, password)
	}
	for _, values := range base.Query() {
		secrets = append(secrets, values...)
	}
	return secrets
}

// mcpHeaderTime bounds how long a server may think about whether it offers a
// stream of its own, mcpGoodbye how long about the end of a session, and
// mcpReply how long it may take what it asked for.
const (
	mcpHeaderTime = 5 * time.Second
	mcpGoodbye    = time.Second
	mcpReply      = 30 * time.Second
)
