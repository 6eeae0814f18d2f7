package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is a user of the package: it acknowledges each event with its arguments.
type host struct {
	t       *testing.T
	engine  *Engine
	url     string
	quit    chan struct{}
	working sync.WaitGroup
	join    func(*Socket, json.RawMessage) (Listener, error) // instead of echo's
	sockets chan *Socket
	gone    chan struct{} // holds one for each session that has ended
}

func newHost(t *testing.T, change func(*Options)) *host {
	h := &host{t: t, quit: make(chan struct{}), sockets: make(chan *Socket, 1000), gone: make(chan struct{}, 1000)}
	o := Options{MaxPayload: 1 << 20, MaxStranger: 1 << 10, MaxQueued: 1 << 16, MaxPackets: 100, MaxNamespaces: 3,
		PingEvery: time.Hour, PongWithin: time.Hour, EnterWithin: time.Hour, TakeWithin: time.Hour, PartWithin: 10 * time.Second, Quit: h.quit,
		Go: func(f func()) bool { h.working.Go(f); return true },
		Body: func(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
			return io.ReadAll(http.MaxBytesReader(w, r.Body, most))
		},
		Refuse:  func(w http.ResponseWriter, err error) { http.Error(w, err.Error(), http.StatusForbidden) },
		Explain: func(error) any { return "explained" }}
	if change != nil {
		change(&o)
	}
	h.engine = New(o)
	web := httptest.NewServer(h)
	h.url = web.URL + "/socket.io/?EIO=4"
	t.Cleanup(func() {
		close(h.quit)
		h.working.Wait()
		web.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return h
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.engine.Serve(w, r, func() (Guest, error) {
		if r.URL.Query().Get("stranger") != "" {
			return nil, errors.New("nobody knows you")
		}
		return h, nil
	})
}

// Join lets everybody in everywhere but into /closed.
func (h *host) Join(s *Socket, auth json.RawMessage) (Listener, error) {
	if h.join != nil {
		return h.join(s, auth)
	}
	if s.Namespace == "/closed" {
		return nil, errors.New("closed")
	}
	return &echo{h, s}, nil
}

func (h *host) Part() {}
func (h *host) Gone() { h.gone <- struct{}{} }

type echo struct {
	host   *host
	socket *Socket
}

func (e *echo) Connected() { e.host.sockets <- e.socket }
func (e *echo) Left()      {}
func (e *echo) Event(v Event) {
	if v.Acknowledge != nil {
		args := make([]any, len(v.Args))
		for i, arg := range v.Args {
			args[i] = arg
		}
		v.Acknowledge(args...)
	}
}

// get and post make requests; get returns what came before the end of the test.
func (h *host) get(query string) (int, string) { return h.request("GET", query, "") }

func (h *host) post(sid, body string) (int, string) {
	return h.request("POST", "&transport=polling&sid="+sid, body)
}

func (h *host) request(method, query, body string) (int, string) {
	h.t.Helper()
	r, err := http.NewRequestWithContext(soon(h.t), method, h.url+query, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// begin begins a session by polling.
func (h *host) begin() (sid string) {
	h.t.Helper()
	status, body := h.get("&transport=polling")
	var open struct{ SID string }
	if status != 200 || body[0] != '0' || json.Unmarshal([]byte(body[1:]), &open) != nil {
		h.t.Fatalf("%d %s", status, body)
	}
	return open.SID
}

// enter begins a session by polling, and enters "/".
func (h *host) enter() (sid string) {
	h.t.Helper()
	sid = h.begin()
	h.post(sid, "40")
	if got := h.poll(sid); !strings.HasPrefix(got, `40{"sid":"`) {
		h.t.Fatal(got)
	}
	return sid
}

func (h *host) poll(sid string) string {
	h.t.Helper()
	status, body := h.get("&transport=polling&sid=" + sid)
	if status != 200 {
		h.t.Fatalf("%d %s", status, body)
	}
	return body
}

// untilPolled returns when a GET waits.
func (h *host) untilPolled(sid string) {
	s := h.engine.find(sid)
	for polls := false; !polls; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		polls = s.polling
		s.mu.Unlock()
	}
}

func (h *host) ended(sid string) {
	h.t.Helper()
	select {
	case <-h.gone:
	case <-soon(h.t).Done():
		h.t.Fatal("the session goes on")
	}
	if status, body := h.get("&transport=polling&sid=" + sid); status != 400 || !strings.Contains(body, "Session ID unknown") {
		h.t.Errorf("after its end: %d %s", status, body)
	}
}

// wire is a WebSocket.
type wire struct {
	t    *testing.T
	conn *websocket.Conn
}

func (h *host) dial(query string) *wire {
	h.t.Helper()
	conn, _, err := websocket.Dial(soon(h.t), h.url+"&transport=websocket"+query, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.CloseNow() })
	return &wire{h.t, conn}
}

func (w *wire) say(text string) {
	w.t.Helper()
	if err := w.conn.Write(soon(w.t), websocket.MessageText, []byte(text)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) hear() string {
	_, got, err := w.conn.Read(soon(w.t))
	if err != nil {
		return "closed"
	}
	return string(got)
}

// Requests that fit no session are refused as Engine.IO's own server does.
func TestBadRequests(t *testing.T) {
	h := newHost(t, nil)
	sid := h.enter()
	for _, test := range []struct {
		method, query string
		status        int
		want          string
	}{
		{"GET", "&transport=telepathy", 400, `{"code":0,"message":"Transport unknown"}`},
		{"GET", "", 400, `{"code":0,"message":"Transport unknown"}`},
		{"GET", "&transport=polling&sid=nobody", 400, `{"code":1,"message":"Session ID unknown"}`},
		{"POST", "&transport=polling&sid=nobody", 400, `{"code":1,"message":"Session ID unknown"}`},
		{"POST", "&transport=polling", 400, `{"code":2,"message":"Bad handshake method"}`},
		{"GET", "&transport=websocket", 400, `{"code":3,"message":"Bad request"}`},
		{"GET", "&transport=websocket&sid=" + sid, 400, `{"code":3,"message":"Bad request"}`},
		{"PUT", "&transport=polling&sid=" + sid, 400, `{"code":3,"message":"Bad request"}`},
		{"GET", "&transport=polling&stranger=1", 403, "nobody knows you\n"},
	} {
		if status, body := h.request(test.method, test.query, ""); status != test.status || body != test.want {
			t.Errorf("%s %s: %d %s", test.method, test.query, status, body)
		}
	}
	h.url = strings.Replace(h.url, "EIO=4", "EIO=3", 1)
	if status, body := h.get("&transport=polling"); status != 400 || body != `{"code":5,"message":"Unsupported protocol version"}` {
		t.Errorf("version 3: %d %s", status, body)
	}
}

// Events are acknowledged, also binary ones, over each transport and after an
// upgrade, and nothing is lost in one.
func TestEcho(t *testing.T) {
	h := newHost(t, nil)
	sid := h.enter()
	h.post(sid, `421["x",1,"ü"]`+"\x1e"+`451-2["x",{"_placeholder":true,"num":0}]`+"\x1ebAAEC/w==")
	got := h.poll(sid)
	for got != `431[1,"ü"]`+"\x1e"+`432["AAEC/w=="]` {
		if got += "\x1e" + h.poll(sid); len(got) > 100 {
			t.Fatal(got)
		}
	}
	<-h.sockets
	w := h.dial("&sid=" + sid)
	w.say("2probe")
	if got := w.hear(); got != "3probe" {
		t.Fatal(got)
	}
	if got := h.poll(sid); got != "6" {
		t.Errorf("polling in an upgrade: %s", got)
	}
	h.post(sid, `423["x",3]`)
	w.say("5")
	if got := w.hear(); got != "433[3]" {
		t.Error(got)
	}
	w.say(`451-4["x",{"_placeholder":true,"num":0}]`)
	w.conn.Write(soon(t), websocket.MessageBinary, []byte{0, 1, 2, 255})
	if got := w.hear(); got != `434["AAEC/w=="]` {
		t.Error(got)
	}
	if status, _ := h.get("&transport=polling&sid=" + sid); status != 400 {
		t.Errorf("polling after an upgrade: %d", status)
	}
	if got := h.dial("&sid=" + sid).hear(); got != "closed" {
		t.Errorf("a second upgrade: %s", got)
	}
	if status, _ := h.post(sid, "3"); status != 400 {
		t.Errorf("POST after an upgrade: %d", status)
	}
	w.conn.Close(websocket.StatusNormalClosure, "")
	h.ended(sid)
}

// An upgrade that comes to nothing leaves polling as it was.
func TestUpgradeFails(t *testing.T) {
	h := newHost(t, nil)
	sid := h.enter()
	for _, said := range []string{"2", "2probe", "hello"} {
		w := h.dial("&sid=" + sid)
		w.say(said)
		if said == "2probe" {
			w.hear()
			w.say("4no")
		}
		if got := w.hear(); got != "closed" {
			t.Errorf("after %s: %s", said, got)
		}
	}
	h.post(sid, `427["x",7]`)
	for got := ""; got != "437[7]"; {
		if got = h.poll(sid); got != "6" && got != "437[7]" {
			t.Fatal(got)
		}
	}
}

// Namespaces are apart from each other, and bounded.
func TestNamespaces(t *testing.T) {
	h := newHost(t, nil)
	w := h.dial("")
	w.hear()
	w.say("40/closed,")
	if got := w.hear(); got != `44/closed,{"message":"closed","data":"explained"}` {
		t.Error(got)
	}
	for _, name := range []string{"/a", "/b", "/c"} {
		w.say("40" + name + ",{}")
		if got := w.hear(); !strings.HasPrefix(got, "40"+name+`,{"sid":`) {
			t.Error(got)
		}
	}
	w.say(`42/b,1["x",2]`)
	if got := w.hear(); got != "43/b,1[2]" {
		t.Error(got)
	}
	(<-h.sockets).Emit("only", "a")
	if got := w.hear(); got != `42/a,["only","a"]` {
		t.Error(got)
	}
	w.say("41/c,")
	w.say("40/d,")
	if got := w.hear(); !strings.HasPrefix(got, "40/d,") {
		t.Error(got)
	}
	<-h.sockets
	if err := (<-h.sockets).Emit("x"); !errors.Is(err, ErrClosed) {
		t.Errorf("to one that has left: %v", err)
	}
	w.say("40/e,")
	if got := w.hear(); got != "closed" {
		t.Error(got)
	}
}

// Who speaks something else is hung up on, over each transport.
func TestMalformed(t *testing.T) {
	h := newHost(t, nil)
	for _, said := range []string{
		"", "x", "2", "5", "4", "47", "40[]", "40/x\x01,", "42{}", "42[]", "42[1]", `42["connect"]`, `42["x"`, "43[]", "43", "44{}", "45", `451["x"]`,
		`45-["x"]`, `451001-["x"]`, `42/nowhere,["x"]`, "40", `4299999999999999999999["x"]`, "42[\"\xff\"]",
		`452-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]` + "\x1ebAAEC\x1ebAAEC",
		`451-["x",{"_placeholder":true,"num":1}]` + "\x1ebAAEC", `451-["x"]` + "\x1ebAAEC", `451-["x"]` + "\x1e" + `42["x"]`,
		"b*", "bAAEC", "42" + strings.Repeat("[", 20_000),
	} {
		sid := h.enter()
		if status, body := h.post(sid, said); status != 400 {
			t.Errorf("%.50q: %d %s", said, status, body)
		}
		h.ended(sid)
		if strings.ContainsAny(said, "\x1e*") || !utf8.ValidString(said) || strings.HasPrefix(said, "b") {
			continue // which is of polling alone
		}
		w := h.dial("")
		w.hear()
		w.say("40")
		w.hear()
		w.say(said)
		if got := w.hear(); got != "closed" {
			t.Errorf("%.50q over a WebSocket: %s", said, got)
		}
		<-h.gone
	}
}

// A second GET or POST at once ends the session, for nobody could tell what
// comes first; so does a GET that is given up, for what it took would be lost.
func TestOneRequestEachWay(t *testing.T) {
	h := newHost(t, nil)
	sid := h.enter()
	first := make(chan string)
	go func() { first <- h.poll(sid) }()
	h.untilPolled(sid)
	if status, _ := h.get("&transport=polling&sid=" + sid); status != 400 {
		t.Errorf("a second GET: %d", status)
	}
	if got := <-first; got != "1" {
		t.Errorf("the first GET got %q", got)
	}
	h.ended(sid)

	sid = h.enter()
	s := h.engine.find(sid)
	s.posting.Lock()
	if status, _ := h.post(sid, "3"); status != 400 {
		t.Errorf("a second POST: %d", status)
	}
	s.posting.Unlock()
	h.ended(sid)

	sid = h.enter()
	ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	r, _ := http.NewRequestWithContext(ctx, "GET", h.url+"&transport=polling&sid="+sid, nil)
	if _, err := http.DefaultClient.Do(r); err == nil {
		t.Error("it was answered")
	}
	h.ended(sid)

	sid = h.enter()
	go func() { first <- h.poll(sid) }()
	h.untilPolled(sid)
	h.post(sid, "1")
	h.ended(sid)
	if got := <-first; got != "6" {
		t.Errorf("the GET of a client that closes got %q", got)
	}
}

// Who answers no ping, or enters no namespace, is hung up on; who does stays.
func TestHeartbeat(t *testing.T) {
	h := newHost(t, func(o *Options) { o.PingEvery, o.PongWithin = 20*time.Millisecond, time.Second })
	w := h.dial("")
	w.hear()
	w.say("40")
	for pings := 0; pings < 3; {
		if got := w.hear(); got == "2" {
			w.say("3")
			pings++
		} else if !strings.HasPrefix(got, "40") {
			t.Fatal(got)
		}
	}
	silent := h.enter()
	h.ended(silent)

	h = newHost(t, func(o *Options) { o.EnterWithin = 20 * time.Millisecond })
	h.ended(h.begin())
}

// A client that takes nothing makes Emit wait, and is hung up on after a while.
func TestSlowClient(t *testing.T) {
	h := newHost(t, func(o *Options) { o.TakeWithin = 50 * time.Millisecond })
	sid := h.enter()
	socket, sent := <-h.sockets, 0
	for socket.Emit("x", strings.Repeat("x", 1<<10)) == nil {
		if sent++; sent > 100 {
			t.Fatal("there is no bound")
		}
	}
	if sent < 50 {
		t.Errorf("only %d", sent)
	}
	h.ended(sid)

	h = newHost(t, nil)
	sid = h.enter()
	socket = <-h.sockets
	done := make(chan error)
	go func() {
		var err error
		for n := 0; n < 1000 && err == nil; n++ {
			err = socket.Emit("n", n)
		}
		done <- err
	}()
	var got []string
	for len(got) < 1000 {
		got = append(got, strings.Split(h.poll(sid), "\x1e")...)
	}
	for n, one := range got {
		if one != fmt.Sprintf(`42["n",%d]`, n) {
			t.Fatalf("%d: %s", n, one)
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Who has entered no namespace may send little, and others not without bound.
func TestSizes(t *testing.T) {
	h := newHost(t, nil)
	sid := h.begin()
	if status, _ := h.post(sid, "40"+strings.Repeat(" ", 2<<10)+"{}"); status != 403 {
		t.Errorf("a stranger's: %d", status)
	}
	h.ended(sid)
	w := h.dial("")
	w.hear()
	w.say("40{" + strings.Repeat(" ", 2<<10) + "}")
	if got := w.hear(); got != "closed" {
		t.Errorf("a stranger's over a WebSocket: %s", got)
	}
	<-h.gone
	sid = h.begin()
	if status, _ := h.post(sid, `451-["x"]`); status != 400 {
		t.Errorf("attachments of a stranger: %d", status)
	}
	h.ended(sid)
	w = h.dial("")
	w.hear()
	w.say("40")
	w.hear()
	w.say(`421["x","` + strings.Repeat("x", 1<<19) + `"]`)
	w.conn.SetReadLimit(1 << 20)
	if got := w.hear(); len(got) < 1<<19 {
		t.Errorf("half of the limit: %.50s", got)
	}
	w.say(`452-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
	for range 2 {
		w.conn.Write(soon(t), websocket.MessageBinary, make([]byte, 1<<19+100))
	}
	if got := w.hear(); got != "closed" {
		t.Errorf("attachments beyond the limit: %.50s", got)
	}
}

// Who leaves still gets its last.
func TestQuit(t *testing.T) {
	for range 20 {
		h := newHost(t, nil)
		w := h.dial("")
		w.hear()
		w.say("40")
		w.hear()
		socket := <-h.sockets
		for n := range 50 {
			socket.Emit("n", n)
		}
		close(h.quit)
		h.quit = make(chan struct{})
		heard := 0
		for w.hear() != "closed" {
			heard++
		}
		if heard != 50 {
			t.Errorf("%d of 50", heard)
		}
	}
}

// What the server asks is answered once, also with binary, by whom it asked; and
// what is asked in another session has another id.
func TestAsk(t *testing.T) {
	h := newHost(t, nil)
	enter := func() (*wire, *Socket) {
		w := h.dial("")
		w.hear()
		w.say("40")
		w.hear()
		return w, <-h.sockets
	}
	w, socket := enter()
	answers := make(chan string, 10)
	ask := func(args ...any) {
		t.Helper()
		if err := socket.Ask("do", func(data json.RawMessage, err error) { answers <- fmt.Sprint(string(data), err) }, args...); err != nil {
			t.Fatal(err)
		}
	}
	ask(1, Binary{0, 1, 2, 255}, Binary(nil))
	got := w.hear()
	id, rest, _ := strings.Cut(strings.TrimPrefix(got, "452-"), "[")
	for _, want := range []string{`"do",1,{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`, "\x00\x01\x02\xff", ""} {
		if rest != want {
			t.Errorf("%q instead of %q", rest, want)
		}
		if want != "" {
			rest = w.hear()
		}
	}
	w.say("4399[1]") // of nothing that was asked
	w.say("461-" + id + `["x",{"_placeholder":true,"num":0}]`)
	w.conn.Write(soon(t), websocket.MessageBinary, []byte{0, 1, 2, 255})
	if got := <-answers; got != `["x","AAEC/w=="]<nil>` {
		t.Error(got)
	}
	w.say("43" + id + "[2]") // a second time
	ask()
	second, _, _ := strings.Cut(strings.TrimPrefix(w.hear(), "42"), "[")
	other, stranger := enter()
	for range 2 { // as often as the first was asked
		if err := stranger.Ask("do", func(data json.RawMessage, err error) { answers <- fmt.Sprint(string(data), err) }); err != nil {
			t.Fatal(err)
		}
		other.hear()
	}
	other.say("43" + second + "[3]") // nor is it anything in another session
	other.say("41")
	for range 2 {
		if got := <-answers; got != "the client is gone" {
			t.Error(got)
		}
	}
	w.say("43" + second + "[]")
	if got := <-answers; got != "[]<nil>" {
		t.Error(got)
	}
	ask()
	socket.HangUp()
	socket.HangUp()
	if got := <-answers; got != "the client is gone" {
		t.Error(got)
	}
	if err := socket.Ask("do", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("of one that has left: %v", err)
	}
	if err := socket.Emit("x", make(chan int)); err == nil {
		t.Error("what isn't JSON was sent")
	}
}
