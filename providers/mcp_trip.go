package providers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
)

// This file stands between the SDK and the network. It differs from a plain
// http.Transport in this: the configured headers go to the configured server
// and nowhere else; an answer may have 256 MiB; what isn't a success is noted
// for the error; the text of a result can be had as the server wrote it; and
// nothing waits for a server that says nothing, once nobody wants to know.

// mcpTrip makes the requests of one session.
type mcpTrip struct {
	base    *url.URL
	headers map[string]string
	secrets []string
	under   *http.Transport
	life    context.Context // of the set
	limit   int             // bytes of an answer
	sse     bool
	tokens  *tokenSource   // of a login; nil: there is none
	strayed atomic.Bool    // the server has named another host
	busy    sync.WaitGroup // answers that are open
}

func newMCPTrip(base *url.URL, s *mcpServer, sse bool) *mcpTrip {
	return &mcpTrip{
		base: base, headers: s.config.Headers, secrets: secretsOf(base, s.config.Headers), life: s.life, limit: s.limit, sse: sse,
		under: &http.Transport{
			Proxy:               proxyFrom(s.env),
			DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout: 10 * time.Second,
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: 16,
			IdleConnTimeout:     time.Minute,
		},
	}
}

// errStranger is the error of a server that sends us elsewhere.
var errStranger = errors.New("the server names an address on another host; nothing is sent there")

// RoundTrip makes one request.
func (t *mcpTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != t.base.Scheme || r.URL.Host != t.base.Host {
		t.strayed.Store(true)
		return nil, errStranger
	}
	r = r.Clone(r.Context())
	for name, value := range t.headers {
		r.Header.Set(name, value)
	}
	call, brief := t.sort(r)
	want := wanted(r.Context())
	if !call {
		want = nil
	}
	resp, err := t.send(r, brief)
	if err != nil {
		if want != nil {
			want.change(func(a *mcpAnswer) { a.failure = err })
		}
		return nil, err
	}
	if want != nil && resp.StatusCode/100 != 2 {
		t.note(resp, want, r.Header.Get("Mcp-Session-Id") != "")
	}
	if t.sse {
		want = nil // its answers come otherwise
	}
	t.busy.Add(1)
	if want != nil {
		want.opened()
	}
	resp.Body = &mcpBody{ReadCloser: resp.Body, trip: t, want: want, events: isEvents(resp), left: t.limit}
	return resp, nil
}

// sort tells whether a request is a call, or what is left of a call's answer,
// and how long it is waited for if nobody waits for what comes of it; 0: for ever.
func (t *mcpTrip) sort(r *http.Request) (call bool, brief time.Duration) {
	switch r.Method {
	case http.MethodGet:
		return t.sse || r.Header.Get("Last-Event-ID") != "", 0
	case http.MethodDelete:
		return false, mcpGoodbye
	}
	request, is := messageOf(r).(*jsonrpc.Request)
	switch {
	case !is: // what the server asked of us is answered
		return false, mcpReply
	case request.Method == "notifications/cancelled":
		return false, mcpGoodbye
	case !request.IsCall():
		return false, 0
	}
	if want := wanted(r.Context()); want != nil {
		want.begin(request.ID)
	}
	return true, 0
}

// messageOf is the message that a request carries, nil for none.
func messageOf(r *http.Request) jsonrpc.Message {
	if r.GetBody == nil {
		return nil
	}
	body, err := r.GetBody()
	if err != nil {
		return nil
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		return nil
	}
	message, _ := jsonrpc.DecodeMessage(data) // nil if it is none
	return message
}

// send sends a request.
func (t *mcpTrip) send(r *http.Request, brief time.Duration) (*http.Response, error) {
	switch {
	case brief > 0:
		ctx, cancel := context.WithTimeout(r.Context(), brief)
		if brief == mcpReply {
			context.AfterFunc(t.life, cancel)
		}
		resp, err := t.under.RoundTrip(r.WithContext(ctx))
		if err != nil {
			cancel()
			return nil, err
		}
		resp.Body = &cancelBody{resp.Body, cancel}
		return resp, nil
	case r.Method == http.MethodGet && !t.sse && r.Header.Get("Last-Event-ID") == "":
		return t.listen(r)
	}
	return t.under.RoundTrip(r)
}

// listen asks for a stream of the server's own. The SDK waits for the answer
// to that without end, and a server that has nothing to say may send none: it
// is taken to offer no such stream.
func (t *mcpTrip) listen(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	ending := context.AfterFunc(t.life, cancel)
	late := time.AfterFunc(mcpHeaderTime, cancel)
	resp, err := t.under.RoundTrip(r.WithContext(ctx))
	if inTime, alive := late.Stop(), ending(); !(inTime && alive) && r.Context().Err() == nil {
		if err == nil {
			resp.Body.Close()
		}
		cancel()
		return &http.Response{
			Status: "405 Method Not Allowed", StatusCode: http.StatusMethodNotAllowed,
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody, Request: r,
		}, nil
	}
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = &cancelBody{resp.Body, cancel}
	return resp, nil
}

// note keeps what an answer says that is no success.
func (t *mcpTrip) note(resp *http.Response, want *rawResult, inSession bool) {
	head, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10)) // what came of it will do
	message, err := jsonrpc.DecodeMessage(head)
	want.change(func(a *mcpAnswer) {
		a.status = resp.StatusCode
		a.retryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
		a.noSession = inSession && (a.status == http.StatusNotFound || a.status == http.StatusBadRequest && !aboutTheCall(head))
		if a.spoken = err == nil && message != nil; !a.spoken {
			a.reason = clipped(t.scrub(reason(string(head))))
		}
	})
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), resp.Body), resp.Body}
}

// aboutTheCall tells whether an answer is a JSON-RPC error that means the call
// and not the session, for which there is no code of its own.
func aboutTheCall(body []byte) bool {
	var answer struct {
		Error *struct{ Code int64 }
	}
	return json.Unmarshal(body, &answer) == nil && answer.Error != nil && answer.Error.Code != -32000 && answer.Error.Code != -32001
}

// scrub takes the secrets out of a text: servers like to quote them.
func (t *mcpTrip) scrub(text string) string {
	for _, secret := range append(t.tokens.secrets(), t.secrets...) {
		if len(secret) >= 4 {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return text
}

// close drops the connections that are kept for later requests.
func (t *mcpTrip) close() { t.under.CloseIdleConnections() }

// wait returns when every answer has been closed.
func (t *mcpTrip) wait() {
	t.busy.Wait()
	t.under.CloseIdleConnections()
}

func isEvents(resp *http.Response) bool {
	return strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream")
}

// cancelBody ends its request's context when it is closed.
type cancelBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Close closes the body.
func (b *cancelBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// mcpBody is an answer as it is read. It has a limit, for a stream of events
// that of each event, and keeps the text of the result that is wanted.
type mcpBody struct {
	io.ReadCloser
	trip   *mcpTrip
	want   *rawResult
	events bool
	left   int    // bytes of a document that may still come
	text   []byte // what came of a document, or of the event that is coming
	seen   int    // bytes of text that hold no end of an event
	once   sync.Once
}

// Read is the body's.
func (b *mcpBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 && !b.keep(p[:n]) {
		if b.want != nil {
			b.want.refuse(errTooLongMessage)
		}
		return 0, errTooLongMessage
	}
	if err == io.EOF && !b.events {
		b.take(b.text)
	}
	return n, err
}

// keep looks at what came, and tells whether it is within the limit.
func (b *mcpBody) keep(p []byte) bool {
	if !b.events {
		b.left -= len(p)
		if b.want != nil && b.left >= 0 {
			b.text = append(b.text, p...)
		}
		return b.left >= 0
	}
	if b.want == nil {
		return true // the SDK bounds events itself
	}
	b.text = append(b.text, p...)
	for {
		event, rest, whole := cutEvent(b.text, b.seen)
		if !whole {
			b.seen = max(0, len(b.text)-3)
			break
		}
		b.take(eventData(event))
		b.text, b.seen = append(b.text[:0], rest...), 0
	}
	return len(b.text) <= b.trip.limit
}

// cutEvent cuts the first event, which an empty line ends, off a stream; none
// ends before seen.
func cutEvent(stream []byte, seen int) (event, rest []byte, whole bool) {
	for _, end := range []string{"\n\n", "\r\n\r\n"} {
		if i := bytes.Index(stream[seen:], []byte(end)); i >= 0 && (!whole || seen+i < len(event)) {
			event, rest, whole = stream[:seen+i], stream[seen+i+len(end):], true
		}
	}
	return event, rest, whole
}

// eventData joins the data lines of an event.
func eventData(event []byte) []byte {
	var data [][]byte
	for _, line := range bytes.Split(event, []byte("\n")) {
		if text, is := bytes.CutPrefix(bytes.TrimSuffix(line, []byte("\r")), []byte("data:")); is {
			data = append(data, bytes.TrimPrefix(text, []byte(" ")))
		}
	}
	return bytes.Join(data, []byte("\n"))
}

// take keeps the result in a message if it is the one that is wanted.
func (b *mcpBody) take(text []byte) {
	if b.want == nil || len(text) == 0 {
		return
	}
	message, err := jsonrpc.DecodeMessage(bytes.Clone(text))
	if answer, is := message.(*jsonrpc.Response); err == nil && is && answer.Error == nil {
		b.want.change(func(a *mcpAnswer) {
			if a.id == answer.ID {
				a.json = answer.Result
			}
		})
	}
}

// Close closes the body.
func (b *mcpBody) Close() error {
	defer b.once.Do(func() {
		b.trip.busy.Done()
		if b.want != nil {
			b.want.closed()
		}
	})
	return b.ReadCloser.Close()
}
