package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// web is a server that listens for HTTP, and a client of it.
type web struct {
	*fixture
	url    string
	client *http.Client
}

func listenHTTP(t testing.TB, fake *servertest.Fake, change func(*server.HTTPOptions)) *web {
	return listenOn(t, eventlog.OpenMemory(eventlog.Options{}), fake, change)
}

// onDisk is a log in a folder of the test's.
func onDisk(t testing.TB) *eventlog.Log {
	log, err := eventlog.Open(t.TempDir(), eventlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func listenOn(t testing.TB, log *eventlog.Log, fake *servertest.Fake, change func(*server.HTTPOptions)) *web {
	return listenWith(t, log, options(fake), change)
}

func listenWith(t testing.TB, log *eventlog.Log, so server.Options, change func(*server.HTTPOptions)) *web {
	registry := protocols.NewRegistry()
	so.Local.Compile = func(p *server.SubmitParams) error {
		document, _ := protocols.Parse("flow.yaml", []byte(p.Workflow))
		w, problems := registry.Compile(document)
		if problems.Err() != nil {
			return protocols.Errorf(protocols.WorkflowValidationFailed, "%v", problems)
		}
		made := server.SubmitParams{Document: w.Encode(), Setup: servertest.Setup(), Key: p.Key, ID: p.ID, Source: p.Source, By: p.By, Inputs: p.Inputs}
		*p = made
		return nil
	}
	f := start(t, log, so)
	o := server.HTTPOptions{Host: "127.0.0.1"}
	if change != nil {
		change(&o)
	}
	url, err := f.srv.ListenHTTP(o)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &web{f, url, &http.Client{Transport: transport, Timeout: time.Minute}}
}

// do makes a request. headers are "Name: value".
func (w *web) do(method, path, body string, headers ...string) (status int, answer string) {
	w.t.Helper()
	r, err := http.NewRequest(method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if r.Header.Set(name, value); name == "Host" {
			r.Host = value
		}
	}
	resp, err := w.client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

func (w *web) rpc(method string, params any, headers ...string) (answer struct {
	Result json.RawMessage
	Error  *protocols.Error
}) {
	w.t.Helper()
	body, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	_, text := w.do("POST", "/rpc", string(body), headers...)
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		w.t.Fatalf("%s: %s", err, text)
	}
	return answer
}

func (w *web) dial(headers http.Header) *websocket.Conn {
	w.t.Helper()
	conn, _, err := websocket.Dial(soon(w.t), w.url+"/rpc", &websocket.DialOptions{HTTPClient: w.client, HTTPHeader: headers})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.CloseNow() })
	conn.SetReadLimit(1 << 30)
	return conn
}

func TestVectorsOverHTTP(t *testing.T) {
	w := listenHTTP(t, nil, nil)
	w.srv.TeachForTest()
	holdVectors(t, func(v vector) string {
		status, answer := w.do("POST", "/rpc", v.Send, "Content-Type: application/json")
		if want := map[bool]int{true: 200, false: 204}[v.Want != nil]; status != want {
			t.Errorf("status %d", status)
		}
		return answer
	})
}

func TestVectorsOverWebSocket(t *testing.T) {
	w := listenHTTP(t, nil, nil)
	w.srv.TeachForTest()
	conn := w.dial(nil)
	holdVectors(t, func(v vector) string {
		said := []string{v.Send}
		if v.Want == nil {
			said = append(said, after)
		}
		for _, text := range said {
			if err := conn.Write(soon(t), websocket.MessageText, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		_, answer, err := conn.Read(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(answer), `"after"`) {
			return ""
		}
		return string(answer)
	})
}

const flow = `{"name": "Flow", "tasks": [{"name": "a", "method": "wait/timer", "parameters": {"duration": 0}}]}`

// A workflow file is submitted by its text alone, in each of the ways.
func TestSubmitText(t *testing.T) {
	w := listenHTTP(t, &servertest.Fake{}, nil)
	if a := w.rpc(server.WorkflowSubmit, map[string]any{"workflow": flow}); string(a.Result) != `{"id":"flow-1"}` {
		t.Errorf("by name: %s %v", a.Result, a.Error)
	}
	if a := w.rpc(server.WorkflowSubmit, []any{flow}); string(a.Result) != `{"id":"flow-2"}` {
		t.Errorf("by position: %s %v", a.Result, a.Error)
	}
	if status, answer := w.do("POST", "/workflow/submit?key=k", flow); status != 200 || answer != `{"id":"flow-3"}`+"\n" {
		t.Errorf("as a file: %d %s", status, answer)
	}
	var form bytes.Buffer
	parts := multipart.NewWriter(&form)
	part, _ := parts.CreateFormFile("workflow", "flow.json")
	io.WriteString(part, flow)
	parts.Close()
	if status, answer := w.do("POST", "/workflow/submit", form.String(), "Content-Type: "+parts.FormDataContentType()); status != 200 || answer != `{"id":"flow-4"}`+"\n" {
		t.Errorf("as a form: %d %s", status, answer)
	}
	var v replay.RunView
	if a := w.rpc(server.WorkflowRun, map[string]any{"workflow": flow, "timeout": 50}); json.Unmarshal(a.Result, &v) != nil || v.Status != replay.Completed {
		t.Errorf("run: %s %v", a.Result, a.Error)
	}
	if status, answer := w.do("POST", "/workflow/submit", "tasks: ["); status != 400 || !strings.Contains(answer, "-28001") {
		t.Errorf("a wrong one: %d %s", status, answer)
	}
	for _, local := range []string{"document", "setup", "children"} {
		if a := w.rpc(server.WorkflowSubmit, map[string]any{"workflow": flow, local: map[string]any{"version": 1, "providers": []any{}}}); a.Error == nil || a.Error.Code != protocols.InvalidParams {
			t.Errorf("%s from the network: %s %v", local, a.Result, a.Error)
		}
	}
	if a := w.rpc(server.WorkflowHistory, []any{"flow-1"}); !strings.Contains(string(a.Result), "submitted by 127.0.0.1") {
		t.Errorf("the history doesn't say who: %s", a.Result)
	}
}

// event is one of a stream of server-sent events.
type event struct{ id, name, data string }

// events reads a stream until it ends or so many have come.
func (w *web) events(path string, most int, headers ...string) (all []event) {
	w.t.Helper()
	r, _ := http.NewRequestWithContext(soon(w.t), "GET", w.url+path, nil)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	resp, err := w.client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		return nil
	}
	var e event
	for lines := bufio.NewScanner(resp.Body); len(all) < most && lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			if e.name != "" {
				all = append(all, e)
			}
			e = event{}
		}
	}
	return all
}

// A listener who comes back after each few events has each of them once and in
// order.
func TestEventStreamResumes(t *testing.T) {
	w := listenHTTP(t, &servertest.Fake{}, nil)
	var work []servertest.Work
	for range 20 {
		work = append(work, servertest.Work{})
	}
	id := w.finish(servertest.Chain("long", work...))
	for _, path := range []string{"/log/follow?id=" + id, "/log/follow"} {
		whole := w.events(path, 42)
		if len(whole) != 42 {
			t.Fatalf("%s: %d events", path, len(whole))
		}
		var parts []event
		for last := ""; len(parts) < len(whole); {
			more := w.events(path, min(5, len(whole)-len(parts)), "Last-Event-ID: "+last)
			if len(more) == 0 {
				t.Fatalf("%s: nothing after %s", path, last)
			}
			if parts = append(parts, more...); parts[len(parts)-1].id == "end" {
				break
			}
			last = parts[len(parts)-1].id
		}
		if parts = parts[:min(len(parts), len(whole))]; !slices.Equal(parts, whole) {
			t.Errorf("%s in %d parts isn't the same as at once", path, len(parts))
		}
	}
	if all := w.events("/log/follow?id="+id, 100); len(all) != 43 || all[42].name != server.LogEnd || all[42].id != "end" {
		t.Errorf("ends with %v", all[len(all)-1])
	}
	if status, _ := w.do("GET", "/log/follow?id="+id, "", "Last-Event-ID: end"); status != 204 {
		t.Errorf("after the end: %d", status)
	}
	if status, _ := w.do("GET", "/log/follow?id=nobody", ""); status != 404 {
		t.Errorf("an unknown run: %d", status)
	}
	if status, _ := w.do("GET", "/log/follow?from=x", ""); status != 400 {
		t.Errorf("from nowhere: %d", status)
	}
}

// Pages of other origins, and names that aren't ours, get nothing.
func TestForeignPages(t *testing.T) {
	w := listenHTTP(t, nil, func(o *server.HTTPOptions) {
		o.Hosts, o.Origins = []string{"work.example"}, []string{"https://app.example"}
	})
	host := strings.TrimPrefix(w.url, "http://")
	_, port, _ := net.SplitHostPort(host)
	const hello = `{"jsonrpc":"2.0","id":1,"method":"system/hello"}`
	for _, test := range []struct {
		status  int
		headers []string
	}{
		{200, nil},
		{200, []string{"Host: localhost:" + port}},
		{200, []string{"Host: work.example"}},
		{200, []string{"Host: WORK.example:443"}},
		{200, []string{"Host: [::1]:" + port}},
		{403, []string{"Host: evil.example:" + port}},
		{403, []string{"Host: localhost.evil.example"}},
		{200, []string{"Origin: http://" + host}},
		{200, []string{"Origin: https://app.example"}},
		{403, []string{"Origin: https://evil.example"}},
		{403, []string{"Origin: null"}},
		{403, []string{"Origin: http://localhost:3000"}},
		{403, []string{"Origin: https://" + host}},
		{403, []string{"Sec-Fetch-Site: cross-site"}},
		{200, []string{"Sec-Fetch-Site: same-origin"}},
	} {
		if status, answer := w.do("POST", "/rpc", hello, test.headers...); status != test.status {
			t.Errorf("%v: %d %s", test.headers, status, answer)
		}
		if len(test.headers) == 1 && strings.HasPrefix(test.headers[0], "Origin: ") {
			origin := strings.TrimPrefix(test.headers[0], "Origin: ")
			conn, _, err := websocket.Dial(soon(t), w.url+"/rpc", &websocket.DialOptions{HTTPClient: w.client, HTTPHeader: http.Header{"Origin": {origin}}})
			if (err == nil) != (test.status == 200) {
				t.Errorf("a WebSocket of %s: %v", origin, err)
			}
			if err == nil {
				conn.CloseNow()
			}
		}
	}
	r, _ := http.NewRequest("OPTIONS", w.url+"/rpc", nil)
	r.Header.Set("Origin", "https://app.example")
	resp, err := w.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("asked whether it may: %s %v", resp.Status, resp.Header)
	}
	if status, _ := w.do("OPTIONS", "/rpc", "", "Origin: https://evil.example"); status != 403 {
		t.Errorf("somebody else asked whether he may: %d", status)
	}
}

// Nobody gets in without a token where others can reach us, and not there
// either with a wrong one.
func TestTokens(t *testing.T) {
	tokens := server.NewTokens(t.TempDir())
	srv := start(t, eventlog.OpenMemory(eventlog.Options{}), options(nil)).srv
	for _, o := range []server.HTTPOptions{{Host: "0.0.0.0"}, {Host: "0.0.0.0", Tokens: tokens}, {Host: "127.0.0.1", TokenRequired: true}} {
		if _, err := srv.ListenHTTP(o); err != server.ErrNoToken {
			t.Errorf("%+v: %v", o, err)
		}
	}
	secret, err := tokens.Create(server.Token{Name: "ann", Role: server.Read})
	if err != nil {
		t.Fatal(err)
	}
	old, _ := tokens.Create(server.Token{Name: "old", Role: server.Admin, Expires: time.Now().Add(-time.Second)})
	w := listenHTTP(t, nil, func(o *server.HTTPOptions) { o.Tokens, o.TokenRequired = tokens, true })
	const hello = `{"jsonrpc":"2.0","id":1,"method":"system/status"}`
	for header, want := range map[string]int{"": 401, "Bearer " + secret: 200, "bearer " + secret: 200, "Bearer " + secret + "x": 401,
		"Bearer " + old: 401, "Bearer ": 401, "Basic " + secret: 401, "Bearer ../../etc/passwd": 401} {
		if status, answer := w.do("POST", "/rpc", hello, "Authorization: "+header); status != want {
			t.Errorf("%q: %d %s", header, status, answer)
		}
	}
	if status, _ := w.do("GET", "/healthz", ""); status != 200 {
		t.Errorf("healthz: %d", status)
	}
	conn := w.dial(http.Header{"Authorization": {"Bearer " + secret}})
	ask := func() string {
		conn.Write(soon(t), websocket.MessageText, []byte(hello))
		_, answer, err := conn.Read(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		return string(answer)
	}
	if got := ask(); !strings.Contains(got, `"result"`) {
		t.Errorf("over a WebSocket: %s", got)
	}
	if err := tokens.Revoke("ann"); err != nil {
		t.Fatal(err)
	}
	if got := ask(); !strings.Contains(got, "-25005") {
		t.Errorf("after it was revoked: %s", got)
	}
	if err := tokens.Revoke("ann"); err == nil {
		t.Error("revoked twice")
	}
	if all, err := tokens.List(); err != nil || len(all) != 1 || all[0].Name != "old" {
		t.Errorf("left: %v %v", all, err)
	}
}

// Each method is tried with each role: it is let through or not as the table
// says, and the table says what is written here.
func TestRoles(t *testing.T) {
	may := map[server.Role]string{
		"": "system/hello system/health protocol/list protocol/get rpc.discover",
		server.Read: "workflow/wait workflow/status workflow/find workflow/get workflow/list workflow/history task/get schedule/list schedule/get " +
			"provider/list provider/state log/follow log/unfollow system/status",
		server.Submit: "workflow/submit workflow/run signal/send",
		server.Operate: "workflow/resume workflow/resume_all workflow/interrupt workflow/cancel workflow/pause workflow/unpause workflow/retry " +
			"secret/references approval/decide schedule/add schedule/pause schedule/unpause schedule/remove provider/check system/config system/verify system/compact system/audit",
		server.Admin:  "system/gc",
		server.Worker: "provider/register provider/unregister provider/heartbeat provider/progress provider/result provider/file",
		server.Owner:  "system/backup system/export system/import system/note",
	}
	needs := map[string]server.Role{}
	for role, methods := range may {
		for _, m := range strings.Fields(methods) {
			needs[m] = role
		}
	}
	order := []server.Role{"", server.Read, server.Submit, server.Operate, server.Admin}
	tokens := server.NewTokens(t.TempDir())
	secrets := map[server.Role]string{}
	for _, role := range server.Roles() {
		secrets[role], _ = tokens.Create(server.Token{Name: "of-" + string(role), Role: role})
	}
	w := listenHTTP(t, nil, func(o *server.HTTPOptions) { o.Tokens = tokens })
	for _, m := range server.Methods() {
		need, known := needs[m.Name]
		if !known {
			t.Errorf("%s: which role may that? say it here", m.Name)
		}
		for role, secret := range secrets {
			a := w.rpc(m.Name, map[string]any{"no such member": 1}, "Authorization: Bearer "+secret)
			refused := a.Error != nil && a.Error.Code == protocols.AuthorizationFailed
			allowed := need == "" || need == server.Worker && (role == server.Worker || role == server.Admin) ||
				need != server.Owner && role != server.Worker && need != server.Worker && slices.Index(order, role) >= slices.Index(order, need)
			if refused == allowed {
				t.Errorf("%s with the role %s: %v", m.Name, role, a.Error)
			}
		}
	}
}

// A token goes to the server that it is for, wherever that would send us.
func TestTokenStaysAtServer(t *testing.T) {
	strayed := make(chan string, 1)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		strayed <- r.Header.Get("Authorization")
	}))
	defer other.Close()
	named := httptest.NewServer(http.RedirectHandler(other.URL+"/rpc", http.StatusTemporaryRedirect))
	defer named.Close()
	conn, err := server.Reach(soon(t), named.URL, "gz_secret", deaf{})
	if err == nil {
		conn.Close()
		t.Fatal("it reached something")
	}
	if len(strayed) > 0 {
		t.Errorf("another server was asked, with %q", <-strayed)
	}
	if code(err) != protocols.ConnectionRefused || !strings.Contains(err.Error(), other.URL) {
		t.Errorf("it says %v", err)
	}
}

// Whatever is sent harms nobody else.
func TestHostileHTTP(t *testing.T) {
	w := listenHTTP(t, &servertest.Fake{}, func(o *server.HTTPOptions) { o.MaxBody, o.MaxConns, o.MaxStreams = 1<<20, 50, 5 })
	address := strings.TrimPrefix(w.url, "http://")
	well := func(name string) {
		t.Helper()
		if a := w.rpc(server.SystemHello, nil); a.Error != nil || a.Result == nil {
			t.Errorf("after %s: %v", name, a.Error)
		}
	}
	deep := strings.Repeat("[", 100_000)
	for name, test := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"half a JSON":          {`{"jsonrpc":"2.0","id":1,"meth`, 200, "-32700"},
		"depth":                {deep, 200, "-32700"},
		"deep params":          {`{"jsonrpc":"2.0","id":1,"method":"workflow/get","params":{"id":` + deep + strings.Repeat("]", 100_000) + "}}", 200, "-32700"},
		"too much":             {strings.Repeat(" ", 1<<20+1), 413, "-32600"},
		"nothing":              {"", 200, "-32700"},
		"too many to describe": {`{"jsonrpc":"2.0","id":1,"method":"provider/state","params":{"providers":[` + strings.Repeat("{},", 20_000) + `{}]}}`, 200, "-32602"},
		"not described at all": {`{"jsonrpc":"2.0","id":1,"method":"provider/state","params":{"providers":{}}}`, 200, "-32602"},

		"a long batch": {"[" + strings.Repeat(`{"jsonrpc":"2.0","method":"system/hello","id":1},`, 1000) + `{}]`, 200, "-32600"},
	} {
		status, answer := w.do("POST", "/rpc", test.body)
		if status != test.status || !strings.Contains(answer, test.code) {
			t.Errorf("%s: %d %.200s", name, status, answer)
		}
		well(name)
	}
	gigabyte, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(gigabyte, "POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", 1<<30)
	go func() {
		for err := error(nil); err == nil; _, err = gigabyte.Write(make([]byte, 1<<20)) {
		}
	}()
	answer, _ := io.ReadAll(io.LimitReader(gigabyte, 12))
	gigabyte.Close()
	if string(answer) != "HTTP/1.1 413" {
		t.Errorf("a gigabyte: %q", answer)
	}
	well("a gigabyte")

	conn := w.dial(nil)
	conn.Write(soon(t), websocket.MessageText, []byte(strings.Repeat(" ", 1<<20+1)))
	if _, _, err := conn.Read(soon(t)); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("a large message: %v", err)
	}

	var idle []net.Conn
	for range 200 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
		if len(idle)%50 == 0 {
			io.WriteString(c, "POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
			well("slow senders and idle ones")
		}
	}
	gone := 0
	for _, c := range idle {
		c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); err == io.EOF {
			gone++
		}
		c.Close()
	}
	if gone < 100 {
		t.Errorf("%d of 200 idle connections made room", gone)
	}
	for range 6 {
		_, _, err = websocket.Dial(soon(t), w.url+"/rpc", &websocket.DialOptions{HTTPClient: w.client})
	}
	if err == nil {
		t.Error("as many WebSockets as one wants")
	}
	well("many WebSockets")
}

// Who calls too often is told to wait, and nobody else is.
func TestRate(t *testing.T) {
	tokens := server.NewTokens(t.TempDir())
	fast, _ := tokens.Create(server.Token{Name: "fast", Role: server.Read})
	slow, _ := tokens.Create(server.Token{Name: "slow", Role: server.Read})
	w := listenHTTP(t, nil, func(o *server.HTTPOptions) { o.Tokens, o.MaxRate = tokens, 0.1 })
	for i := range 12 {
		a := w.rpc(server.SystemHello, nil, "Authorization: Bearer "+fast)
		if refused := a.Error != nil && a.Error.Code == protocols.RateLimitExceeded && a.Error.RetryAfter() > 0; refused != (i > 0) {
			t.Errorf("call %d: %v", i, a.Error)
		}
	}
	if a := w.rpc(server.SystemHello, nil, "Authorization: Bearer "+slow); a.Error != nil {
		t.Error(a.Error)
	}
}

// Leaving ends WebSockets, streams of events and calls that wait.
func TestLeaveHTTP(t *testing.T) {
	w := listenHTTP(t, &servertest.Fake{}, nil)
	id := w.submit(servertest.Chain("held", servertest.Work{Hold: true}))
	conn := w.dial(nil)
	streamed, waited := make(chan int), make(chan error)
	go func() { streamed <- len(w.events("/log/follow?id="+id, 100)) }()
	go func() {
		body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"workflow/wait","params":[%q, 600]}`, id)
		resp, err := w.client.Post(w.url+"/rpc", "application/json", strings.NewReader(body))
		if err == nil {
			resp.Body.Close()
		}
		waited <- err
	}()
	w.waitFor(func(s *server.StatusResult) bool { return s.Running == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := w.srv.Close(ctx); err != nil {
		t.Error(err)
	}
	<-streamed
	<-waited
	if _, _, err := conn.Read(soon(t)); err == nil {
		t.Error("the WebSocket lives")
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}
