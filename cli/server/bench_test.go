package server_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
)

// The figures of docs/benchmarks.md:
//
//	go test ./cli/server -run xxx -bench 'Submit|Follow' -benchtime 3s

// benched is a server with its store on disk that listens for HTTP.
func benched(b *testing.B) *web {
	w := listenOn(b, onDisk(b), &servertest.Fake{}, func(o *server.HTTPOptions) { o.MaxRate = 1e9 })
	w.client.Transport.(*http.Transport).MaxIdleConnsPerHost = 256
	b.ResetTimer()
	return w
}

// times are how long each of many calls took.
type times struct {
	mu  sync.Mutex
	all []time.Duration
}

func (t *times) add(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, d)
}

func (t *times) report(b *testing.B, what string) {
	slices.Sort(t.all)
	b.ReportMetric(float64(t.all[len(t.all)/2].Microseconds())/1000, what+"-p50-ms")
	b.ReportMetric(float64(t.all[len(t.all)*99/100].Microseconds())/1000, what+"-p99-ms")
	b.ReportMetric(0, "ns/op")
}

var submission = func() string {
	raw, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": "workflow/submit", "params": map[string]any{"workflow": flow}})
	return string(raw)
}()

func BenchmarkSubmitHTTP(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("%d clients", clients), func(b *testing.B) {
			w := benched(b)
			submits(b, clients, func() func() error {
				return func() error {
					resp, err := w.client.Post(w.url+"/rpc", "application/json", strings.NewReader(submission))
					if err != nil {
						return err
					}
					defer resp.Body.Close()
					return accepted(io.ReadAll(resp.Body))
				}
			})
		})
	}
}

func BenchmarkSubmitWebSocket(b *testing.B) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("%d clients", clients), func(b *testing.B) {
			w := benched(b)
			submits(b, clients, func() func() error {
				conn := w.dial(nil)
				return func() error {
					if err := conn.Write(b.Context(), websocket.MessageText, []byte(submission)); err != nil {
						return err
					}
					_, answer, err := conn.Read(b.Context())
					return accepted(answer, err)
				}
			})
		})
	}
}

func accepted(answer []byte, err error) error {
	if err == nil && !strings.Contains(string(answer), `"result"`) {
		err = fmt.Errorf("answered %s", answer)
	}
	return err
}

// submits submits b.N runs with so many clients at once.
func submits(b *testing.B, clients int, dial func() func() error) {
	var took times
	var working sync.WaitGroup
	todo := make(chan struct{}, b.N)
	for range b.N {
		todo <- struct{}{}
	}
	close(todo)
	began := time.Now()
	for range clients {
		submit := dial()
		working.Go(func() {
			for range todo {
				began := time.Now()
				if err := submit(); err != nil {
					b.Error(err)
					return
				}
				took.add(time.Since(began))
			}
		})
	}
	working.Wait()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "submits/s")
	took.report(b, "ack")
}

// BenchmarkFollow has a thousand listeners follow one run each, over server-sent
// events: how long after a signal was sent each hears of it, and what each costs
// in memory, both ends together.
func BenchmarkFollow(b *testing.B) {
	w := benched(b)
	const listeners = 1000
	heard := make(chan time.Time, listeners)
	id := w.submit(servertest.Chain("held", servertest.Work{Hold: true}))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range listeners {
		resp, err := http.Get(w.url + "/log/follow?id=" + id)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { resp.Body.Close() })
		go hear(resp.Body, heard)
	}
	for range 2 * listeners { // submitted, started
		<-heard
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	grown := after.HeapInuse + after.StackInuse - before.HeapInuse - before.StackInuse
	b.ReportMetric(float64(grown)/listeners/1024, "KiB/listener")
	var took times
	for n := range b.N {
		began := time.Now()
		w.must(server.SignalSend, server.SignalParams{ID: id, Name: fmt.Sprint("s", n)}, nil)
		for range listeners {
			took.add((<-heard).Sub(began))
		}
	}
	took.report(b, "heard")
}

// hear notes when each event has come.
func hear(r io.Reader, heard chan<- time.Time) {
	buffer, rest := make([]byte, 64<<10), ""
	for {
		n, err := r.Read(buffer)
		rest += string(buffer[:n])
		for {
			event, more, whole := strings.Cut(rest, "\n\n")
			if !whole {
				break
			}
			if rest = more; strings.Contains(event, "log/event") {
				heard <- time.Now()
			}
		}
		if err != nil {
			return
		}
	}
}
