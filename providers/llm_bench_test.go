package providers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"gleitzeit/providers/llmtest"
)

// benchStreams is how many streams there are at once, each of benchTokens.
const (
	benchStreams = 100
	benchTokens  = 200
)

// BenchmarkLLMStreams measures what a provider adds to a stream: 100 calls at
// once on a local server, in turn with an HTTP client that reads the same
// streams and does nothing with them.
func BenchmarkLLMStreams(b *testing.B) {
	for _, name := range []string{"ollama", "openai", "anthropic"} {
		b.Run(name, func(b *testing.B) {
			s := &llmtest.Server{Answer: func(llmtest.Request) llmtest.Reply {
				return llmtest.Reply{Text: strings.TrimSpace(strings.Repeat("word ", benchTokens))}
			}}
			h := httptest.NewServer(s)
			defer h.Close()
			p, err := kinds[name].make("bench", ProviderConfig{URL: h.URL, Model: "m"}, deps{env: noEnv})
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			ours := func() error {
				_, err := p.Call(context.Background(), llmCall("llm/chat", `{"prompt":"hi"}`), silent{})
				return err
			}
			if err := ours(); err != nil {
				b.Fatal(err)
			}
			first := s.Requests()[0]
			client := serverOf(p).client
			raw := func() error {
				resp, err := client.Post(h.URL+first.Path, "application/json", bytes.NewReader(first.Body))
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					return fmt.Errorf("status %d", resp.StatusCode)
				}
				_, err = io.Copy(io.Discard, resp.Body)
				return err
			}
			var took [2]time.Duration
			for b.Loop() {
				took[0] += atOnce(b, ours)
				took[1] += atOnce(b, raw)
			}
			perCall := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N) / benchStreams }
			b.ReportMetric(perCall(took[0]), "µs/call")
			b.ReportMetric(perCall(took[1]), "µs/raw")
			b.ReportMetric(perCall(took[0]-took[1])/benchTokens, "µs/token")
			b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "ratio")
		})
	}
}

// atOnce does something 100 times at once.
func atOnce(b *testing.B, do func() error) time.Duration {
	started := time.Now()
	var all sync.WaitGroup
	for range benchStreams {
		all.Go(func() {
			if err := do(); err != nil {
				b.Error(err)
			}
		})
	}
	all.Wait()
	return time.Since(started)
}

// BenchmarkIdle measures the heap and stacks of a provider that has nothing to
// do: opened, and after a call, with the connection that it keeps for a minute.
// The server at the other end of the connection is in the same process, and
// counted.
func BenchmarkIdle(b *testing.B) {
	for _, name := range []string{"ollama", "openai", "anthropic"} {
		h := httptest.NewServer(says("hi"))
		defer h.Close()
		providers := func(b *testing.B, n int, use func(p Provider) error) float64 {
			all := make([]Provider, n)
			before := memoryNow()
			for i := range all {
				p, err := kinds[name].make("bench", ProviderConfig{URL: h.URL, Model: "m"}, deps{env: noEnv})
				if err == nil {
					err = use(p)
				}
				if err != nil {
					b.Fatal(err)
				}
				all[i] = p
			}
			took := memoryNow() - before
			for _, p := range all {
				p.Close()
			}
			return float64(took) / float64(n)
		}
		b.Run(name+"/opened", func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(providers(b, 5000, func(Provider) error { return nil }), "B/provider")
			}
		})
		b.Run(name+"/used", func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(providers(b, 200, func(p Provider) error {
					_, err := p.Call(context.Background(), llmCall("llm/chat", `{"prompt":"hi"}`), silent{})
					return err
				}), "B/provider")
			}
		})
	}
}

// memoryNow is what is in use now.
func memoryNow() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
