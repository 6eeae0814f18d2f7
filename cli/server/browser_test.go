package server_test

import (
	"context"
	"encoding/json"
	"html/template"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
)

// What pages of other origins get out of a server that asks nobody for a token,
// in a real browser: nothing, and nothing of what they ask is carried out. A
// page whose origin is listed may do what programs may.
func TestBrowser(t *testing.T) {
	b := newBrowser(t)
	const listed = "http://dashboard.example"
	w := listenHTTP(t, &servertest.Fake{}, func(o *server.HTTPOptions) { o.Origins = []string{listed} })
	b.server = strings.TrimPrefix(w.url, "http://")
	_, port, _ := net.SplitHostPort(b.server)
	_, other, _ := net.SplitHostPort(strings.TrimPrefix(b.pages.URL, "http://"))
	rebound := "http://rebound.example:" + port
	runs := func() int {
		_, list := w.do("POST", "/rpc", `{"jsonrpc":"2.0","id":1,"method":"workflow/list"}`)
		return strings.Count(list, `"id":"flow-`)
	}
	refused := map[string]string{}
	for _, name := range []string{"simple", "blind", "preflighted", "token", "beacon", "form", "script", "read", "websocket", "events",
		"polling", "socket.io websocket", "upgrade"} {
		refused[name] = "nothing"
	}
	b.visit([]visit{
		{"http://stranger.example/", w.url, refused},           // another site
		{"http://localhost:" + other + "/", w.url, refused},    // another program of this machine
		{"http://127.0.0.1:" + other + "/", w.url, refused},    // under the same name
		{"http://stranger.example/?sandboxed", w.url, refused}, // an origin that is nobody's
		{rebound + "/page", rebound, refused},                  // whose name points to us since
		{listed + "/", w.url, map[string]string{
			"simple": "a run", "blind": "nothing", "preflighted": "a run", "token": "nothing", "beacon": "nothing", "form": "nothing",
			"script": "nothing", "read": "read", "websocket": "a run", "events": "workflow.submitted",
			"polling": "a run", "socket.io websocket": "a run", "upgrade": "a run",
		}},
	}, func(v visit) {
		if n := runs(); n > 0 && v.page != listed+"/" {
			t.Errorf("%s made %d runs", v.page, n)
		}
	})
	ctx := soon(t)
	for runs() < 9 { // these, and one by each of blind, beacon and form
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("the listed page made %d runs", runs())
		}
	}
}

// visit is a page, the address under which it knows the server, and what it gets
// out of that.
type visit struct {
	page, server string
	want         map[string]string
}

// browser is a Chromium, and the pages and reports of a test. Names that end in
// .example reach it by way of a proxy of the test's.
type browser struct {
	t       *testing.T
	pages   *httptest.Server // serves every page
	proxy   *httptest.Server
	modules string
	server  string // its address
	page    *template.Template
	told    map[string]map[string]any // what is told to each page; written before there is a browser
	reports chan report
}

// report is what a page got out of the server.
type report struct {
	Origin string
	Got    map[string]string
}

func newBrowser(t *testing.T) *browser {
	if _, err := exec.LookPath("chromium"); err != nil {
		if os.Getenv("GLEITZEIT_TEST_BROWSER") == "required" {
			t.Fatal(err)
		}
		t.Skip("SKIPPED: no browser:", err)
	}
	b := &browser{t: t, modules: npmModules(t), page: template.Must(template.ParseFiles("testdata/browser.html")),
		told: map[string]map[string]any{}, reports: make(chan report, 10)}
	b.pages = httptest.NewServer(http.HandlerFunc(b.servePage))
	b.proxy = httptest.NewServer(http.HandlerFunc(b.forward))
	t.Cleanup(b.pages.Close)
	t.Cleanup(b.proxy.Close)
	return b
}

// visit has the browser go from page to page, and holds what each got against
// what it should.
func (b *browser) visit(all []visit, after func(visit)) {
	b.t.Helper()
	for i, v := range all {
		next := ""
		if i+1 < len(all) {
			next = all[i+1].page
		}
		b.told[v.page] = map[string]any{"server": v.server, "report": b.pages.URL + "/report", "next": next, "flow": flow}
	}
	ctx, leave := context.WithCancel(soon(b.t))
	own := b.t.TempDir()
	cmd := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--enable-logging=stderr", "--remote-debugging-port=0", "--user-data-dir="+own,
		"--disable-features=LocalNetworkAccessChecks", // which may keep pages from this machine; we must by ourselves
		"--proxy-server="+b.proxy.URL, all[0].page)
	cmd.Env = append(os.Environ(), "HOME="+own, "XDG_CONFIG_HOME="+own, "TMPDIR="+own)
	cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(syscall.SIGTERM) }, 10*time.Second
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	defer cmd.Wait()
	defer leave()
	for _, v := range all {
		select {
		case r := <-b.reports:
			b.t.Logf("%s as %s", v.page, r.Origin)
			if diff := cmp.Diff(v.want, r.Got); diff != "" {
				b.t.Errorf("%s: want -, got +:\n%s", v.page, diff)
			}
			after(v)
		case <-ctx.Done():
			b.t.Fatalf("%s doesn't report: %s", v.page, said.String())
		}
	}
}

// servePage serves the pages, what they need, and their reports.
func (b *browser) servePage(w http.ResponseWriter, r *http.Request) {
	told := b.told["http://"+r.Host+r.URL.RequestURI()]
	switch {
	case r.URL.Path == "/socket.io.js":
		http.ServeFile(w, r, filepath.Join(b.modules, "socket.io-client/dist/socket.io.min.js"))
	case r.URL.Path == "/report":
		var got report
		if raw, _ := io.ReadAll(r.Body); json.Unmarshal(raw, &got) == nil {
			b.reports <- got
		}
	case told == nil:
		http.NotFound(w, r)
	default:
		if r.URL.RawQuery == "sandboxed" {
			w.Header().Set("Content-Security-Policy", "sandbox allow-scripts allow-forms")
		}
		if err := b.page.Execute(w, told); err != nil {
			b.t.Error(err)
		}
	}
}

// forward is the proxy: it has the test's pages, and everything else of a name
// that points to the server is the server's.
func (b *browser) forward(w http.ResponseWriter, r *http.Request) {
	_, rebound := strings.CutPrefix(r.Host, "rebound.example:")
	switch {
	case r.Method == http.MethodConnect && rebound: // a WebSocket
		b.tunnel(w)
	case r.Method == http.MethodConnect, !rebound && !strings.HasSuffix(r.Host, ".example"): // the browser's own affairs
		http.Error(w, "not here", http.StatusForbidden)
	case rebound && r.URL.Path != "/page" && r.URL.Path != "/socket.io.js":
		reverse := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "http", Host: b.server})
			p.Out.Host = p.In.Host
		}}
		reverse.ServeHTTP(w, r)
	default:
		b.servePage(w, r)
	}
}

// tunnel connects whoever asks with the server.
func (b *browser) tunnel(w http.ResponseWriter) {
	to, err := net.Dial("tcp", b.server)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer to.Close()
	from, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer from.Close()
	io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
	go func() {
		io.Copy(to, from)
		to.Close()
	}()
	io.Copy(from, to)
}
