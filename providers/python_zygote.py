# A warm interpreter. It has everything loaded and forks a process for each
# request that comes over a socket; see python_warm_unix.go for the other side.


def serve(number):
    """Forks a process for each request, until the other side has gone.

    Returns in such a process only, with the descriptors that came with it.
    """
    import array
    import gc
    import select
    import resource  # not for us: those that we fork find it loaded
    import signal
    import socket

    del resource
    line = socket.socket(fileno=number)
    woken, wake = os.pipe()
    for fd in (woken, wake):
        os.set_blocking(fd, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    die_with_parent = parental()
    waiting = select.poll()
    for fd in (line.fileno(), woken):
        waiting.register(fd, select.POLLIN)
    litter = Litter(line)
    litter.say("hello", json.dumps({"paths": watched()}))
    libraries()
    gc.collect()
    gc.freeze()  # what is there already stays out of the way of every child's collections
    rest = b""
    while True:
        ready = [fd for fd, _ in waiting.poll()]
        if woken in ready:
            os.read(woken, 4096)
        litter.look()
        if line.fileno() not in ready:
            continue
        data, more, _, _ = line.recvmsg(1 << 16, socket.CMSG_SPACE(64))
        if not data:
            litter.abandon()
        numbers = array.array("i")
        for level, kind, content in more:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers.frombytes(content[:len(content) - len(content) % numbers.itemsize])
        *lines, rest = (rest + data).split(b"\n")
        for word, which in (entry.split() for entry in lines):
            if word == b"bury":
                litter.bury(int(which))
                continue
            try:
                pid = os.fork()
            except OSError:
                litter.say("pid", which.decode(), 0)
                continue
            if pid:
                litter.born(which.decode(), pid)
                continue
            die_with_parent()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setpgid(0, 0)
            line.close()
            os.close(woken)
            os.close(wake)
            return list(numbers)
        for fd in numbers:
            os.close(fd)


class Litter:
    """The processes that were forked, and what there is to say about them."""

    def __init__(self, line):
        self.line = line
        self.live = set()

    def say(self, *words):
        try:
            self.line.sendall((" ".join(map(str, words)) + "\n").encode())
        except OSError:
            self.abandon()

    def born(self, which, pid):
        try:
            os.setpgid(pid, pid)  # the child does it too: whoever comes first
        except OSError:
            pass
        self.live.add(pid)
        self.say("pid", which, pid)

    def look(self):
        """Says who has ended. They keep their numbers until they are buried."""
        for pid in list(self.live):
            code = ended(pid)
            if code is not None:
                self.live.discard(pid)
                self.say("end", pid, code)

    def bury(self, pid):
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass

    def abandon(self):
        """Nobody listens any more: nothing goes on."""
        import signal

        for pid in self.live:
            try:
                os.killpg(pid, signal.SIGKILL)
            except OSError:
                pass
        os._exit(0)


def ended(pid):
    """The exit code of a child that has ended, or minus the signal; else None."""
    if hasattr(os, "waitid"):
        state = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if state is None:
            return None
        return state.si_status if state.si_code == os.CLD_EXITED else -state.si_status
    done, status = os.waitpid(pid, os.WNOHANG)
    if not done:
        return None
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)


def parental():
    """A function that has the kernel kill us when our parent dies, where it can."""
    if sys.platform != "linux":
        return lambda: None
    import ctypes

    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def die_with_parent():
        prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
        if os.getppid() != parent:
            os._exit(1)

    return die_with_parent


def watched():
    """What makes this interpreter stale when it changes: itself, its environment, its packages."""
    paths = [sys.executable, os.path.join(sys.prefix, "pyvenv.cfg")]
    return paths + [p for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages")]
