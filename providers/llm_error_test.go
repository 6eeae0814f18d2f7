package providers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gleitzeit/protocols"
)

// kinds are the providers with which every fault is tried.
var kinds = map[string]struct {
	make   func(string, ProviderConfig, deps) (Provider, error)
	stream string // the beginning of a good answer
	media  string
}{
	"ollama": {newOllama, `{"message":{"role":"assistant","content":"one "},"done":false}` + "\n", "application/x-ndjson"},
	"openai": {newOpenAI, `data: {"choices":[{"delta":{"content":"one "}}]}` + "\n\n", "text/event-stream"},
	"anthropic": {newAnthropic, "event: content_block_delta\n" +
		`data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"one "}}` + "\n\n", "text/event-stream"},
}

// answerer begins a good answer in the form of a kind.
type answerer struct {
	w             http.ResponseWriter
	media, stream string
}

func (a answerer) well() {
	a.w.Header().Set("Content-Type", a.media)
	io.WriteString(a.w, a.stream)
	a.w.(http.Flusher).Flush()
}

// half stops in the middle of a word.
func (a answerer) half() {
	a.well()
	io.WriteString(a.w, a.stream[:strings.Index(a.stream, "one ")+2])
}

// eachKind calls a server of each kind with a chat and hands on its error.
func eachKind(t *testing.T, serve func(w http.ResponseWriter, r *http.Request, begin answerer), check func(t *testing.T, err error)) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			leakless(t)
			h := httptest.NewServer(handler(func(w http.ResponseWriter, r *http.Request) {
				serve(w, r, answerer{w, kind.media, kind.stream})
			}))
			defer h.Close()
			p := open(t, kind.make, ProviderConfig{URL: h.URL, Timeout: "1m"})
			_, err := p.Call(t.Context(), llmCall("llm/chat", `{"model":"m","prompt":"hi"}`), &tokens{})
			check(t, err)
		})
	}
}

func TestLLMStatuses(t *testing.T) {
	date := time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)
	for _, test := range []struct {
		status int
		after  string
		code   protocols.Code
		atMost time.Duration
		says   string
	}{
		{401, "", protocols.AuthenticationFailed, 0, "401 Unauthorized: why"},
		{403, "", protocols.AuthorizationFailed, 0, "403 Forbidden: why"},
		{404, "", protocols.ProviderNotFound, 0, "404 Not Found: why"},
		{408, "", protocols.ProviderTimeout, 0, "408"},
		{504, "", protocols.ProviderTimeout, 0, "504"},
		{429, "7", protocols.RateLimitExceeded, 7 * time.Second, "429 Too Many Requests: why"},
		{429, "0.5", protocols.RateLimitExceeded, 500 * time.Millisecond, "429"},
		{429, date, protocols.RateLimitExceeded, 90 * time.Second, "429"},
		{429, "soon", protocols.RateLimitExceeded, 0, "429"},
		{429, "Mon, 02 Jan 2006 15:04:05 GMT", protocols.RateLimitExceeded, 0, "429"},
		{503, "3", protocols.ProviderOverloaded, 3 * time.Second, "503"},
		{529, "", protocols.ProviderOverloaded, 0, "529: why"},
		{500, "", protocols.ProviderUnhealthy, 0, "500"},
		{502, "", protocols.ProviderUnhealthy, 0, "502"},
		{400, "", protocols.TaskParameterError, 0, "400 Bad Request: why"},
		{422, "", protocols.TaskParameterError, 0, "422"},
	} {
		t.Run(fmt.Sprint(test.status, test.after), func(t *testing.T) {
			eachKind(t, func(w http.ResponseWriter, r *http.Request, _ answerer) {
				if test.after != "" {
					w.Header().Set("Retry-After", test.after)
				}
				w.WriteHeader(test.status)
				io.WriteString(w, `{"error":{"message":"why"}}`)
			}, func(t *testing.T, err error) {
				e := wantCode(t, err, test.code)
				if wait := e.RetryAfter(); wait > test.atMost || wait < test.atMost-5*time.Second || test.atMost > 0 && wait == 0 {
					t.Errorf("retry after %v, want %v", wait, test.atMost)
				}
				if !strings.Contains(e.Message, test.says) {
					t.Error(e.Message)
				}
			})
		})
	}
}

func TestLLMBrokenAnswers(t *testing.T) {
	for _, test := range []struct {
		name  string
		serve func(w http.ResponseWriter, r *http.Request, begin answerer)
		code  protocols.Code
	}{
		{"ends early", func(w http.ResponseWriter, r *http.Request, begin answerer) { begin.well() }, protocols.ConnectionLost},
		{"cut in a line", func(w http.ResponseWriter, r *http.Request, begin answerer) {
			begin.half()
		}, protocols.ConnectionLost},
		{"connection cut", func(w http.ResponseWriter, r *http.Request, begin answerer) {
			begin.well()
			panic(http.ErrAbortHandler)
		}, protocols.ConnectionLost},
		{"cut before the head", func(w http.ResponseWriter, r *http.Request, begin answerer) {
			panic(http.ErrAbortHandler)
		}, protocols.ConnectionLost},
		{"garbage in the stream", func(w http.ResponseWriter, r *http.Request, begin answerer) {
			begin.well()
			io.WriteString(w, "data: <html>\n\n")
		}, protocols.TaskResultInvalid},
		{"a web page", func(w http.ResponseWriter, r *http.Request, begin answerer) {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, "<html>Welcome</html>")
		}, protocols.TaskResultInvalid},
		{"another type of document", func(w http.ResponseWriter, r *http.Request, begin answerer) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"message":[1],"choices":{}}`)
		}, protocols.TaskResultInvalid},
		{"too long", func(w http.ResponseWriter, r *http.Request, begin answerer) {
			begin.half()
			block := strings.Repeat("x", 1<<20)
			for range 80 {
				io.WriteString(w, block)
			}
		}, protocols.TaskResultInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachKind(t, test.serve, func(t *testing.T, err error) {
				wantCode(t, err, test.code)
			})
		})
	}
}

// A server that dribbles for ever is cut off by the configured timeout, and
// one that falls silent by the limit of silence.
func TestLLMSlowServers(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			leakless(t)
			var dribble atomic.Bool
			dribble.Store(true)
			gone := make(chan struct{}, 2)
			h := httptest.NewServer(handler(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", kind.media)
				for dribble.Load() && r.Context().Err() == nil {
					io.WriteString(w, "\n")
					w.(http.Flusher).Flush()
					time.Sleep(5 * time.Millisecond)
				}
				w.(http.Flusher).Flush()
				<-r.Context().Done()
				gone <- struct{}{}
			}))
			defer h.Close()
			p := open(t, kind.make, ProviderConfig{URL: h.URL, Timeout: "100ms"})
			_, err := p.Call(t.Context(), llmCall("llm/chat", `{"model":"m","prompt":"hi"}`), &tokens{})
			wantCode(t, err, protocols.ProviderTimeout)
			within(t, "the slow server saw that it was cut off", gone)

			dribble.Store(false)
			p = open(t, kind.make, ProviderConfig{URL: h.URL})
			serverOf(p).silence = 50 * time.Millisecond
			_, err = p.Call(t.Context(), llmCall("llm/chat", `{"model":"m","prompt":"hi"}`), &tokens{})
			if e := wantCode(t, err, protocols.ProviderTimeout); !strings.Contains(e.Message, "sent nothing for 50ms") {
				t.Error(e.Message)
			}
			within(t, "the silent server saw that it was cut off", gone)
		})
	}
}

func serverOf(p Provider) *llmServer { return p.(*llmProvider).server }

// A cancelled call returns at once and the server sees it go.
func TestLLMCancel(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			leakless(t)
			gone := make(chan struct{}, 1)
			h := httptest.NewServer(handler(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", kind.media)
				io.WriteString(w, kind.stream)
				w.(http.Flusher).Flush()
				<-r.Context().Done()
				gone <- struct{}{}
			}))
			defer h.Close()
			p := open(t, kind.make, ProviderConfig{URL: h.URL})
			ctx, cancel := context.WithCancel(t.Context())
			_, err := p.Call(ctx, llmCall("llm/chat", `{"model":"m","prompt":"hi"}`), &tokens{first: cancel})
			wantCode(t, err, protocols.TaskCancelled)
			within(t, "the server saw the client go", gone)

			ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			_, err = p.Call(ctx, llmCall("llm/chat", `{"model":"m","prompt":"hi"}`), &tokens{})
			wantCode(t, err, protocols.TaskTimeout)
			within(t, "the server saw the time run out", gone)
		})
	}
}

// Neither prompt nor key follows a redirect.
func TestLLMRedirect(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(handler(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		eachKind(t, func(w http.ResponseWriter, r *http.Request, _ answerer) {
			http.Redirect(w, r, other.URL+"/v1", status)
		}, func(t *testing.T, err error) {
			if e := wantCode(t, err, protocols.ConfigurationError); !strings.Contains(e.Message, other.URL+"/v1") {
				t.Error(e.Message)
			}
		})
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("the other host got %d requests", n)
	}
}

func TestLLMNetworkErrors(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	for name, kind := range kinds {
		leakless(t)
		p := open(t, kind.make, ProviderConfig{URL: "http://" + free.Addr().String()})
		_, err := p.Call(t.Context(), llmCall("llm/chat", `{"model":"m","prompt":"hi"}`), &tokens{})
		e := wantCode(t, err, protocols.ConnectionRefused)
		if !strings.Contains(e.Message, "is not running") || strings.Contains(e.Message, "ollama serve") != (name == "ollama") {
			t.Error(e.Message)
		}
		if h := p.Check(t.Context()); h.Status != "unhealthy" || h.Message != e.Message {
			t.Errorf("%+v", h)
		}
	}
	a := &llmStream{server: &llmServer{kind: "S", base: mustParse(t, "http://s")}, ended: func() error { return nil }}
	for _, test := range []struct {
		err  error
		code protocols.Code
	}{
		{&net.OpError{Op: "dial", Err: &net.DNSError{Name: "s", IsNotFound: true}}, protocols.NetworkUnreachable},
		{&net.OpError{Op: "dial", Err: timeoutError{}}, protocols.ConnectionTimeout},
		{errors.New("what?"), protocols.ConnectionLost},
	} {
		wantCode(t, a.failed(test.err), test.code)
	}
}

type timeoutError struct{}

func (timeoutError) Error() string { return "timeout" }
func (timeoutError) Timeout() bool { return true }

// A server that quotes secrets doesn't get them into errors.
func TestLLMSecrets(t *testing.T) {
	const key, header, password = "sk-very-secret-key", "Basic header-secret", "url-password"
	for name, kind := range kinds {
		for _, status := range []int{200, 400, 401, 500} {
			t.Run(fmt.Sprint(name, status), func(t *testing.T) {
				leakless(t)
				var got http.Header
				h := httptest.NewServer(handler(func(w http.ResponseWriter, r *http.Request) {
					got = r.Header.Clone()
					w.WriteHeader(status)
					fmt.Fprintf(w, `{"error":"%s no %s %s header-secret %s %s"}`,
						strings.Repeat("x ", 240), key, header, password, strings.Repeat(key, 100))
				}))
				defer h.Close()
				c := ProviderConfig{URL: strings.Replace(h.URL, "://", "://user:"+password+"@", 1), KeyEnv: "KEY",
					Headers: map[string]string{"X-Other": header}}
				p, err := kind.make("test", c, deps{env: func(name string) string { return map[string]string{"KEY": key + "\n"}[name] }})
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				_, err = p.Call(t.Context(), llmCall("llm/chat", `{"model":"m","prompt":"hi"}`), &tokens{})
				if err == nil {
					t.Fatal("no error")
				}
				data := err.(*protocols.Error).Data
				for _, secret := range []string{"very-secret", "header-secret", password, "sk-v"} {
					if strings.Contains(err.Error()+string(data), secret) {
						t.Errorf("%s in %s %s", secret, err, data)
					}
				}
				sent := got.Get("Authorization")
				if name == "anthropic" {
					sent = "Bearer " + got.Get("X-Api-Key")
				}
				if sent != "Bearer "+key || got.Get("X-Other") != header {
					t.Errorf("%v", got)
				}
			})
		}
	}
}

// Close drops the connections that were kept.
func TestLLMClose(t *testing.T) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			closed := make(chan struct{}, 1)
			h := httptest.NewUnstartedServer(handler(func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, `{"data":[]}`)
			}))
			h.Config.ConnState = func(_ net.Conn, s http.ConnState) {
				if s == http.StateClosed {
					closed <- struct{}{}
				}
			}
			h.Start()
			p, err := kind.make("test", ProviderConfig{URL: h.URL}, deps{env: noEnv})
			if err != nil {
				t.Fatal(err)
			}
			p.Check(t.Context())
			p.Close()
			within(t, "the connection was closed", closed)
			h.Close()
		})
	}
}

func TestLLMConfiguration(t *testing.T) {
	for name, kind := range kinds {
		for _, c := range []ProviderConfig{
			{URL: "ftp://secret@host"}, {URL: "http://ho st"}, {URL: "http://h", Timeout: "soon"}, {URL: "http://h", Timeout: "-1s"},
		} {
			_, err := kind.make("test", c, deps{env: noEnv})
			if e := wantCode(t, err, protocols.ConfigurationError); strings.Contains(e.Message, "secret") {
				t.Errorf("%s: %v", name, e)
			}
		}
		p := open(t, kind.make, ProviderConfig{URL: "http://127.0.0.1:1", KeyEnv: "NO_SUCH_KEY"})
		_, err := p.Call(t.Context(), llmCall("llm/chat", `{"model":"m","prompt":"hi"}`), &tokens{})
		if e := wantCode(t, err, protocols.AuthenticationFailed); !strings.Contains(e.Message, "NO_SUCH_KEY") {
			t.Error(e.Message)
		}
	}
}
