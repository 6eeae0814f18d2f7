//go:build unix

package providers

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gleitzeit/protocols"
)

// webSet is a set whose provider http may reach this machine.
func webSet(t *testing.T, change func(*ProviderConfig)) *Set {
	c := ProviderConfig{Kind: "http", Allow: []string{"127.0.0.1"}}
	if change != nil {
		change(&c)
	}
	return openSet(t, Config{Providers: map[string]ProviderConfig{"http": c}})
}

func webServer(t *testing.T, h http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// ask makes a request; the parameters are pairs.
func ask(t *testing.T, s *Set, call Call, pairs ...any) (*httpResult, error) {
	t.Helper()
	call.Method, call.Parameters = "http/request", parameters(t, pairs...)
	if wrong := protocols.NewRegistry().CheckParameters(call.Method, call.Parameters); wrong != nil {
		t.Fatal(wrong)
	}
	raw, err := s.Call(patience(t, 30*time.Second), "http", call, nil)
	if err != nil {
		return nil, err
	}
	if wrong := protocols.NewRegistry().CheckResult(call.Method, raw); wrong != nil {
		t.Error(wrong)
	}
	var r httpResult
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	return &r, nil
}

// mirror answers with what it was asked.
func mirror(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	said := map[string]any{"method": r.Method, "path": r.URL.EscapedPath(), "query": r.URL.RawQuery, "body": string(body), "headers": r.Header}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") {
		r.Body = io.NopCloser(bytes.NewReader(body))
		if r.ParseMultipartForm(1<<20) == nil {
			said["fields"] = r.MultipartForm.Value
			for name, files := range r.MultipartForm.File {
				f, _ := files[0].Open()
				data, _ := io.ReadAll(f)
				said["file "+name] = files[0].Filename + " " + files[0].Header.Get("Content-Type") + " " + string(data)
			}
		}
		delete(said, "body")
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(said)
}

func TestHTTPRequests(t *testing.T) {
	s, server := webSet(t, nil), webServer(t, mirror)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "later.txt"), []byte("later"), 0o600); err != nil {
		t.Fatal(err)
	}
	call := Call{Key: "the-key", Dir: dir, File: func(name string) ([]byte, bool, error) { return []byte("captured"), name == "photo.png", nil }}
	at := server.URL
	for name, test := range map[string]struct {
		pairs []any
		want  string // of what the server got, each in its JSON
		not   string
	}{
		"plain":           {[]any{"url", at + "/a%2Fb?x=1"}, `"method":"GET" "path":"/a%2Fb" "query":"x=1" "body":"" "User-Agent":["gleitzeit"]`, "Idempotency"},
		"query":           {[]any{"url", at + "?x=1#part", "query", map[string]any{"q": "a b&c", "n": []any{1, 2.5}, "none": nil, "yes": true}}, `"query":"x=1\u0026n=1\u0026n=2.5\u0026q=a+b%26c\u0026yes=true"`, "part"},
		"json":            {[]any{"url", at, "json", map[string]any{"a": []int{1}}}, `"method":"POST" "body":"{\"a\":[1]}" "Content-Type":["application/json"] "Idempotency-Key":["the-key"]`, ""},
		"null":            {[]any{"url", at, "json", nil, "method", "PUT"}, `"method":"PUT" "body":"null"`, ""},
		"text":            {[]any{"url", at, "body", "häh", "headers", map[string]any{"content-type": "text/csv", "X-N": 5}}, `"body":"häh" "Content-Type":["text/csv"] "X-N":["5"]`, ""},
		"base64":          {[]any{"url", at, "base64", "AAEC", "method", "PATCH"}, `"method":"PATCH" "body":"\u0000\u0001\u0002" "Content-Type":["application/octet-stream"]`, ""},
		"form":            {[]any{"url", at, "form", map[string]any{"a": "1&2", "b": []any{"x", "y"}}}, `"body":"a=1%262\u0026b=x\u0026b=y" "Content-Type":["application/x-www-form-urlencoded"]`, ""},
		"file":            {[]any{"url", at, "file", "photo.png"}, `"body":"captured" "Content-Type":["image/png"]`, ""},
		"files":           {[]any{"url", at, "files", map[string]any{"p": "photo.png", "l": "later.txt"}, "form", map[string]any{"a": 1}}, `"fields":{"a":["1"]} "file p":"photo.png image/png captured" "file l":"later.txt text/plain`, ""},
		"basic":           {[]any{"url", at, "auth", map[string]any{"username": "u", "password": "p"}}, `"Authorization":["Basic dTpw"]`, ""},
		"bearer":          {[]any{"url", at, "auth", map[string]any{"bearer": "t"}}, `"Authorization":["Bearer t"]`, ""},
		"no key":          {[]any{"url", at, "body", "x", "idempotency_key", false}, `"method":"POST"`, "Idempotency"},
		"own key":         {[]any{"url", at, "body", "x", "idempotency_key", "mine"}, `"Idempotency-Key":["mine"]`, ""},
		"key by wish":     {[]any{"url", at, "idempotency_key", true}, `"Idempotency-Key":["the-key"]`, ""},
		"body and DELETE": {[]any{"url", at, "method", "DELETE", "json", 1}, `"method":"DELETE" "body":"1"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := ask(t, s, call, test.pairs...)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range strings.Split(test.want, ` "`) {
				if !strings.Contains(string(r.JSON), want) {
					t.Errorf("no %s in %s", want, r.JSON)
				}
			}
			if test.not != "" && strings.Contains(string(r.JSON), test.not) {
				t.Errorf("%s in %s", test.not, r.JSON)
			}
		})
	}
}

func TestHTTPRefusesRequests(t *testing.T) {
	s := webSet(t, func(c *ProviderConfig) { c.MaxRequest = "1kB" })
	for name, test := range map[string]struct {
		pairs []any
		code  protocols.Code
	}{
		"user in the address":   {[]any{"url", "http://u:p@127.0.0.1/"}, protocols.TaskParameterError},
		"no address":            {[]any{"url", "http://[::1"}, protocols.TaskParameterError},
		"path without a server": {[]any{"url", "/x"}, protocols.TaskParameterError},
		"network path":          {[]any{"url", "//127.0.0.1/x"}, protocols.TaskParameterError},
		"host header":           {[]any{"url", "http://127.0.0.1/", "headers", map[string]any{"host": "x"}}, protocols.TaskParameterError},
		"two lines":             {[]any{"url", "http://127.0.0.1/", "headers", map[string]any{"x": "a\r\nb: c"}}, protocols.TaskParameterError},
		"header's name":         {[]any{"url", "http://127.0.0.1/", "headers", map[string]any{"a b": "c"}}, protocols.TaskParameterError},
		"both":                  {[]any{"url", "http://127.0.0.1/", "auth", map[string]any{"bearer": "b", "username": "u"}}, protocols.TaskParameterError},
		"too large":             {[]any{"url", "http://127.0.0.1/", "body", strings.Repeat("x", 1001)}, protocols.TaskParameterError},
		"no file":               {[]any{"url", "http://127.0.0.1/", "file", "none.txt"}, protocols.TaskParameterError},
		"file elsewhere":        {[]any{"url", "http://127.0.0.1/", "file", "/etc/passwd"}, protocols.AuthorizationFailed},
	} {
		_, err := ask(t, s, Call{Dir: t.TempDir()}, test.pairs...)
		t.Run(name, func(t *testing.T) { wantError(t, err, test.code) })
	}
}

func TestHTTPAnswers(t *testing.T) {
	s := webSet(t, func(c *ProviderConfig) { c.MaxResponse = "100kB" })
	server := webServer(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Has("type") {
			w.Header().Set("Content-Type", q.Get("type"))
		}
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		w.Header().Add("X-Two", "1")
		w.Header().Add("X-Two", "2")
		if q.Has("zip") {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(bytes.Repeat([]byte{' '}, 200_000_000))
			_ = z.Close()
			return
		}
		_, _ = io.WriteString(w, q.Get("body"))
	})
	for name, test := range map[string]struct {
		kind, body, parse string
		want              string // of the result's body, or the error's message
		code              protocols.Code
	}{
		"json":             {"application/json", `{"n":12345678901234567890.0}`, "", `json {"n":12345678901234567890.0}`, 0},
		"problem json":     {"application/problem+json", `[1]`, "auto", `json [1]`, 0},
		"json by wish":     {"text/plain", "\ufeff7", "json", `json 7`, 0},
		"json as text":     {"application/json", `[1]`, "text", `body [1]`, 0},
		"empty json":       {"application/json", "", "", `body `, 0},
		"no json":          {"application/json", "<html>", "", "is not JSON: <html>", protocols.TaskResultInvalid},
		"text":             {"text/plain", "häh", "", `body häh`, 0},
		"latin":            {"text/plain; charset=ISO-8859-1", "h\xe4h", "", `body häh`, 0},
		"bytes":            {"image/png", "\x89PNG\x00", "", `base64 iVBORwA=`, 0},
		"text that is not": {"image/png", "\x89PNG\x00", "text", "is not text", protocols.TaskResultInvalid},
		"text as bytes":    {"text/plain", "abc", "base64", `base64 YWJj`, 0},
		"large":            {"text/plain", strings.Repeat("x", 100_001), "", "larger than 100000 bytes", protocols.TaskResultInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			pairs := []any{"url", server.URL + "?" + url.Values{"type": {test.kind}, "body": {test.body}}.Encode()}
			if len(test.body) > 1000 {
				pairs = []any{"url", server.URL, "query", map[string]any{"type": test.kind, "body": test.body}}
			}
			if test.parse != "" {
				pairs = append(pairs, "parse", test.parse)
			}
			r, err := ask(t, s, Call{}, pairs...)
			if test.code != 0 {
				if wantError(t, err, test.code); !strings.Contains(fmt.Sprint(err), test.want) {
					t.Errorf("%v, want %s", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := bodyOf(r); got != test.want || int(r.Size) != len(test.body) || r.Status != 200 {
				t.Errorf("%s of %d bytes, want %s", got, r.Size, test.want)
			}
			if cookies, _ := json.Marshal(r.Headers["set-cookie"]); string(cookies) != `["a=1","b=2"]` || r.Headers["x-two"] != "1, 2" {
				t.Errorf("headers %v", r.Headers)
			}
		})
	}
	_, err := ask(t, s, Call{}, "url", server.URL+"?zip=1")
	if wantError(t, err, protocols.TaskResultInvalid); !strings.Contains(err.Error(), "larger than 100000 bytes") {
		t.Errorf("a bomb: %v", err)
	}
}

func bodyOf(r *httpResult) string {
	switch {
	case r.JSON != nil:
		return "json " + string(r.JSON)
	case r.Body != nil:
		return "body " + *r.Body
	case r.Base64 != nil:
		return "base64 " + *r.Base64
	}
	return "file " + r.File
}

func TestHTTPStatuses(t *testing.T) {
	s := webSet(t, nil)
	server := webServer(t, func(w http.ResponseWriter, r *http.Request) {
		var status int
		_, _ = fmt.Sscan(r.URL.Path[1:], &status)
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"error":{"message":"the reason"}}`)
	})
	for status, code := range map[int]protocols.Code{
		304: protocols.TaskParameterError, 400: protocols.TaskParameterError, 401: protocols.AuthenticationFailed,
		403: protocols.AuthorizationFailed, 404: protocols.MethodNotFound, 405: protocols.MethodNotSupported,
		408: protocols.ProviderTimeout, 409: protocols.TaskParameterError, 410: protocols.MethodNotFound,
		425: protocols.ProviderOverloaded, 429: protocols.RateLimitExceeded, 500: protocols.ProviderUnhealthy,
		501: protocols.MethodNotSupported, 502: protocols.ProviderUnhealthy, 503: protocols.ProviderOverloaded, 504: protocols.ProviderTimeout,
	} {
		_, err := ask(t, s, Call{}, "url", fmt.Sprintf("%s/%d?q=1", server.URL, status))
		wantError(t, err, code)
		e := err.(*protocols.Error)
		if e.RetryAfter() != 7*time.Second || !strings.Contains(e.Message, fmt.Sprintf("/%d answered %d", status, status)) {
			t.Errorf("%d: %v, wait %v", status, err, e.RetryAfter())
		}
		if status >= 400 && (!strings.HasSuffix(e.Message, ": the reason") || !strings.Contains(string(e.Data), fmt.Sprintf(`"status":%d`, status))) {
			t.Errorf("%d: %v %s", status, err, e.Data)
		}
		for _, ok := range []any{status, fmt.Sprintf("%dxx", status/100), []any{"2xx", fmt.Sprint(status)}} {
			if r, err := ask(t, s, Call{}, "url", fmt.Sprintf("%s/%d", server.URL, status), "ok_status", ok); err != nil || r.Status != status {
				t.Errorf("%d with ok_status %v: %v", status, ok, err)
			}
		}
	}
	_, err := ask(t, s, Call{}, "url", server.URL+"/200", "ok_status", 404)
	wantError(t, err, protocols.TaskParameterError)
}

func TestHTTPTroubles(t *testing.T) {
	s := webSet(t, nil)
	gone := httptest.NewServer(nil)
	gone.Close()
	_, err := ask(t, s, Call{}, "url", gone.URL)
	wantError(t, err, protocols.ConnectionRefused)
	_, err = ask(t, s, Call{}, "url", "http://no-such-host.invalid/")
	wantError(t, err, protocols.NetworkUnreachable)
	_, err = ask(t, s, Call{}, "url", silentServer(t), "timeout", 0.2)
	wantError(t, err, protocols.ProviderTimeout)
	broken := webServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	_, err = ask(t, s, Call{}, "url", broken.URL)
	wantError(t, err, protocols.ConnectionLost)
	trickle := webServer(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, "x")
			w.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	})
	_, err = ask(t, s, Call{}, "url", trickle.URL, "timeout", "300ms")
	wantError(t, err, protocols.ProviderTimeout)
	secure := httptest.NewTLSServer(http.HandlerFunc(mirror))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(secure.Close)
	_, err = ask(t, s, Call{}, "url", secure.URL)
	wantError(t, err, protocols.ConfigurationError)
	talker := webServer(t, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 100 {
			w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("y", 4000))
		}
	})
	if _, err = ask(t, s, Call{}, "url", talker.URL); err == nil {
		t.Error("headers of 400 kB")
	}
}

// TestHTTPRedirects: what logs in stays with the first server.
func TestHTTPRedirects(t *testing.T) {
	s := webSet(t, nil)
	other := webServer(t, mirror)
	var again atomic.Int32
	first := webServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/end", http.StatusFound)
		case "/other":
			http.Redirect(w, r, other.URL+"/end", http.StatusFound)
		case "/temporary":
			http.Redirect(w, r, other.URL+"/end", http.StatusTemporaryRedirect)
		case "/loop":
			again.Add(1)
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/file":
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(http.StatusFound)
		case "/metadata":
			http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusFound)
		default:
			mirror(w, r)
		}
	})
	secret := []any{"headers", map[string]any{"X-Api-Key": "hush", "Accept": "text/x"}, "auth", map[string]any{"bearer": "hush"}}
	r, err := ask(t, s, Call{}, append([]any{"url", first.URL + "/same"}, secret...)...)
	if err != nil || r.URL != first.URL+"/end" || strings.Count(string(r.JSON), "hush") != 2 {
		t.Errorf("on the same server: %v %v", r, err)
	}
	r, err = ask(t, s, Call{}, append([]any{"url", first.URL + "/other?secret=hush"}, secret...)...)
	if err != nil || r.URL != other.URL+"/end" || strings.Contains(string(r.JSON), "hush") || !strings.Contains(string(r.JSON), "text/x") {
		t.Errorf("on another server: %s %v", r.JSON, err)
	}
	_, err = ask(t, s, Call{}, "url", first.URL+"/temporary", "body", "hush")
	if wantError(t, err, protocols.TaskParameterError); !strings.Contains(err.Error(), "where the request's body would go") {
		t.Error(err)
	}
	if r, err = ask(t, s, Call{}, "url", first.URL+"/other", "body", "hush"); err != nil || strings.Contains(string(r.JSON), "hush") {
		t.Errorf("a POST that becomes a GET: %v %v", r, err)
	}
	_, err = ask(t, s, Call{}, "url", first.URL+"/loop", "max_redirects", 3)
	if wantError(t, err, protocols.TaskParameterError); again.Load() != 4 {
		t.Errorf("%d requests: %v", again.Load(), err)
	}
	_, err = ask(t, s, Call{}, "url", first.URL+"/file")
	wantError(t, err, protocols.TaskParameterError)
	_, err = ask(t, s, Call{}, "url", first.URL+"/metadata")
	if wantError(t, err, protocols.AuthorizationFailed); !strings.Contains(err.Error(), "169.254.169.254 is a link-local address") {
		t.Error(err)
	}
	r, err = ask(t, s, Call{}, "url", first.URL+"/same", "max_redirects", 0, "ok_status", "3xx")
	if err != nil || r.Status != 302 || r.Headers["location"] != "/end" {
		t.Errorf("not followed: %v %v", r, err)
	}
	_, err = ask(t, s, Call{}, "url", first.URL+"/same", "max_redirects", 0)
	wantError(t, err, protocols.TaskParameterError)
}

func TestHTTPInside(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": false, "2600::1": false, "1.1.1.1": false, "64:ff9b::808:808": false, "2002:808:808::1": false,
		"127.0.0.1": true, "127.9.9.9": true, "::1": true, "0.0.0.0": true, "::": true, "0.1.2.3": true,
		"10.1.2.3": true, "172.16.0.1": true, "192.168.1.1": true, "fd00::1": true, "fd00:ec2::254": true,
		"169.254.169.254": true, "fe80::1": true, "100.100.100.200": true, "192.0.0.192": true, "168.63.129.16": true,
		"224.0.0.1": true, "ff02::1": true, "255.255.255.255": true, "198.18.0.1": true,
		"::ffff:127.0.0.1": true, "::ffff:10.0.0.1": true, "::127.0.0.1": true, "64:ff9b::7f00:1": true, "64:ff9b::a9fe:a9fe": true,
		"2002:7f00:1::1": true, "2001:0:1::": true, "64:ff9b:1::1": true, "fec0::1": true, "100::1": true,
	} {
		r := &reach{provider: "http"}
		if err := r.judge("x.example", "80", netip.MustParseAddr(text)); (err != nil) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestHTTPAllow(t *testing.T) {
	for _, test := range []struct {
		entry, host, port, ip string
		want                  bool
	}{
		{"*", "x", "80", "127.0.0.1", true},
		{"127.0.0.1", "x", "80", "127.0.0.1", true},
		{"127.0.0.1", "x", "80", "127.0.0.2", false},
		{"127.0.0.1:80", "x", "80", "127.0.0.1", true},
		{"127.0.0.1:80", "x", "81", "127.0.0.1", false},
		{"[::1]:80", "::1", "80", "::1", true},
		{"::1", "::1", "80", "::1", true},
		{"10.0.0.0/8", "x", "80", "10.9.9.9", true},
		{"10.0.0.0/8", "x", "80", "::ffff:10.9.9.9", true},
		{"10.0.0.0/8", "x", "80", "11.0.0.1", true}, // public
		{"10.0.0.0/8", "x", "80", "192.168.0.1", false},
		{"localhost", "127.0.0.1", "9", "127.0.0.1", true},
		{"localhost:8080", "localhost", "8080", "::1", true},
		{"localhost:8080", "localhost", "8081", "::1", false},
		{"localhost", "x", "80", "10.0.0.1", false},
		{"Db.Internal.", "db.internal", "80", "10.0.0.1", true},
		{"db.internal", "db.internal.", "80", "10.0.0.1", true},
		{"db.internal", "xdb.internal", "80", "10.0.0.1", false},
		{"*.internal", "a.b.internal", "80", "10.0.0.1", true},
		{"*.internal", "internal", "80", "10.0.0.1", false},
		{"*.internal", "evilinternal", "80", "10.0.0.1", false},
		{"*.internal:443", "a.internal", "80", "10.0.0.1", false},
	} {
		r, problems := newReach("http", ProviderConfig{Allow: []string{test.entry}})
		if len(problems) > 0 {
			t.Errorf("%s: %v", test.entry, problems)
		}
		if got := r.judge(test.host, test.port, netip.MustParseAddr(test.ip)) == nil; got != test.want {
			t.Errorf("%s: %s:%s at %s: %v", test.entry, test.host, test.port, test.ip, got)
		}
	}
	for _, entry := range []string{"", "a b", "http://x", "10.0.0.0/99", "*.", "a..b", "x/y", "x:y", "x:0", "x:"} {
		if _, problems := newReach("http", ProviderConfig{Allow: []string{entry}}); len(problems) == 0 {
			t.Errorf("%q is allowed", entry)
		}
	}
}

// TestHTTPRebinding: the address is judged when the connection is made, what
// its name meant before doesn't matter.
func TestHTTPRebinding(t *testing.T) {
	server := webServer(t, mirror)
	port := server.URL[strings.LastIndexByte(server.URL, ':')+1:]
	r, _ := newReach("http", ProviderConfig{})
	for _, name := range []string{"localhost:" + port, "127.0.0.1:" + port} {
		if conn, err := r.dial(t.Context(), "tcp", name); err == nil {
			conn.Close()
			t.Errorf("connected to %s", name)
		} else if !strings.Contains(err.Error(), `allow: ["`+name+`"]`) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := openSet(t, Config{})
	for _, at := range []string{server.URL, "http://localhost:" + port, "http://a.localhost:" + port, "http://[::ffff:127.0.0.1]:" + port, "http://0:" + port} {
		_, err := ask(t, s, Call{}, "url", at)
		if at == "http://0:"+port && err != nil { // whether this is an address the system decides
			continue
		}
		if wantError(t, err, protocols.AuthorizationFailed); err != nil && !strings.Contains(err.Error(), "providers: {http: {kind: http, allow: [") {
			t.Errorf("%s: %v", at, err)
		}
	}
}

func TestHTTPSave(t *testing.T) {
	s := webSet(t, func(c *ProviderConfig) { c.MaxFile, c.MaxResponse = "5kB", "1kB" })
	server := webServer(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", len(r.URL.Path)*1000))
	})
	dir, elsewhere := t.TempDir(), t.TempDir()
	if err := os.Symlink(elsewhere, filepath.Join(dir, "link")); err != nil {
		t.Skip(err)
	}
	call := Call{Dir: dir}
	r, err := ask(t, s, call, "url", server.URL+"/1", "save", "new/folder/x.bin")
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "new/folder/x.bin")); len(data) != 2000 || err != nil || r.Size != 2000 || bodyOf(r) != "file new/folder/x.bin" || len(r.SHA256) != 64 {
		t.Errorf("%d bytes, %v, %+v", len(data), err, r)
	}
	for _, name := range []string{"../x", "/etc/x", "link/x", "folder/"} {
		_, err := ask(t, s, call, "url", server.URL+"/1", "save", name)
		wantError(t, err, protocols.AuthorizationFailed)
	}
	_, err = ask(t, s, call, "url", server.URL+"/12345", "save", "new/folder/x.bin")
	wantError(t, err, protocols.TaskResultInvalid)
	left, _ := filepath.Glob(filepath.Join(dir, "new/folder/*"))
	hidden, _ := filepath.Glob(filepath.Join(dir, "new/folder/.*"))
	if outside, _ := os.ReadDir(elsewhere); len(left) != 1 || len(hidden) != 0 || len(outside) != 0 {
		t.Errorf("files %v %v %v", left, hidden, outside)
	}
}

// TestHTTPProvider: one with an address has paths below it, a key that goes
// nowhere else and is never shown, and no other servers.
func TestHTTPProvider(t *testing.T) {
	server := webServer(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/bad") {
			http.Error(w, "who are you, "+r.Header.Get("X-Key")+"?", http.StatusUnauthorized)
			return
		}
		mirror(w, r)
	})
	s, err := Open(Config{Providers: map[string]ProviderConfig{"http": {Kind: "http", URL: server.URL + "/v1/?a=1", KeyEnv: "KEY", KeyHeader: "X-Key",
		Headers: map[string]string{"X-Tenant": "seven"}}}}, Options{Env: func(name string) string { return map[string]string{"KEY": `s3"cr&t`}[name] }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := ask(t, s, Call{}, "url", "/items/a%2Fb?b=2", "query", map[string]any{"c": 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"path":"/v1/items/a%2Fb"`, `"query":"a=1\u0026b=2\u0026c=3"`, `"X-Key":["***"]`, `"X-Tenant":["seven"]`} {
		if !strings.Contains(string(r.JSON), want) {
			t.Errorf("no %s in %s", want, r.JSON)
		}
	}
	if r, err := ask(t, s, Call{}, "url", server.URL+"/v1/whole"); err != nil || !strings.Contains(string(r.JSON), "/v1/whole") {
		t.Errorf("the whole address: %v", err)
	}
	for _, at := range []string{"http://other.example/", "/../admin", "/x/%2e%2e/y", "//other.example/x"} {
		_, err := ask(t, s, Call{}, "url", at)
		wantError(t, err, protocols.TaskParameterError)
	}
	_, err = ask(t, s, Call{}, "url", "/bad")
	if wantError(t, err, protocols.AuthenticationFailed); strings.Contains(err.Error()+string(err.(*protocols.Error).Data), "cr&t") {
		t.Errorf("%v %s", err, err.(*protocols.Error).Data)
	}
	if h := s.Check(t.Context(), "http"); h.Status != "healthy" {
		t.Errorf("%+v", h)
	}
	infos := Config{Providers: map[string]ProviderConfig{"api": {Kind: "http", URL: server.URL}}}.List()
	if infos[0].Name != "api" || !infos[0].ByName || infos[0].Breaker == nil {
		t.Errorf("%+v", infos[0])
	}
}

// TestHTTPKeyInResult: a key is taken out of texts, and nothing else breaks.
func TestHTTPKeyInResult(t *testing.T) {
	for key, test := range map[string][2]string{
		"1234":   {`{"a":"x1234","n":12345,"1234":["1234\\"]}`, `{"a":"x***","n":12345,"***":["***\\"]}`},
		`a"b&`:   {`["a\"b&","a\"b\u0026","a%22b%26"]`, `["***","***","***"]`},
		`abc\`:   {`["abc\\","abc\""]`, `["***","abc\""]`},
		"abc":    {`["abc"]`, `["abc"]`}, // too short to be told from other text
		"secret": {`"\"secret"`, `"\"***"`},
	} {
		if got := (&exchange{key: key}).withoutKey(json.RawMessage(test[0])); string(got) != test[1] {
			t.Errorf("%s: %s, want %s", key, got, test[1])
		}
	}
}

func TestHTTPProxy(t *testing.T) {
	var through atomic.Int32
	proxy := webServer(t, func(w http.ResponseWriter, r *http.Request) {
		through.Add(1)
		fmt.Fprint(w, r.URL)
	})
	env := func(name string) string { return map[string]string{"HTTP_PROXY": proxy.URL}[name] }
	for configured, want := range map[string]int32{"": 0, "environment": 1, proxy.URL: 1} {
		through.Store(0)
		s, err := Open(Config{Providers: map[string]ProviderConfig{"http": {Kind: "http", Proxy: configured}}}, Options{Env: env})
		if err != nil {
			t.Fatal(err)
		}
		r, err := ask(t, s, Call{}, "url", "http://no-such-host.invalid/x")
		if through.Load() != want || (err == nil) != (want == 1) {
			t.Errorf("proxy %q: %d requests, %v %v", configured, through.Load(), r, err)
		}
		_, err = ask(t, s, Call{}, "url", "http://169.254.169.254/")
		wantError(t, err, protocols.AuthorizationFailed)
		s.Close()
	}
}

func TestHTTPConfiguration(t *testing.T) {
	for want, c := range map[string]ProviderConfig{
		"allow: \"a b\": must be":        {Allow: []string{"a b"}},
		"max_response: \"1GiB\": may be": {MaxResponse: "1GiB"},
		"max_file: \"much\": must be":    {MaxFile: "much"},
		"proxy: must be":                 {Proxy: "somewhere"},
		"url: missing":                   {KeyEnv: "KEY"},
		"url: must be":                   {URL: "here"},
	} {
		c.Kind = "http"
		err := Config{Providers: map[string]ProviderConfig{"p": c}}.Validate()
		if err == nil || !strings.Contains(err.Error(), "providers.p."+want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestHTTPIdle: silence ends a request, an answer that trickles in doesn't.
func TestHTTPIdle(t *testing.T) {
	s := webSet(t, nil)
	trickle := webServer(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 12 {
			_, _ = io.WriteString(w, "x")
			w.(http.Flusher).Flush()
			time.Sleep(100 * time.Millisecond)
		}
	})
	ask := func(at string) error {
		_, err := s.Call(patience(t, 30*time.Second), "http", Call{Method: "http/request", IdleTimeout: time.Second,
			Parameters: parameters(t, "url", at)}, nil)
		return err
	}
	wantError(t, ask(silentServer(t)), protocols.TaskTimeout)
	if err := ask(trickle.URL); err != nil {
		t.Error(err)
	}
}

func BenchmarkHTTP(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	defer server.Close()
	s := openSet(b, Config{Providers: map[string]ProviderConfig{"http": {Kind: "http", Allow: []string{"127.0.0.1"}}}})
	call := Call{Method: "http/request", Parameters: parameters(b, "url", server.URL)}
	for b.Loop() {
		if _, err := s.Call(context.Background(), "http", call, nil); err != nil {
			b.Fatal(err)
		}
	}
}
