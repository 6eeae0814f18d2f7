package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gleitzeit/protocols"
)

// TestRedisDies kills a Redis under a server that carries runs out, and starts
// it again: what was acknowledged comes to its end, once; what is asked for
// meanwhile is refused, with the time after which to ask again; what runs at a
// provider ends, and is written down later.
//
// GLEITZEIT_REDIS_KILLS says how often (.ci/soak). With appendfsync everysec this
// fails on a busy disk: Redis then answers up to two seconds before it writes.
func TestRedisDies(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("GLEITZEIT_TEST_REDIS") == "required" {
			t.Fatal("there is no redis-server")
		}
		t.Skip("SKIPPED, NOT PROVEN: there is no redis-server")
	}
	kills, _ := strconv.Atoi(os.Getenv("GLEITZEIT_REDIS_KILLS"))
	redis := newRedis(t, "--appendfsync", "always")
	s := startServer(t, "GLEITZEIT_BACKEND=redis", "GLEITZEIT_REDIS_URL=unix://"+redis.socket())
	load := startLoad(s)
	for range max(1, kills) {
		load.await(t, "runs are accepted", func() bool { return load.progress(20) })
		long := s.submit(t, longYAML)
		redis.kill()
		load.await(t, "submits are refused", func() bool { return load.refused.Swap(0) > 3 })
		s.refuses(t, "workflow/list")
		load.await(t, "the attempt ends at its provider", func() bool { return s.finished(long) })
		load.progress(0)
		redis.start(t)
		load.await(t, "runs are accepted again", func() bool { return load.progress(20) })
		s.ends(t, long)
	}
	load.end(t)
	s.idleOutage(t, redis)
	for key, id := range load.accepted {
		s.ends(t, id)
		if again := load.submit(key); again != id {
			t.Errorf("key %s has run %s, and it was %s", key, again, id)
		}
	}
	if all := s.count(t); all != len(load.accepted)+s.own {
		t.Errorf("there are %d runs, and %d were accepted", all, len(load.accepted)+s.own)
	}
	t.Logf("%d kills, %d runs, %d requests refused", max(1, kills), len(load.accepted), load.all.Load())
	s.stop(t)
}

// shortYAML and longYAML are what is submitted. The long one's attempt outlives
// its Redis, and says so in a file.
const (
	shortYAML = "name: short\ntasks:\n- {name: a, method: echo/echo, parameters: {text: one}}\n" +
		"- {name: b, method: echo/delay, parameters: {seconds: 0.01}}\n" +
		"- {name: c, dependencies: [b], method: echo/echo, parameters: {text: \"${a.text} and two\"}}\noutputs: {said: \"${c.text}\"}\n"
	longYAML = "name: long\ntasks:\n- {name: a, method: python/execute, parameters: {write: [.], code: \"import time\\n" +
		"open('began-%[1]d', 'w').close()\\ntime.sleep(1.5)\\nopen('ended-%[1]d', 'w').close()\\nresult = 'done'\"}}\noutputs: {said: \"${a.result}\"}\n"
)

// redisServer is a Redis that may die.
type redisServer struct {
	dir  string
	args []string
	cmd  *exec.Cmd
}

func newRedis(t *testing.T, args ...string) *redisServer {
	dir, err := os.MkdirTemp("", "r") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	r := &redisServer{dir: dir, args: args}
	t.Cleanup(func() {
		r.kill()
		os.RemoveAll(dir)
	})
	r.start(t)
	return r
}

func (r *redisServer) socket() string { return filepath.Join(r.dir, "s") }

// start starts it on what it has written so far.
func (r *redisServer) start(t *testing.T) {
	t.Helper()
	os.Remove(r.socket()) // of one that was killed
	r.cmd = exec.Command("redis-server", append([]string{"--port", "0", "--unixsocket", r.socket(), "--dir", r.dir, "--save", "",
		"--appendonly", "yes", "--logfile", filepath.Join(r.dir, "log")}, r.args...)...)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(r.socket()); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not start")
		}
	}
}

func (r *redisServer) kill() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

// serverProcess is a `gleitzeit server start` of a test.
type serverProcess struct {
	dir, url string
	cmd      *exec.Cmd
	stderr   bytes.Buffer
	own      int // runs that were submitted by submit
}

func startServer(t *testing.T, env ...string) *serverProcess {
	return startServerWith(t, "", env...)
}

// startServerWith starts one with a configuration.
func startServerWith(t *testing.T, config string, env ...string) *serverProcess {
	s := &serverProcess{dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(s.dir, "gleitzeit.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command("gleitzeit", "server", "start", "-o", "json")
	s.cmd.Dir = s.dir
	s.cmd.Env = append([]string{"HOME=" + s.dir, "PATH=" + os.Getenv("PATH"), "XDG_CONFIG_HOME=" + s.dir, "GLEITZEIT_PORT=0"}, env...)
	s.cmd.Stderr = &s.stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		if t.Failed() {
			t.Logf("the server said:\n%s", s.stderr.Bytes())
		}
	})
	var ready struct{ URL string }
	if err := json.NewDecoder(out).Decode(&ready); err != nil {
		t.Fatal(err)
	}
	s.url = ready.URL
	return s
}

var ask = http.Client{Timeout: patience}

// post asks the server for something.
func (s *serverProcess) post(path, body string) (status int, header http.Header, answer []byte, err error) {
	r, err := ask.Post(s.url+path, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	defer r.Body.Close()
	answer, err = io.ReadAll(r.Body)
	return r.StatusCode, r.Header, answer, err
}

// rpc calls a method; what it answers is in result.
func (s *serverProcess) rpc(method, params string, result any) (code int, retryAfter float64, err error) {
	_, _, answer, err := s.post("/rpc", fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":%s}`, method, params))
	if err != nil {
		return 0, 0, err
	}
	var a struct {
		Result json.RawMessage
		Error  *struct {
			Code    int
			Message string
			Data    struct {
				RetryAfter float64 `json:"retry_after"`
			}
		}
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return 0, 0, err
	}
	if a.Error != nil {
		return a.Error.Code, a.Error.Data.RetryAfter, fmt.Errorf("%s: %s", method, a.Error.Message)
	}
	return 0, 0, json.Unmarshal(a.Result, result)
}

// submit submits a workflow whose attempt writes files, as a command of the same
// machine does, and returns once it has begun.
func (s *serverProcess) submit(t *testing.T, yaml string) (id string) {
	t.Helper()
	s.own++
	file := filepath.Join(s.dir, "long.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, yaml, s.own), 0o600); err != nil {
		t.Fatal(err)
	}
	submit := exec.Command("gleitzeit", "workflow", "submit", "long.yaml", "-o", "json")
	submit.Dir, submit.Env = s.dir, s.cmd.Env
	out, err := submit.Output()
	var said struct{ ID string }
	if err := errors.Join(err, json.Unmarshal(out, &said)); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for deadline := time.Now().Add(patience); !s.wrote("began"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the attempt does not begin")
		}
	}
	return said.ID
}

func (s *serverProcess) wrote(what string) bool {
	_, err := os.Stat(filepath.Join(s.dir, fmt.Sprint(what, "-", s.own)))
	return err == nil
}

func (s *serverProcess) finished(string) bool { return s.wrote("ended") }

// refusedAway is the code of what can't be done while Redis is away.
const refusedAway = int(protocols.PersistenceConnectionFailed)

// refuses wants that a call is refused, with the time after which to call again.
func (s *serverProcess) refuses(t *testing.T, method string) {
	t.Helper()
	code, after, err := s.rpc(method, "{}", new(any))
	if code != refusedAway || after <= 0 || err == nil || !strings.Contains(err.Error(), "try again") {
		t.Errorf("%s while Redis is away: code %d, retry after %v: %v", method, code, after, err)
	}
}

// ends waits until the run has ended, and wants that it succeeded.
func (s *serverProcess) ends(t *testing.T, id string) {
	t.Helper()
	var run struct {
		Status  string
		Outputs map[string]string
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		code, _, err := s.rpc("workflow/wait", fmt.Sprintf(`{"id":%q,"values":true}`, id), &run)
		if err == nil {
			break
		}
		if code != refusedAway || time.Now().After(deadline) {
			t.Fatalf("%s: %v", id, err)
		}
	}
	if said := run.Outputs["said"]; run.Status != "completed" || said != "one and two" && said != "done" {
		t.Errorf("%s is %s and says %q", id, run.Status, said)
	}
}

// count returns how many runs there are.
func (s *serverProcess) count(t *testing.T) int {
	runs := 0
	for before := uint64(0); ; {
		var page struct {
			Runs []struct{ ID string }
			Next uint64
		}
		if _, _, err := s.rpc("workflow/list", fmt.Sprintf(`{"limit":1000,"before":%d}`, before), &page); err != nil {
			t.Fatal(err)
		}
		runs, before = runs+len(page.Runs), page.Next
		if before == 0 {
			return runs
		}
	}
}

// figures are what the server tells Prometheus.
func (s *serverProcess) figures() (string, error) {
	response, err := ask.Get(s.url + "/metrics")
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// idleOutage: a server that does nothing notices, too, and what is asked then
// is refused at once.
func (s *serverProcess) idleOutage(t *testing.T, redis *redisServer) {
	t.Helper()
	redis.kill()
	s.refuses(t, "workflow/list")
	if status, header, answer, err := s.post("/workflow/submit", shortYAML); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("a submit while Redis is away: %d, Retry-After %q, %s %v", status, header.Get("Retry-After"), answer, err)
	}
	if figures, err := s.figures(); err != nil || !strings.Contains(figures, "\ngleitzeit_log_trouble 1\n") || strings.Contains(figures, "gleitzeit_log_records") {
		t.Errorf("figures while Redis is away: %v\n%s", err, figures)
	}
	redis.start(t)
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if status, _, _, _ := s.post("/rpc", `{"jsonrpc":"2.0","id":1,"method":"system/health"}`); status == http.StatusOK {
			if _, _, err := s.rpc("workflow/list", "{}", new(any)); err == nil {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("it does not come back")
		}
	}
}

// stop ends the server as a person would, and checks what it leaves.
func (s *serverProcess) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := codeOf(s.cmd.Wait()); code != 130 {
		t.Errorf("the server ends with exit code %d", code)
	}
	verify := exec.Command("gleitzeit", "system", "verify")
	verify.Dir, verify.Env = s.dir, s.cmd.Env
	if out, err := verify.CombinedOutput(); err != nil || !bytes.HasPrefix(out, []byte("sound")) {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

// submitters submit runs, each again under its key until it is accepted.
type submitters struct {
	server       *serverProcess
	refused, all atomic.Int64
	taken        atomic.Int64
	mark         int64 // of taken, for progress
	quit         chan struct{}
	working      sync.WaitGroup

	mu       sync.Mutex
	accepted map[string]string // run by key
	wrong    []string
}

func startLoad(s *serverProcess) *submitters {
	l := &submitters{server: s, quit: make(chan struct{}), accepted: map[string]string{}}
	for w := range 8 {
		l.working.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-l.quit:
					return
				default:
				}
				key := fmt.Sprintf("%d-%d", w, n)
				id := l.submit(key)
				l.mu.Lock()
				l.accepted[key] = id
				l.mu.Unlock()
				l.taken.Add(1)
			}
		})
	}
	return l
}

// submit submits until it is accepted.
func (l *submitters) submit(key string) string {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		status, header, answer, err := l.server.post("/workflow/submit?key="+key, shortYAML)
		var said struct{ ID string }
		switch {
		case err == nil && status == http.StatusOK && json.Unmarshal(answer, &said) == nil:
			return said.ID
		case err == nil && status == http.StatusServiceUnavailable && header.Get("Retry-After") != "" && bytes.Contains(answer, []byte(`"retry_after"`)):
			l.refused.Add(1)
			l.all.Add(1)
		default:
			l.mu.Lock()
			l.wrong = append(l.wrong, fmt.Sprintf("%d %s %v", status, answer, err))
			l.mu.Unlock()
		}
		if time.Now().After(deadline) {
			return "not accepted"
		}
	}
}

// progress tells whether so many more runs were accepted since it last said so.
func (l *submitters) progress(more int64) bool {
	if now := l.taken.Load(); now < l.mark+more {
		return false
	}
	l.mark = l.taken.Load()
	return true
}

func (l *submitters) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not happen that %s", what)
		}
	}
}

// end lets the submitters finish, and says what went wrong.
func (l *submitters) end(t *testing.T) {
	close(l.quit)
	l.working.Wait()
	for _, text := range l.wrong {
		t.Errorf("a submit is answered with %s", text)
	}
}
