package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"gleitzeit/cli/server/servertest"
	"gleitzeit/eventlog"
	"gleitzeit/providers/llmtest"
)

// planted are the secrets of TestSecretsStayInside, by what they are for.
var planted = map[string]string{
	"env":  `tOk3n/"q"+é&x y=0815`,
	"file": "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\nMzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDuictGeurT8jNbvJZHtCSuYEvu\n-----END KEY-----",
	"age":  "correct horse battery staple",
	"llm":  "sk-proj-4711-abcdefghijklmnop",
	"mcp":  "ghp_R2D2c3poBB8wedge",
	"pin":  "90125",
}

// TestSecretsStayInside plants secrets in every way that there is into runs
// that do all they can to let them out, kills one of them, and then looks
// through everything that was printed and every byte that was kept.
func TestSecretsStayInside(t *testing.T) {
	python := realPython()
	if python == "" || runtime.GOOS == "windows" {
		t.Skip("needs python3, and not Windows")
	}
	p := plant(t, python)
	told := p.gleitzeit(0, "run", "flow.yaml", "-i", "pin=file:pin.txt")
	told += p.gleitzeit(0, "run", "flow.yaml", "-i", "pin=file:pin.txt", "-o", "json")
	if n := strings.Count(told, "***"); n < 60 {
		t.Errorf("only %d secrets were taken out: are they used at all?\n%s", n, told)
	}
	if got := p.models.seen(); got != "Bearer "+planted["llm"] {
		t.Errorf("the model's server was sent %q", got)
	}
	p.gleitzeit(3, "run", "failing.yaml")
	p.gleitzeit(3, "run", "-o", "yaml", "failing.yaml")
	p.gleitzeit(2, "run", "flow.yaml", "-i", "pin="+strings.TrimSpace(planted["env"]))
	p.gleitzeit(2, "run", "misfit.yaml", "-i", "pin=file:nowhere.txt")
	p.gleitzeit(3, "run", "misfit.yaml", "-i", "pin=file:pin.txt")
	p.kill("run", "slow.yaml")
	hidden := p.env
	p.env = p.without("TOKEN")
	p.gleitzeit(6, "resume", "slow-8")
	p.gleitzeit(0, "workflow", "status", "slow-8")
	p.gleitzeit(6, "resume")
	p.env = hidden
	p.gleitzeit(0, "resume", "slow-8")
	for run := 1; run <= 8; run++ {
		id := fmt.Sprint(run)
		for _, args := range [][]string{{"history", id}, {"history", id, "-o", "json"}, {"workflow", "get", id, "-o", "json"},
			{"workflow", "get", id}, {"workflow", "status", id}} {
			p.gleitzeit(0, args...)
		}
	}
	p.gleitzeit(0, "workflow", "list", "-o", "json")
	p.gleitzeit(0, "config", "show", "-o", "json")
	p.gleitzeit(0, "provider", "check", "gpu", "talker")
	p.gleitzeit(0, "system", "verify")

	p.holds("what was printed", p.said.Bytes())
	p.holds("what the collector was told", p.collector.Sent())
	if n := len(p.collector.Spans()); n < 20 {
		t.Errorf("the collector was told %d spans", n)
	}
	p.files()
	p.records()
}

// plantation is the folder of the test.
type plantation struct {
	t      *testing.T
	dir    string
	env    []string
	said   bytes.Buffer // by all commands
	models *quoter

	collector *servertest.Collector
}

func plant(t *testing.T, python string) *plantation {
	p := &plantation{t: t, dir: t.TempDir(), models: &quoter{}, collector: &servertest.Collector{}}
	server, collector := httptest.NewServer(p.models), httptest.NewServer(p.collector)
	t.Cleanup(server.Close)
	t.Cleanup(collector.Close)
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	outside := t.TempDir() // the secrets' own files
	t.Setenv("PLANTED", outside)
	write := func(dir, name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, identity.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(w, planted["age"])
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	write(outside, "identity.txt", identity.String()+"\n")
	write(outside, "horse.age", sealed.String())
	write(outside, "key.pem", planted["file"]+"\n")
	for name, text := range plantedFiles {
		text = strings.NewReplacer("@PYTHON@", python, "@URL@", server.URL, "@OUT@", outside).Replace(text)
		write(p.dir, name, text)
	}
	write(outside, "pin.txt", planted["pin"])
	if err := os.Symlink(filepath.Join(outside, "pin.txt"), filepath.Join(p.dir, "pin.txt")); err != nil {
		t.Fatal(err)
	}
	temp := filepath.Join(p.dir, "tmp")
	if err := os.Mkdir(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	p.env = []string{"PATH=" + filepath.Dir(python) + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + p.dir, "TMPDIR=" + temp,
		"USER=tester", "GLEITZEIT_STORE=" + filepath.Join(p.dir, "store"), "GLEITZEIT_LOG_LEVEL=debug",
		"GLEITZEIT_AGE_IDENTITY=" + filepath.Join(outside, "identity.txt"),
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL,
		"TOKEN=" + planted["env"], "LLM_KEY=" + planted["llm"], "MCP_KEY=" + planted["mcp"]}
	return p
}

// command is gleitzeit with the arguments, whose output is kept.
func (p *plantation) command(args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.Command("gleitzeit", args...)
	cmd.Dir, cmd.Env = p.dir, p.env
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

// gleitzeit runs it and wants that exit code.
func (p *plantation) gleitzeit(code int, args ...string) string {
	p.t.Helper()
	cmd, out := p.command(args...)
	err := cmd.Run()
	p.said.Write(out.Bytes())
	if got := codeOf(err); got != code {
		p.t.Fatalf("gleitzeit %v: exit code %d, want %d\n%s", args, got, code, out)
	}
	return out.String()
}

// kill starts it and kills it when the file "started" is there.
func (p *plantation) kill(args ...string) {
	p.t.Helper()
	cmd, out := p.command(args...)
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(p.dir, "started")); err == nil {
			break
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	p.said.Write(out.Bytes())
}

func (p *plantation) without(name string) (env []string) {
	for _, v := range p.env {
		if !strings.HasPrefix(v, name+"=") {
			env = append(env, v)
		}
	}
	return env
}

// holds fails the test if the text holds a secret in any form.
func (p *plantation) holds(what string, text []byte) {
	p.t.Helper()
	for kind, secret := range planted {
		for _, form := range formsOf(secret) {
			if i := bytes.Index(text, []byte(form)); i >= 0 {
				p.t.Errorf("%s: the secret of kind %s, as %q: …%s…", what, kind, form, text[max(0, i-200):min(len(text), i+200)])
			}
		}
	}
}

// formsOf are the ways in which a secret may be written: made here by other
// means than the program's own.
func formsOf(secret string) (forms []string) {
	forms = append(forms, secret, url.QueryEscape(secret), url.PathEscape(secret))
	for _, line := range strings.Split(secret, "\n") {
		if len(line) > 20 {
			forms = append(forms, line)
		}
	}
	inJSON, _ := json.Marshal(secret)
	forms = append(forms, strings.Trim(string(inJSON), `"`))
	for before := range 3 {
		text := strings.Repeat("x", before) + secret
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			whole := enc.EncodeToString([]byte(text[:len(text)/3*3]))
			forms = append(forms, whole[(before+1)/2*4:])
		}
	}
	return forms
}

// files looks through every file of the folder, the store's included.
func (p *plantation) files() {
	looked := 0
	err := filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		looked++
		p.holds(path, text)
		return err
	})
	if err != nil || looked < 10 {
		p.t.Errorf("looked through %d files: %v", looked, err)
	}
}

// records looks through all that the log has, uncompressed.
func (p *plantation) records() {
	log, err := eventlog.Open(filepath.Join(p.dir, "store"), eventlog.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	looked := 0
	for rec, err := range log.Read(1) {
		if err != nil {
			p.t.Fatal(err)
		}
		looked++
		p.holds(fmt.Sprintf("record %d (%s) of %s", rec.Seq, rec.Type, rec.Stream), rec.Data)
		for _, hash := range rec.Refs {
			value, err := log.Value(hash)
			if err != nil {
				p.t.Fatal(err)
			}
			p.holds(fmt.Sprintf("a value of record %d (%s)", rec.Seq, rec.Type), value)
		}
	}
	for c, err := range log.Checkpoints("") {
		if err != nil {
			p.t.Fatal(err)
		}
		p.holds("the checkpoint of "+c.Stream, c.Data)
	}
	if looked < 60 {
		p.t.Errorf("looked through %d records", looked)
	}
}

// quoter is a server of language models that quotes what it was sent.
type quoter struct {
	mu   sync.Mutex
	auth string
}

func (m *quoter) seen() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.auth
}

func (m *quoter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	if auth := r.Header.Get("Authorization"); auth != "" {
		m.auth = auth
	}
	auth := m.auth
	m.mu.Unlock()
	s := &llmtest.Server{Answer: func(q llmtest.Request) llmtest.Reply {
		raw, _ := json.Marshal(q)
		return llmtest.Reply{Text: "You sent " + auth + " and " + string(raw)}
	}}
	if r.URL.Query().Get("x") == "" && strings.Contains(r.Header.Get("X-Mode"), "refuse") {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"error": {"message": "Incorrect API key provided: %s (%s)"}}`, auth, url.QueryEscape(auth))
		return
	}
	s.ServeHTTP(w, r)
}

// plantedFiles are the workflows of the test, its configuration and a talkative
// MCP server.
var plantedFiles = map[string]string{
	"gleitzeit.yaml": `
secrets: {LLM: env:LLM_KEY, MCP: env:MCP_KEY}
providers:
  gpu: {kind: openai, url: "@URL@/v1", model: m, headers: {Authorization: "Bearer ${secrets.LLM}"}}
  closed: {kind: openai, url: "@URL@/v1", model: m, headers: {Authorization: "Bearer ${secrets.LLM}", X-Mode: refuse}}
mcpServers:
  talker: {command: "@PYTHON@", args: [server.py, "--key", "${secrets.MCP}"], env: {KEY: "${secrets.MCP}"}}
`,
	"flow.yaml": `
name: flow
inputs: {pin: {secret: true, required: true}}
secrets: {TOKEN: env:TOKEN, KEY: "file:@OUT@/key.pem", HORSE: "age:@OUT@/horse.age"}
env: {ALL: "${secrets.HORSE}"}
tasks:
  - id: echo
    method: echo/echo
    parameters: {token: "Bearer ${secrets.TOKEN}", "pem": "${secrets.KEY}", list: [{horse: "${secrets.HORSE}"}], pin: "${inputs.pin}"}
  - id: python
    method: python/execute
    env: {TOKEN: "${secrets.TOKEN}", PEM: "${secrets.KEY}", PIN: "${inputs.pin}"}
    parameters:
      context: {given: "${secrets.TOKEN}"}
      code: |
        import base64, html, json, os, sys, urllib.parse
        all = [os.environ[n] for n in ("TOKEN", "PEM", "ALL", "PIN")] + [given, ${secrets.KEY}]
        forms = []
        for s in all:
            b = s.encode()
            forms += [s, repr(s), json.dumps(s), json.dumps(s, ensure_ascii=False), json.dumps({"in": json.dumps(s)}),
                      urllib.parse.quote(s), urllib.parse.quote(s, safe=""), urllib.parse.quote_plus(s), html.escape(s), b.hex()]
            for n in range(4):
                forms += [f(b"u" * n + b + b"!" * n).decode() for f in (base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes)]
        for f in forms:
            print(f)
            print(f, file=sys.stderr)
        sys.stdout.flush()
        result = {"forms": forms, given: int(os.environ["PIN"]), "number": int(os.environ["PIN"]), "bytes": repr(given.encode())[:1]}
  - id: raises
    method: python/execute
    continue_on_error: true
    env: {TOKEN: "${secrets.TOKEN}"}
    parameters:
      code: |
        import os
        raise ValueError("bad token " + os.environ["TOKEN"] + " " + repr(os.environ["ALL"]))
  - id: tool
    method: mcp/tool.talk
    parameters: {text: "tell ${secrets.TOKEN}"}
  - id: broken
    method: mcp/tool.fail
    continue_on_error: true
    parameters: {text: "tell ${secrets.TOKEN}"}
  - id: chat
    method: llm/chat
    provider: gpu
    parameters: {messages: [{role: user, content: "the horse is ${secrets.HORSE}"}]}
  - id: refused
    method: llm/chat
    provider: closed
    continue_on_error: true
    parameters: {prompt: "the horse is ${secrets.HORSE}"}
  - id: cached
    method: echo/echo
    cache: true
    parameters: {token: "${secrets.TOKEN}"}
  - id: child
    method: workflow/run
    parameters: {file: child.yaml, inputs: {key: "${secrets.TOKEN}", pin: "${inputs.pin}"}}
outputs: {python: "${python}", echo: "${echo}", tool: "${tool}", chat: "${chat.content}", child: "${child}", why: "${raises.error}", all: "${inputs}"}
`,
	"child.yaml": `
name: child
inputs: {key: {secret: true, required: true}, pin: {secret: true, required: true}}
tasks: [{id: say, method: echo/echo, parameters: {text: "<${inputs.key}> ${inputs.pin}"}}]
outputs: {text: "${say.text}"}
`,
	"failing.yaml": `
name: failing
secrets: {TOKEN: env:TOKEN}
tasks:
  - id: fails
    method: python/execute
    env: {TOKEN: "${secrets.TOKEN}"}
    parameters: {code: "import os, sys; print(os.environ['TOKEN']); sys.exit('no: ' + os.environ['TOKEN'])"}
`,
	"misfit.yaml": `
name: misfit
inputs: {pin: {secret: true, required: true}}
tasks:
  - {id: fails, method: echo/delay, parameters: {seconds: "${inputs.pin}"}}
`,
	"slow.yaml": `
name: slow
secrets: {TOKEN: env:TOKEN}
tasks:
  - id: slow
    method: python/execute
    env: {TOKEN: "${secrets.TOKEN}"}
    parameters: {write: [.], code: "import os, time; print(os.environ['TOKEN'], flush=True); open('started', 'w').close(); time.sleep(0 if ${run.attempt} > 1 else 60)"}
  - {id: after, method: echo/echo, dependencies: [slow], parameters: {token: "${secrets.TOKEN}"}}
`,
	"server.py": `
import json, os, sys
print("the server has", os.environ["KEY"], sys.argv, file=sys.stderr, flush=True)
schema = {"type": "object", "properties": {"text": {"type": "string"}}}
for line in sys.stdin:
    call = json.loads(line)
    if "id" not in call:
        continue
    name = call.get("params", {}).get("name")
    if call["method"] == "initialize":
        result = {"protocolVersion": call["params"]["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "talker", "version": "1"}}
    elif call["method"] == "tools/list":
        result = {"tools": [{"name": n, "inputSchema": schema} for n in ("talk", "fail")]}
    elif call["method"] == "tools/call":
        text = json.dumps({"args": call["params"]["arguments"], "env": os.environ["KEY"], "argv": sys.argv})
        print("called with", text, file=sys.stderr, flush=True)
        result = {"content": [{"type": "text", "text": text}], "isError": name == "fail"}
    else:
        result = {}
    print(json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": result}), flush=True)
`,
}
