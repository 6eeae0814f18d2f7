//go:build unix

package server_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gleitzeit/cli/server"
	"gleitzeit/cli/server/servertest"
	"gleitzeit/eventlog"
)

// listen is start with a store on disk that others can reach.
func listen(t *testing.T, dir string) *fixture {
	t.Helper()
	log, err := eventlog.Open(dir, eventlog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o := options(&servertest.Fake{})
	o.Dir = dir
	f := start(t, log, o)
	if err := f.srv.Listen(); err != nil {
		t.Fatal(err)
	}
	return f
}

// knock connects as another process would.
func knock(t *testing.T, dir string) net.Conn {
	t.Helper()
	conn, _, err := server.Knock(soon(t), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// say sends raw bytes and returns the lines that come back until the other end
// hangs up, or until there are as many as wanted.
func say(t *testing.T, conn net.Conn, text string, wanted int) []string {
	t.Helper()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	go io.WriteString(conn, text)
	var lines []string
	r := bufio.NewReader(conn)
	for len(lines) < wanted {
		line, err := r.ReadString('\n')
		if err != nil {
			if os.IsTimeout(err) {
				t.Error("neither answered nor hung up")
			}
			break
		}
		lines = append(lines, line)
	}
	return lines
}

func TestSocketIsPrivate(t *testing.T) {
	dir := t.TempDir()
	f := listen(t, dir)
	st, err := os.Stat(filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Type() != os.ModeSocket || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %s", st.Mode())
	}
	f.stop()
	for _, name := range []string{"socket", ".gleitzeit-socket", "socket.path"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
}

// What a killed process left in the way is cleared away.
func TestStaleDoor(t *testing.T) {
	dir := t.TempDir()
	listen(t, dir).stop() // makes the store
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "socket"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	os.Mkdir(filepath.Join(dir, ".gleitzeit-socket"), 0o700)
	os.WriteFile(filepath.Join(dir, ".gleitzeit-socket", "socket"), nil, 0o600)
	home, err := os.MkdirTemp("", "gleitzeit-socket-")
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(dir, "socket.path"), []byte(home+"/socket\n"), 0o600)
	if _, _, err := server.Knock(soon(t), dir); err == nil {
		t.Error("somebody answers")
	}
	listen(t, dir)
	knock(t, dir)
	if _, err := os.Stat(home); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", home, err)
	}
}

// A file of that name which isn't ours stays as it is, and the door is
// elsewhere.
func TestForeignSocket(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "socket")
	if err := os.WriteFile(precious, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	f := listen(t, dir)
	knock(t, dir)
	f.stop()
	if b, err := os.ReadFile(precious); err != nil || string(b) != "mine" {
		t.Errorf("it is now %q, %v", b, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "socket.path")); !os.IsNotExist(err) {
		t.Errorf("the pointer is left: %v", err)
	}
}

// A pointer is followed to a private folder of ours alone, and nothing else
// is removed for its sake.
func TestForeignPointer(t *testing.T) {
	dir := t.TempDir()
	listen(t, dir).stop()
	open, err := os.MkdirTemp("", "gleitzeit-socket-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(open)
	os.Chmod(open, 0o755)
	precious := filepath.Join(t.TempDir(), "socket")
	for _, path := range []string{filepath.Join(open, "socket"), precious, ""} {
		if path != "" {
			os.WriteFile(path, nil, 0o600)
		}
		os.WriteFile(filepath.Join(dir, "socket.path"), []byte(path+"\n"), 0o600)
		if conn, _, err := server.Knock(soon(t), dir); err == nil {
			conn.Close()
			t.Errorf("followed %q", path)
		}
	}
	pointer := filepath.Join(dir, "socket.path")
	os.WriteFile(pointer, []byte(precious+"\n"), 0o600)
	listen(t, dir)
	if _, err := os.Stat(pointer); err != nil {
		t.Error("a pointer that isn't ours:", err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}

// Whatever is sent to the socket harms nobody but the connection that sent it.
func TestHostileFrames(t *testing.T) {
	dir := t.TempDir()
	f := listen(t, dir)
	f.finish(servertest.Chain("one", servertest.Work{}))
	deep := strings.Repeat(`[`, 1_000_000)
	for name, test := range map[string]struct {
		text string
		code int // 0: a result
	}{
		"garbage":        {"\x00\xff\xfeGET / HTTP/1.1\r\n", -32700},
		"http":           {"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello\n", -32700},
		"no JSON":        {"hello\n", -32700},
		"not an object":  {"7\n", -32600},
		"empty":          {"{}\n", -32600},
		"no version":     {`{"id":1,"method":"system/hello"}` + "\n", -32600},
		"both":           {`{"id":1,"method":"system/hello","result":1}` + "\n", -32600},
		"float id":       {`{"jsonrpc":"2.0","id":1.5,"method":"system/hello"}` + "\n", 0},
		"negative id":    {`{"jsonrpc":"2.0","id":-1,"method":"system/hello"}` + "\n", 0},
		"object id":      {`{"jsonrpc":"2.0","id":{},"method":"system/hello"}` + "\n", -32600},
		"method 3":       {`{"jsonrpc":"2.0","id":1,"method":3}` + "\n", -32600},
		"deep":           {deep + "\n", -32700},
		"deep params":    {`{"jsonrpc":"2.0","id":1,"method":"workflow/get","params":{"id":` + deep + "}}\n", -32700},
		"unclosed":       {`{"jsonrpc":"2.0","id":1,"method":"workflow/get","params":{"id":"` + "\n", -32700},
		"no answer":      {`{"jsonrpc":"2.0","id":77,"result":"to nothing"}` + "\n" + `{` + "\n", -32700},
		"unknown method": {`{"jsonrpc":"2.0","id":1,"method":"workflow/explode"}` + "\n", -32601},
		"null params":    {`{"jsonrpc":"2.0","id":"a","method":"workflow/get","params":null}` + "\n", -32602},
		"scalar params":  {`{"jsonrpc":"2.0","id":"a","method":"workflow/get","params":"one-1"}` + "\n", -32600},
		"array params":   {`{"jsonrpc":"2.0","id":1,"method":"workflow/get","params":["one-1",true,3]}` + "\n", -32602},
		"deep value":     {`{"jsonrpc":"2.0","id":1,"method":"workflow/get","params":{"id":` + strings.Repeat(`[`, 9000) + strings.Repeat(`]`, 9000) + "}}\n", -32602},
		"surrogate":      {`{"jsonrpc":"2.0","id":1,"method":"workflow/get","params":{"id":"\ud800"}}` + "\n", -28002},
		"nul":            {`{"jsonrpc":"2.0","id":1,"method":"workflow/get","params":{"id":"\u0000"}}` + "\n", -28002},
		"long id":        {`{"jsonrpc":"2.0","id":1,"method":"workflow/get","params":{"id":"` + strings.Repeat("x", 1<<20) + `"}}` + "\n", -28002},
	} {
		t.Run(name, func(t *testing.T) {
			lines := say(t, knock(t, dir), test.text, 1)
			var answer struct {
				Result any
				Error  struct{ Code int }
			}
			if len(lines) != 1 || json.Unmarshal([]byte(lines[0]), &answer) != nil || answer.Error.Code != test.code || (test.code == 0) != (answer.Result != nil) {
				t.Errorf("answered %.200s", lines)
			}
		})
	}
	t.Run("half a line, then gone", func(t *testing.T) {
		conn := knock(t, dir)
		io.WriteString(conn, `{"jsonrpc":"2.0","id":1,"met`)
		conn.Close()
	})
	t.Run("asks and doesn't listen", func(t *testing.T) {
		conn := knock(t, dir)
		conn.SetWriteDeadline(time.Now().Add(time.Second))
		for {
			if _, err := io.WriteString(conn, `{"jsonrpc":"2.0","id":1,"method":"workflow/history","params":{"id":"1"}}`+"\n"); err != nil {
				return
			}
		}
	})
	f.must(server.SystemStatus, nil, nil)
}

// Somebody who reads nothing can't keep us from leaving.
func TestLeavesTheDeaf(t *testing.T) {
	dir := t.TempDir()
	f := listen(t, dir)
	f.finish(servertest.Chain("one", servertest.Work{Value: strings.Repeat("x", 1<<20)}))
	conn := knock(t, dir)
	io.WriteString(conn, `{"jsonrpc":"2.0","id":1,"method":"workflow/get","params":{"id":"1","values":true}}`+"\n")
	bufio.NewReader(conn).ReadByte() // it has begun to answer
	began := time.Now()
	f.stop()
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %s", took)
	}
}

// Without a token a stranger at a port gets nothing; with it, everything.
func TestToken(t *testing.T) {
	f := start(t, eventlog.OpenMemory(eventlog.Options{}), options(nil))
	const hello = `{"jsonrpc":"2.0","id":1,"method":"system/hello","params":{"token":"%"}}` + "\n"
	const status = `{"jsonrpc":"2.0","id":2,"method":"system/status"}` + "\n"
	for text, want := range map[string]string{
		status: "-25005",
		strings.Replace(hello, "%", "wrong", 1) + status: "-25005",
		strings.Repeat("x", 1<<17):                       "",
		strings.Replace(hello, "%", "right", 1) + status: "api",
	} {
		ours, theirs := net.Pipe()
		served := make(chan struct{})
		go func() {
			f.srv.ServeForTest(ours, "right")
			close(served)
		}()
		wanted := 2
		if want != "api" {
			wanted = 3 // it hangs up before
		}
		lines := say(t, theirs, text, wanted)
		theirs.Close()
		<-served
		got := strings.Join(lines, "")
		if !strings.Contains(got, want) || (want != "api") == strings.Contains(got, `"result"`) {
			t.Errorf("%.100q gets %q", text, got)
		}
	}
}
