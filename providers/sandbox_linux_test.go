//go:build amd64 || arm64

package providers

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gleitzeit/protocols"
)

// This file attacks the sandbox from inside, with a program in Python.

// needSandbox tells loudly what this kernel can't enforce, and skips then.
func needSandbox(t testing.TB) {
	t.Helper()
	if lacking := kernel().lacking(); len(lacking) > 0 {
		t.Skipf("SKIPPED: this kernel (%+v) can't enforce: %s", kernel(), strings.Join(lacking, "; "))
	}
}

// prison is a place to break out of.
type prison struct {
	set                *Set
	dir, home, outside string
}

func newPrison(t *testing.T, warm bool, box SandboxConfig) *prison {
	t.Helper()
	needPython(t)
	needSandbox(t)
	p := &prison{dir: t.TempDir(), home: t.TempDir(), outside: t.TempDir()}
	for path, text := range map[string]string{p.home + "/secret": "the key", p.outside + "/file": "as it was", p.dir + "/own.txt": "own"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(Config{Providers: map[string]ProviderConfig{"python": {Kind: "python", Command: realPython(), Warm: &warm, Sandbox: box}}},
		Options{Env: func(name string) string {
			if name == "HOME" {
				return p.home
			}
			return os.Getenv(name)
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	p.set = s
	return p
}

func (p *prison) run(t *testing.T, code string, pairs ...any) (pythonAnswer, error) {
	t.Helper()
	context := map[string]any{"home": p.home, "outside": p.outside, "parent": os.Getpid()}
	return execute(t, p.set, Call{Dir: p.dir, Parameters: parameters(t, append([]any{"code", code, "context", context}, pairs...)...)}, nil)
}

// attacks are stopped, each with that message.
var attacks = []struct{ name, code, want string }{
	{"read the home folder", `open(home + "/secret").read()`, "PermissionError: [Errno 13] Permission denied: '{home}/secret' (line 1): it lies outside of the sandbox; name its folder in `write`, or in `read` of the provider's sandbox"},
	{"list the home folder", "import os\nos.listdir(home)", "outside of the sandbox"},
	{"read through a link", "import os\nos.symlink(home + '/secret', os.environ['TMPDIR'] + '/link')\nopen(os.environ['TMPDIR'] + '/link').read()", "outside of the sandbox"},
	{"read with another program", "import subprocess\nsubprocess.run(['cat', home + '/secret'], check=True, stderr=subprocess.DEVNULL)", "returned non-zero exit status 1"},
	{"read shadow", "open('/etc/shadow').read()", "Permission denied: '/etc/shadow'"},
	{"read the parent's variables", "open('/proc/%d/environ' % parent, 'rb').read()", "Permission denied"},
	{"write the home folder", `open(home + "/new", "w")`, "outside of the sandbox"},
	{"write outside", `open(outside + "/file", "w")`, "outside of the sandbox"},
	{"append outside", `open(outside + "/file", "a")`, "outside of the sandbox"},
	{"truncate outside", "import os\nos.truncate(outside + '/file', 0)", "outside of the sandbox"},
	{"delete outside", "import os\nos.unlink(outside + '/file')", "outside of the sandbox"},
	{"rename outside", "import os\nos.rename(outside + '/file', outside + '/other')", "outside of the sandbox"},
	{"link in from outside", "import os\nos.link(outside + '/file', os.environ['TMPDIR'] + '/file')", "Errno 1"},
	{"make a folder outside", "import os\nos.mkdir(outside + '/folder')", "outside of the sandbox"},
	{"write the workflow's folder", `open("own.txt", "w")`, "PermissionError: [Errno 13] Permission denied: 'own.txt' (line 1): the sandbox lets it only be read; name its folder in `write`"},
	{"write shared memory", `open("/dev/shm/gleitzeit-test", "w")`, "outside of the sandbox"},
	{"mount", "import ctypes, os\nif ctypes.CDLL(None, use_errno=True).mount(b'none', b'/mnt', b'tmpfs', 0, None): raise OSError(ctypes.get_errno(), 'mount')", "[Errno 1] mount"},
	{"a namespace of its own", "import ctypes\nif ctypes.CDLL(None, use_errno=True).unshare(0x10000000): raise OSError(ctypes.get_errno(), 'unshare')", "[Errno 1] unshare"},
	{"open a TCP socket", "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_STREAM)", "PermissionError: [Errno 13] Permission denied (line 2): the sandbox has no network; `network: true` gives one"},
	{"open a TCP socket for IPv6", "import socket\nsocket.socket(socket.AF_INET6, socket.SOCK_STREAM)", "no network"},
	{"open a UDP socket", "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM)", "no network"},
	{"open a Unix socket", "import socket\nsocket.socket(socket.AF_UNIX)", "no network"},
	{"open a raw socket", "import socket\nsocket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "no network"},
	{"send on a pair of sockets", "import socket\nsocket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)", "no network"},
	{"download", "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:1/')", "no network"},
	{"eat memory", `x = bytearray(1 << 30)`, "MemoryError (line 1): the sandbox's `memory` is 512MiB"},
	{"eat memory bit by bit", "x = []\nwhile True: x.append(bytearray(1 << 20))", "MemoryError (line 2): the sandbox's `memory` is 512MiB"},
	{"fill the disk", "import os\nwith open(os.environ['TMPDIR'] + '/big', 'wb') as f:\n  while True: f.write(b'x' * (1 << 20))", "OSError: [Errno 27] File too large (line 3): the sandbox's `file_size` is 8MiB"},
	{"compute for ever", "while True: pass", "Python used up its 1s of computing time: the sandbox's `cpu`"},
	{"fork for ever", "import os, time\nn = 0\nwhile True:\n  if os.fork() == 0: time.sleep(1000)\n  n += 1\n  if n > 10000: break", "Python was ended, for it had more than 16 processes or 1024 threads at once: the sandbox's `processes`"},
	{"fork for ever, all of them", "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass", "more than 16 processes"},
	{"fork for ever in a shell", "import subprocess\nsubprocess.run(['sh', '-c', 'f() { f | f & }; f; sleep 1000'])", "more than 16 processes"},
	{"signal the parent", "import os, signal\nos.kill(parent, signal.SIGTERM)", "PermissionError: [Errno 1] Operation not permitted (line 2): the sandbox may have refused it"},
	{"signal the warm interpreter", "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)", "Operation not permitted"},
	{"find out that the parent is there", "import os\nos.kill(parent, 0)", "Operation not permitted"},
	{"run the parent out of time", "import resource\nresource.prlimit(parent, resource.RLIMIT_CPU, (1, 1))", "Operation not permitted"},
	{"slow the parent down", "import os\nos.setpriority(os.PRIO_PROCESS, parent, 19)", "Operation not permitted"},
	{"trace the parent", "import ctypes\nif ctypes.CDLL(None, use_errno=True).ptrace(16, parent, 0, 0) < 0: raise OSError(ctypes.get_errno(), 'ptrace')", "[Errno 1] ptrace"},
	{"lift a limit", "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))", "not allowed to raise maximum limit"},
}

func TestSandboxHolds(t *testing.T) {
	for name, warm := range map[string]bool{"warm": true, "cold": false} {
		t.Run(name, func(t *testing.T) {
			p := newPrison(t, warm, SandboxConfig{Memory: "512MiB", FileSize: "8MiB", CPU: "1s", Processes: "16"})
			for _, attack := range attacks {
				t.Run(attack.name, func(t *testing.T) {
					_, err := p.run(t, attack.code)
					want := strings.ReplaceAll(attack.want, "{home}", p.home)
					if e, _ := failureOf(t, err, protocols.TaskExecutionFailed); !strings.Contains(e.Message, want) {
						t.Errorf("message %q, want %q", e.Message, want)
					}
				})
			}
			if text, err := os.ReadFile(p.outside + "/file"); string(text) != "as it was" {
				t.Errorf("the file outside has %q, %v", text, err)
			}
		})
	}
}

// The same attacks succeed without a sandbox: it is what stops them. Those that
// would do harm are left out.
func TestSandboxIsWhatHolds(t *testing.T) {
	no := false
	p := newPrison(t, true, SandboxConfig{Enabled: &no})
	for _, attack := range attacks {
		switch attack.name {
		case "read the home folder", "write outside", "write the workflow's folder", "open a TCP socket", "open a UDP socket",
			"open a Unix socket", "eat memory", "find out that the parent is there", "read with another program":
			if _, err := p.run(t, attack.code); err != nil {
				t.Errorf("%s: %v", attack.name, err)
			}
		}
	}
}

// Threads are not processes, and are bounded by themselves.
func TestSandboxThreads(t *testing.T) {
	p := newPrison(t, true, SandboxConfig{Processes: "2"})
	_, err := p.run(t, "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()")
	if e, _ := failureOf(t, err, protocols.TaskExecutionFailed); !strings.Contains(e.Message, "more than 2 processes or 128 threads at once") {
		t.Error(e)
	}
}

// A crowd is counted by what has begun, or if that can't be known, as a whole.
func TestCrowd(t *testing.T) {
	const most = 3
	for _, known := range []bool{true, false} {
		cmd := exec.Command("sh", "-c", "for i in 1 2 3 4 5 6; do read line; sleep 1000 & done; wait")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		in, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		c := &crowd{most: most, group: cmd.Process.Pid, last: cmd.Process.Pid, members: []int{cmd.Process.Pid}}
		if known {
			c.open(c.group)
		}
		for n := 1; n <= most; n++ {
			if c.look(); c.over.Load() {
				t.Errorf("known %v: %d are too many", known, len(c.members))
			}
			fmt.Fprintln(in)
			waitForGroup(t, c.group, n+1)
		}
		for range 2 {
			c.look()
		}
		if !c.over.Load() {
			t.Errorf("known %v: %d of %d are not too many", known, len(c.members), most)
		}
		c.shut()
		group{c.group}.kill()
		in.Close()
		_ = cmd.Wait()
	}
	n := numbers{size: 1 << 15}
	if a, b := n.next(5), n.next(1<<15-1); a != 6 || b != 0 {
		t.Errorf("the numbers behind: %d, %d", a, b)
	}
}

// waitForGroup waits until a group has so many processes.
func waitForGroup(t *testing.T, group, want int) {
	t.Helper()
	for deadline := time.Now().Add(tooLong); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		c := &crowd{most: 1000, group: group}
		if c.list(); len(c.members) == want {
			return
		}
	}
	t.Fatalf("the group never had %d processes", want)
}

// What tries to outlive the call by leaving its group ends with it.
func TestSandboxNothingOutlivesItsTimeout(t *testing.T) {
	p := newPrison(t, true, SandboxConfig{})
	runaway := `
import os, signal, time
for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(n, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    os.setpgid(0, 0)
    if os.fork() == 0:
        os.setsid()
        print(os.getpid(), flush=True)
        time.sleep(1000)
    os._exit(0)
`
	for name, end := range map[string]string{"timeout": "time.sleep(1000)", "success": "time.sleep(0.5)"} {
		t.Run(name, func(t *testing.T) {
			host := newLines()
			_, err := execute(t, p.set, Call{Dir: p.dir, Parameters: parameters(t, "code", runaway+end, "timeout", 2)}, host)
			if name == "timeout" {
				failureOf(t, err, protocols.TaskTimeout)
			} else if err != nil {
				t.Fatal(err)
			}
			wantGone(t, pidOf(t, host.next(t)))
		})
	}
	a, err := p.run(t, "import subprocess\nresult = subprocess.Popen(['sleep', '1000'], start_new_session=True).pid")
	if err != nil {
		t.Fatal(err)
	}
	wantGone(t, pidOf(t, string(a.Result)))
}

// Ordinary programs notice nothing.
func TestSandboxLetsWork(t *testing.T) {
	p := newPrison(t, true, SandboxConfig{Processes: "16"})
	for _, test := range []struct{ name, code, want string }{
		{"read its own folder", "open('own.txt').read()", `"own"`},
		{"temporary files", "import tempfile\nwith tempfile.TemporaryDirectory() as d:\n  open(d + '/x', 'w').write('1')\n  result = open(d + '/x').read()", `"1"`},
		{"other programs", "import subprocess\nresult = subprocess.run(['cat'], input='a\\n', capture_output=True, text=True).stdout", `"a\n"`},
		{"a pipeline of a shell", "import subprocess\nfor _ in range(20): result = subprocess.run('echo a | cat', shell=True, check=True, capture_output=True, text=True).stdout", `"a\n"`},
		{"many of them in turn", "import subprocess\nfor _ in range(40): subprocess.run(['true'], check=True)\nresult = 'done'", `"done"`},
		{"threads", "import concurrent.futures\nwith concurrent.futures.ThreadPoolExecutor(40) as pool: result = sum(pool.map(abs, range(-100, 0)))", `5050`},
		{"asyncio", "import asyncio\nasync def f(): await asyncio.sleep(0); return 5\nresult = asyncio.run(f())", `5`},
		{"its own children's signals", "import subprocess\nc = subprocess.Popen(['sleep', '1000']); c.terminate(); result = c.wait()", `-15`},
		{"the library", "import ssl, sqlite3, zoneinfo, decimal, ctypes\nresult = sqlite3.connect(':memory:').execute('select 1').fetchone()[0]", `1`},
		{"devices", "open('/dev/null', 'w').write('x'); len(open('/dev/urandom', 'rb').read(4))", `4`},
		{"change a mode", "import os, shutil\nd = os.environ['TMPDIR']; open(d + '/a', 'w').close(); shutil.copy2(d + '/a', d + '/b'); result = 1", `1`},
	} {
		if a, err := p.run(t, test.code); err != nil || string(a.Result) != test.want {
			t.Errorf("%s: %s, %v, want %s", test.name, a.Result, err, test.want)
		}
	}
}

func TestSandboxWrite(t *testing.T) {
	p := newPrison(t, true, SandboxConfig{})
	granted := filepath.Join(t.TempDir(), "granted")
	q := newPrison(t, true, SandboxConfig{Write: []string{granted}, Read: []string{p.outside}})
	write := "import os\nopen(path, 'w').write('x'); os.mkdir(path + '.d'); os.rename(path, path + '.d/moved'); result = os.listdir(path + '.d')"
	try := func(p *prison, path string, pairs ...any) (pythonAnswer, error) {
		return p.run(t, "path = "+fmt.Sprintf("%q", path)+"\n"+write, pairs...)
	}
	if a, err := try(p, "out/deep/file", "write", []string{"out/deep"}); err != nil || string(a.Result) != `["moved"]` {
		t.Errorf("%s, %v", a.Result, err)
	}
	if _, err := try(p, "out/file", "write", []string{"out/deep"}); err == nil {
		t.Error("wrote beside the folder")
	}
	if a, err := try(q, granted+"/file"); err != nil || string(a.Result) != `["moved"]` {
		t.Errorf("%s, %v", a.Result, err)
	}
	if _, err := try(q, "below/file", "write", []string{granted + "/below"}); err == nil {
		t.Error("wrote into the workflow's folder")
	}
	if a, err := q.run(t, fmt.Sprintf("open(%q).read()", p.outside+"/file")); err != nil || string(a.Result) != `"as it was"` {
		t.Errorf("%s, %v", a.Result, err)
	}
	if err := os.Symlink(p.outside, p.dir+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"..", "/", p.outside, p.home, "link", "link/new", "out/../..", ""} {
		_, err := p.run(t, "1", "write", []string{folder})
		if e := wantError(t, err, protocols.AuthorizationFailed); !strings.Contains(e.Message, "neither below the workflow's folder") {
			t.Errorf("%s: %v", folder, e)
		}
	}
}

func TestSandboxNetwork(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			c.Close()
		}
	}()
	yes, no := true, false
	code := fmt.Sprintf("import socket\nresult = socket.create_connection(('localhost', %d)).recv(10).decode()", listener.Addr().(*net.TCPAddr).Port)
	p := newPrison(t, true, SandboxConfig{})
	if a, err := p.run(t, code, "network", true); err != nil || string(a.Result) != `"hello"` {
		t.Errorf("%s, %v", a.Result, err)
	}
	if _, err := p.run(t, "import socket\nsocket.socket(socket.AF_UNIX)", "network", true); err == nil {
		t.Error("a Unix socket")
	}
	if _, err := p.run(t, code); err == nil {
		t.Error("connected")
	}
	if a, err := newPrison(t, true, SandboxConfig{Network: &yes}).run(t, code); err != nil || string(a.Result) != `"hello"` {
		t.Errorf("%s, %v", a.Result, err)
	}
	_, err = newPrison(t, true, SandboxConfig{Network: &no}).run(t, code, "network", true)
	wantError(t, err, protocols.AuthorizationFailed)
}

// Before Landlock 6 somebody is asked about each signal.
func TestSandboxSignalsWithoutLandlock(t *testing.T) {
	needSandbox(t)
	needPython(t)
	for _, abi := range []int{0, 1, 5} {
		k := kernelFeatures{Landlock: abi, Seccomp: true, Listen: true}
		for code, want := range map[string]string{
			"import os\nos.kill(%d, 0)": "PermissionError",
			"import os\nos.kill(-1, 0)": "PermissionError",
			"import os, subprocess\nc = subprocess.Popen(['sleep', '1000']); c.kill(); c.wait(); os.kill(os.getpid(), 0); os.killpg(os.getpgrp(), 0); print('fine')": "fine",
		} {
			if strings.Contains(code, "%d") {
				code = fmt.Sprintf(code, os.Getpid())
			}
			if out := runConfined(t, k, code); !strings.Contains(out, want) {
				t.Errorf("Landlock %d: %s: %s, want %s", abi, code, out, want)
			}
		}
	}
}

// runConfined runs code as if the kernel had no more than k.
func runConfined(t *testing.T, k kernelFeatures, code string) string {
	t.Helper()
	kids := &children{}
	defer kids.close()
	box := &sandbox{Read: []string{"/"}, Limits: defaultLimits}
	ready, err := box.confineFor(k)
	if err != nil {
		t.Fatal(err)
	}
	defer ready.close()
	told, err := json.Marshal(ready)
	if err != nil {
		t.Fatal(err)
	}
	source := "import sys, os, binascii, json\n" + pythonSandbox + fmt.Sprintf("\nconfine(json.loads(%q), *range(4, %d))\n%s\n", told, 4+len(ready.files), code)
	kid, err := kids.start(command{Path: realPython(), Args: []string{"-c", source}, Back: true, Files: ready.files, Env: os.Environ()})
	if err != nil {
		t.Fatal(err)
	}
	ready.handedDown()
	ready.watch(kid)
	var out excerpt
	out.First = 4096
	host := newLines()
	copyLines(&out, kid.Out, host, "")
	copyLines(&out, kid.Err, host, "")
	kid.await(patience(t, tooLong), 0)
	kid.closePipes()
	return out.String()
}

// A sandbox that can't be taken on lets nothing run.
func TestSandboxFailsClosed(t *testing.T) {
	needSandbox(t)
	code := "print('it ran')"
	broken := "confine({'limits': {}, 'landlock': 13, 'filter': '', 'listen': False, 'seccomp': 0, 'nice': 0}, os.open('/dev/null', 0))\n"
	out, err := exec.Command(realPython(), "-c", "import sys, os, binascii\n"+pythonSandbox+broken+code).CombinedOutput()
	if err == nil || strings.Contains(string(out), "it ran") || !strings.Contains(string(out), "landlock_add_rule") {
		t.Errorf("%v\n%s", err, out)
	}
}

// The attacks are stopped for an ordinary user, too.
func TestSandboxHoldsForNobody(t *testing.T) {
	needSandbox(t)
	python := "/usr/bin/python3"
	if os.Geteuid() != 0 {
		t.Skip("this is an ordinary user")
	}
	if _, err := os.Stat(python); err != nil {
		t.Skipf("SKIPPED: nobody has %s", python)
	}
	dir, err := os.MkdirTemp("/tmp", "gleitzeit-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	binary, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = os.WriteFile(dir+"/test", binary, 0o755)
	}
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*tooLong)
	defer cancel()
	cmd := exec.CommandContext(ctx, dir+"/test", "-test.run", "^TestSandbox(Holds|LetsWork|NothingOutlivesItsTimeout|Write)$", "-test.v")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + dir, "TMPDIR=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "SKIP") || strings.Count(string(out), "--- PASS") < 2*len(attacks) {
		t.Errorf("%v\n%s", err, out)
	}
}

// judged runs a filter on one system call, as the kernel would.
func judged(t *testing.T, filter []byte, arch, call uint32, args ...uint64) uint32 {
	t.Helper()
	data := binary.NativeEndian.AppendUint32(nil, call)
	data = binary.NativeEndian.AppendUint32(data, arch)
	data = append(data, make([]byte, 8)...)
	for i := range 6 {
		var arg uint64
		if i < len(args) {
			arg = args[i]
		}
		data = binary.NativeEndian.AppendUint64(data, arg)
	}
	var loaded uint32
	for at := 0; at < len(filter)/8; at++ {
		line := filter[8*at:]
		code, k := binary.NativeEndian.Uint16(line), binary.NativeEndian.Uint32(line[4:])
		hit := false
		switch code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			loaded = binary.NativeEndian.Uint32(data[k:])
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			loaded &= k
			continue
		case unix.BPF_RET | unix.BPF_K:
			return k
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			hit = loaded == k
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			hit = loaded&k != 0
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			hit = loaded >= k
		default:
			t.Fatalf("instruction %d is %#x", at, code)
		}
		if hit {
			at += int(line[2])
		} else {
			at += int(line[3])
		}
	}
	t.Fatal("the filter doesn't end")
	return 0
}

// Every call has the end that the tables say, whatever stands before it.
func TestSandboxFilter(t *testing.T) {
	needSandbox(t)
	shut, open := &sandbox{Limits: defaultLimits}, &sandbox{Network: true}
	const every = math.MaxUint64 // -1
	type row struct {
		box  *sandbox
		call uint32
		args []uint64
		want uint32
	}
	rows := []row{
		{shut, unix.SYS_READ, nil, seccompAllow}, {shut, unix.SYS_OPENAT, nil, seccompAllow}, {shut, unix.SYS_EXIT_GROUP, nil, seccompAllow},
		{shut, unix.SYS_SOCKET, []uint64{unix.AF_UNIX}, seccompHide}, {shut, unix.SYS_SOCKET, []uint64{unix.AF_INET}, seccompHide},
		{open, unix.SYS_SOCKET, []uint64{unix.AF_UNIX}, seccompHide}, {open, unix.SYS_SOCKET, []uint64{unix.AF_INET6}, seccompAllow},
		{open, unix.SYS_SOCKET, []uint64{unix.AF_VSOCK}, seccompHide}, {open, unix.SYS_SOCKET, []uint64{unix.AF_NETLINK}, seccompAllow},
		{shut, unix.SYS_SOCKETPAIR, []uint64{unix.AF_UNIX, unix.SOCK_STREAM | unix.SOCK_CLOEXEC}, seccompAllow},
		{shut, unix.SYS_SOCKETPAIR, []uint64{unix.AF_UNIX, unix.SOCK_DGRAM}, seccompHide},
		{shut, unix.SYS_SETSID, nil, seccompFeign}, {shut, unix.SYS_SETPGID, nil, seccompFeign},
		{shut, unix.SYS_CLONE3, nil, seccompAbsent}, {shut, unix.SYS_IO_URING_SETUP, nil, seccompAbsent},
		{shut, unix.SYS_CLONE, []uint64{unix.CLONE_THREAD | unix.CLONE_VM}, seccompAllow}, {shut, unix.SYS_CLONE, []uint64{uint64(unix.SIGCHLD)}, seccompAllow},
		{open, unix.SYS_CLONE, []uint64{uint64(unix.SIGCHLD)}, seccompAllow}, {open, unix.SYS_CLONE, []uint64{unix.CLONE_NEWUSER}, seccompDeny},
		{open, unix.SYS_CLONE, []uint64{unix.CLONE_PARENT}, seccompDeny}, {shut, unix.SYS_IOCTL, []uint64{0, fioSetOwn}, seccompDeny},
		{shut, unix.SYS_FCNTL, []uint64{0, unix.F_SETOWN}, seccompDeny}, {shut, unix.SYS_FCNTL, []uint64{0, unix.F_GETFD}, seccompAllow},
		{shut, unix.SYS_PRLIMIT64, []uint64{0}, seccompAllow}, {shut, unix.SYS_PRLIMIT64, []uint64{1}, seccompDeny},
		{shut, unix.SYS_SETPRIORITY, []uint64{5, 0}, seccompAllow}, {shut, unix.SYS_SETPRIORITY, []uint64{0, 7}, seccompDeny},
		{shut, unix.SYS_PRCTL, []uint64{unix.PR_SET_PDEATHSIG}, seccompDeny}, {shut, unix.SYS_PRCTL, []uint64{unix.PR_SET_NAME}, seccompAllow},
		{shut, unix.SYS_IOCTL, []uint64{0, unix.TIOCSTI}, seccompDeny}, {shut, unix.SYS_IOCTL, []uint64{0, unix.TCGETS}, seccompAllow},
		{shut, unix.SYS_KILL, []uint64{every}, seccompDeny}, {shut, unix.SYS_KILL, []uint64{5}, seccompAsk}, {shut, unix.SYS_TGKILL, []uint64{5}, seccompAsk},
	}
	for _, call := range refused {
		rows = append(rows, row{shut, call, nil, seccompDeny}, row{open, call, nil, seccompDeny})
	}
	for _, r := range rows {
		if got := judged(t, r.box.filter(true, true), seccompArch, r.call, r.args...); got != r.want {
			t.Errorf("call %d%v: %#x, want %#x", r.call, r.args, got, r.want)
		}
	}
	if got := judged(t, shut.filter(true, false), seccompArch, unix.SYS_KILL, 5); got != seccompAllow {
		t.Errorf("kill: %#x", got)
	}
	for arch, call := range map[uint32]uint32{unix.AUDIT_ARCH_I386: unix.SYS_READ, seccompArch: seccompForeign + unix.SYS_READ} {
		if got := judged(t, shut.filter(true, false), arch, call); got != seccompAbsent {
			t.Errorf("a foreign call: %#x", got)
		}
	}
}

// A task may have less than the configuration allows, and never more.
func TestSandboxLimitsOfTask(t *testing.T) {
	for name, warm := range map[string]bool{"warm": true, "cold": false} {
		t.Run(name, func(t *testing.T) {
			p := newPrison(t, warm, SandboxConfig{Memory: "1GiB", FileSize: "8MiB", CPU: "1h", Processes: "16"})
			for _, test := range []struct {
				name   string
				limits map[string]any
				code   string
				want   string
			}{
				{"less memory", map[string]any{"memory": "512MiB"}, "x = bytearray(700 << 20)", "the sandbox's `memory` is 512MiB"},
				{"more memory", map[string]any{"memory": "1TiB"}, "x = bytearray(2 << 30)", "the sandbox's `memory` is 1GiB"},
				{"smaller files", map[string]any{"file_size": "1MiB"}, "import os\nwith open(os.environ['TMPDIR'] + '/f', 'wb') as f: f.write(b'x' * (2 << 20))", "the sandbox's `file_size` is 1MiB"},
				{"less computing", map[string]any{"cpu": "1s"}, "while True: pass", "Python used up its 1s of computing time"},
				{"fewer processes", map[string]any{"processes": 4}, "import os, time\nfor _ in range(8):\n  if os.fork() == 0: time.sleep(1000)\ntime.sleep(1000)", "more than 4 processes"},
			} {
				_, err := p.run(t, test.code, "limits", test.limits)
				if e, _ := failureOf(t, err, protocols.TaskExecutionFailed); !strings.Contains(e.Message, test.want) {
					t.Errorf("%s: message %q, want %q", test.name, e.Message, test.want)
				}
			}
			_, err := p.run(t, "1", "limits", map[string]any{"memory": "much"})
			if e := wantError(t, err, protocols.TaskParameterError); !strings.HasPrefix(e.Message, `limits.memory: "much": must be a size`) {
				t.Errorf("%s", e.Message)
			}
		})
	}
}

// Without a sandbox, too, the folder for temporary files is one of the call's own.
func TestScratchWithoutSandbox(t *testing.T) {
	off := false
	p := newPrison(t, true, SandboxConfig{Enabled: &off})
	a, err := p.run(t, "import tempfile\nresult = tempfile.mkdtemp()")
	var dir string
	if err != nil || json.Unmarshal(a.Result, &dir) != nil || dir == "" {
		t.Fatalf("%s, %v", a.Result, err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

func TestSandboxConfig(t *testing.T) {
	for text, want := range map[string]int64{"1B": 1, "512MiB": 512 << 20, "4 GiB": 4 << 30, "2GB": 2e9, "1kB": 1000, "none": 0} {
		if n, err := parseSize(text); err != nil || n != want {
			t.Errorf("%s: %d, %v", text, n, err)
		}
	}
	for _, text := range []string{"", "5", "GiB", "-1MiB", "0B", "1.5GiB", "1PiB", "999999999999TiB"} {
		if n, err := parseSize(text); err == nil {
			t.Errorf("%s: %d", text, n)
		}
	}
	c := Config{Providers: map[string]ProviderConfig{
		"python": {Kind: "python", Sandbox: SandboxConfig{Memory: "much", CPU: "1", FileSize: "0B", Processes: "-1"}},
		"echo":   {Kind: "echo", Sandbox: SandboxConfig{CPU: "5m"}},
	}}
	err := c.Validate()
	for _, part := range []string{"python.sandbox.memory", "python.sandbox.cpu", "python.sandbox.file_size", "python.sandbox.processes", "echo.sandbox: means nothing"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("no word of %s in %v", part, err)
		}
	}
	for n, want := range map[int64]string{4 << 30: "4GiB", 512 << 20: "512MiB", 1000: "1000B", 1 << 50: "1024TiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
