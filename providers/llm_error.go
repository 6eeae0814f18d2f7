package providers

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gleitzeit/protocols"
)

// This file turns what a server or the network does wrong into an error's
// code, which decides whether the task is tried again, and into words that
// say what to do. No key and no header ever gets into them.

// maxQuote is how much of a server's own words an error repeats, in bytes.
const maxQuote = 500

// statusCodes names the statuses that mean something of their own.
var statusCodes = map[int]protocols.Code{
	http.StatusUnauthorized:       protocols.AuthenticationFailed,
	http.StatusForbidden:          protocols.AuthorizationFailed,
	http.StatusNotFound:           protocols.ProviderNotFound,
	http.StatusRequestTimeout:     protocols.ProviderTimeout,
	http.StatusGatewayTimeout:     protocols.ProviderTimeout,
	http.StatusTooManyRequests:    protocols.RateLimitExceeded,
	http.StatusServiceUnavailable: protocols.ProviderOverloaded,
	529:                           protocols.ProviderOverloaded, // Anthropic's "overloaded"
}

func statusCode(status int) protocols.Code {
	if code, known := statusCodes[status]; known {
		return code
	}
	switch {
	case status >= 500:
		return protocols.ProviderUnhealthy
	case status >= 400:
		return protocols.TaskParameterError
	case status >= 300:
		return protocols.ConfigurationError
	}
	return protocols.ProviderUnhealthy
}

// llmRefusal is an answer whose status is not 2xx.
type llmRefusal struct {
	status int
	text   string // the server's reason, in its own words
	err    *protocols.Error
}

func (r *llmRefusal) Error() string { return r.err.Message }

// Unwrap gives the error that crosses the border.
func (r *llmRefusal) Unwrap() error { return r.err }

// refused reads the reason of an answer whose status is not 2xx.
func (a *llmStream) refused(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(a, 64<<10)) // what came of it will do
	if ended := a.ended(); ended != nil {
		return ended
	}
	r := &llmRefusal{status: resp.StatusCode, text: reason(a.scrub(string(body)))}
	code := statusCode(r.status)
	message := fmt.Sprintf("%s at %s answered %d", a.server.kind, a.server.address(), r.status)
	if name := http.StatusText(r.status); name != "" {
		message += " " + name
	}
	switch {
	case code == protocols.ConfigurationError:
		message += "; redirects are not followed, put the address it leads to into the provider's url"
		if to, err := resp.Location(); err == nil {
			message += " (" + a.scrub(to.Scheme+"://"+to.Host+to.Path) + ")"
		}
	case r.text != "":
		message += ": " + r.text
	}
	r.err = protocols.Errorf(code, "%s", message)
	data := map[string]any{"status": r.status}
	if wait := retryAfter(resp.Header.Get("Retry-After"), time.Now()); wait > 0 {
		data["retry_after"] = wait.Seconds()
	}
	r.err = r.err.With(data)
	return r
}

// retryAfter reads a Retry-After header: seconds or an HTTP date. What can't
// be read, or has passed, is zero.
func retryAfter(text string, now time.Time) time.Duration {
	text = strings.TrimSpace(text)
	if n, err := strconv.ParseFloat(text, 64); err == nil && n > 0 {
		return seconds(n)
	}
	if at, err := http.ParseTime(text); err == nil && at.After(now) {
		return at.Sub(now).Round(time.Second)
	}
	return 0
}

// reason finds the words in an error document: {"error": "…"},
// {"error": {"message": "…"}}, {"message": "…"}, {"detail": "…"}, or else the
// text itself.
func reason(text string) string {
	var d struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	if json.Unmarshal([]byte(text), &d) == nil {
		switch {
		case len(d.Error) > 0:
			text = errorText(d.Error)
		case d.Message != "":
			text = d.Message
		case len(d.Detail) > 0:
			text = errorText(d.Detail)
		}
	}
	return clipped(text)
}

// clipped is a server's text on one line that is not too long.
func clipped(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxQuote {
		text = strings.ToValidUTF8(text[:maxQuote], "") + "…"
	}
	return text
}

// errorText reads a string, an object with a message, or takes JSON as it is.
func errorText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var d struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(raw, &d) == nil && d.Message != "" {
		return d.Message
	}
	return string(raw)
}

// complaints are the words by which an error within a stream, whose status was
// a good one, says what kind of error it is: Anthropic's types, and OpenAI's.
var complaints = map[string]protocols.Code{
	"overloaded_error":      protocols.ProviderOverloaded,
	"server_overloaded":     protocols.ProviderOverloaded,
	"rate_limit_error":      protocols.RateLimitExceeded,
	"rate_limit_exceeded":   protocols.RateLimitExceeded,
	"timeout_error":         protocols.ProviderTimeout,
	"authentication_error":  protocols.AuthenticationFailed,
	"permission_error":      protocols.AuthorizationFailed,
	"not_found_error":       protocols.ProviderNotFound,
	"invalid_request_error": protocols.TaskParameterError,
	"request_too_large":     protocols.TaskParameterError,
}

// complaint is an error that came within a stream, as a text or an object.
func (a *llmStream) complaint(raw json.RawMessage) *protocols.Error {
	var d struct {
		Type string          `json:"type"`
		Code json.RawMessage `json:"code"` // a text, or the status that it would have had
	}
	code := protocols.ProviderUnhealthy
	if json.Unmarshal(raw, &d) == nil {
		var word string
		var status int
		if known, is := complaints[d.Type]; is {
			code = known
		} else if json.Unmarshal(d.Code, &word) == nil && complaints[word] != 0 {
			code = complaints[word]
		} else if json.Unmarshal(d.Code, &status) == nil && status >= 400 {
			code = statusCode(status)
		}
	}
	return protocols.Errorf(code, "%s at %s: %s", a.server.kind, a.server.address(), clipped(a.scrub(errorText(raw))))
}

// failed tells why no answer came, or not all of it.
func (a *llmStream) failed(err error) error {
	if ended := a.ended(); ended != nil {
		return ended
	}
	var already *protocols.Error
	if errors.As(err, &already) {
		return err
	}
	at := a.server.kind + " at " + a.server.address()
	if errors.Is(err, errTooLong) {
		return protocols.Errorf(protocols.TaskResultInvalid, "the answer of %s is over 64 MiB", at)
	}
	return networkFault(at, a.server.hint(), err, a.scrub)
}

// networkFault says what went wrong on the way to a server, or from it; hint
// says how to get one that isn't running to run.
func networkFault(at, hint string, err error, scrub func(string) string) *protocols.Error {
	var op *net.OpError
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case isSyscall(err, syscall.ECONNREFUSED, 10061):
		return protocols.Errorf(protocols.ConnectionRefused, "%s is not running%s", at, hint)
	case errors.As(err, &dns):
		return protocols.Errorf(protocols.NetworkUnreachable, "%s: the name %s can't be looked up", at, dns.Name)
	case isSyscall(err, syscall.ENETUNREACH, 10051), isSyscall(err, syscall.EHOSTUNREACH, 10065):
		return protocols.Errorf(protocols.NetworkUnreachable, "%s can't be reached", at)
	case errors.As(err, &certificate):
		return protocols.Errorf(protocols.ConfigurationError, "%s: %v", at, scrub(certificate.Error()))
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
	return protocols.Errorf(protocols.ConnectionLost, "%s: %s", at, scrub(err.Error()))
}

// getHint is the command that gets a model, "" where there is none.
func (s *llmServer) getHint(model string) string {
	if s.kind == "Ollama" {
		return "ollama pull " + model
	}
	return ""
}

// hint says how to get the server running, for the kinds where that is known.
func (s *llmServer) hint() string {
	if s.kind == "Ollama" {
		return "; start it with: ollama serve"
	}
	return ""
}

// endedError tells whether the caller gave up or a request's time was over,
// nil if neither. caller is the parent of ctx, the request's own.
func (s *llmServer) endedError(caller, ctx context.Context) error {
	at := s.kind + " at " + s.address()
	switch {
	case ctx.Err() == nil:
		return nil
	case context.Cause(ctx) == errTimeout:
		return protocols.Errorf(protocols.ProviderTimeout, "%s did not finish in time", at)
	}
	var silent *silenceError
	if errors.As(context.Cause(ctx), &silent) {
		return protocols.Errorf(silent.code, "%s %v", at, silent)
	}
	return endedError(caller)
}

// garbage says that the answer is not what the protocol promises.
func (a *llmStream) garbage(err error) error {
	return protocols.Errorf(protocols.TaskResultInvalid, "the answer of %s at %s makes no sense: %s",
		a.server.kind, a.server.address(), a.scrub(err.Error()))
}

// decoded tells the faults of reading from those of what was read.
func (a *llmStream) decoded(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if a.ended() == nil && (errors.As(err, &syntax) || errors.As(err, &kind)) {
		return a.garbage(err)
	}
	return a.failed(err)
}

// document reads the whole answer as one JSON document into v.
func (a *llmStream) document(v any) error {
	if err := json.NewDecoder(a).Decode(v); err != nil {
		return a.decoded(err)
	}
	return nil
}

// scrub takes secrets out of a text that the server sent.
func (a *llmStream) scrub(text string) string { return a.server.scrub(text, a.key) }

// scrub takes the key, the headers' values and the address's password out of
// a text: servers like to quote them.
func (s *llmServer) scrub(text, key string) string {
	secrets := []string{key}
	for _, value := range s.headers {
		secrets = append(secrets, value)
		if _, token, found := strings.Cut(value, " "); found {
			secrets = append(secrets, token) // "Bearer …"
		}
	}
	if s.base.User != nil {
		password, _ := s.base.User.Password()
		secrets = append(secrets, password)
	}
	for _, secret := range secrets {
		if len(secret) >= 4 {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return text
}

// isSyscall tells whether err is the system error, on Windows the one with
// the socket library's number.
func isSyscall(err error, unix syscall.Errno, windows syscall.Errno) bool {
	return errors.Is(err, unix) || errors.Is(err, windows)
}
