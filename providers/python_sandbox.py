# The sandbox, as the process takes it on itself; sandbox_linux.go has made it ready.


def confine(box, *files):
    """Takes the sandbox on. What fails here must end the process: nothing may run without it.

    files are the rules, if there is a Landlock, and a socket, if the filter asks somebody.
    """
    files = list(files)
    if hasattr(os, "nice"):
        os.nice(box["nice"])
    try:
        import resource
    except ImportError:
        return  # Windows
    for name, most in box["limits"].items():
        # a second more of computing, so that it ends by a signal that says why
        limit(resource, getattr(resource, "RLIMIT_" + name, None), most, most + (name == "CPU"))
    if sys.platform != "linux":
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)

    def call(what, number, *args):
        result = libc.syscall(*map(ctypes.c_long, (number,) + args))
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, "%s: %s" % (what, os.strerror(code)))
        return result

    drop_capabilities(libc, ctypes)
    if libc.prctl(38, ctypes.c_long(1), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0)):  # PR_SET_NO_NEW_PRIVS
        raise OSError(ctypes.get_errno(), "no_new_privs")
    if box["landlock"]:
        rules = files.pop(0)
        for path in libraries():
            allow_reading(call, ctypes, rules, path, box["landlock"])
        call("landlock_restrict_self", 446, rules, 0)
        os.close(rules)
    if box["filter"]:
        asker = install(call, ctypes, box)
        if box["listen"]:
            hand_over(files.pop(0), asker)


def limit(resource, which, *most):
    """Lowers a limit, soft and hard, as far as it isn't lower already."""
    if which is None:
        return
    soft, hard = (m if now == resource.RLIM_INFINITY else min(now, m) for now, m in zip(resource.getrlimit(which), most))
    try:
        resource.setrlimit(which, (soft, hard))
    except (OSError, ValueError):
        if sys.platform == "linux":
            raise


def drop_capabilities(libc, ctypes):
    """Leaves root nothing but the right to read and write the files of others."""
    keep = 1 << 1  # CAP_DAC_OVERRIDE
    for capability in range(64):
        if not keep >> capability & 1 and libc.prctl(24, ctypes.c_long(capability), 0, 0, 0):  # PR_CAPBSET_DROP
            break  # there are no more, or for others than root none
    libc.prctl(47, ctypes.c_long(4), 0, 0, 0)  # PR_CAP_AMBIENT_CLEAR_ALL
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: low halves, then high ones
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    sets[:] = [sets[0] & keep, sets[1] & keep, 0, 0, 0, 0]
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


FOUND = []  # by libraries; a warm interpreter's children have it from there


def libraries():
    """Where this interpreter finds itself and its modules."""
    if not FOUND:
        paths = {sys.executable, os.path.realpath(sys.executable)}
        paths.update((sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix))
        paths.update(sys.path)
        FOUND.extend(p for p in paths if os.path.isabs(p) and os.path.realpath(p) != "/")
    return FOUND


def allow_reading(call, ctypes, rules, path, access):
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # it isn't there
    try:
        if not os.path.isdir(path):
            access &= ~8  # LANDLOCK_ACCESS_FS_READ_DIR
        rule = ctypes.create_string_buffer(access.to_bytes(8, sys.byteorder) + fd.to_bytes(4, sys.byteorder))
        call("landlock_add_rule", 445, rules, 1, ctypes.addressof(rule), 0)
    finally:
        os.close(fd)


def install(call, ctypes, box):
    """Installs the filter and returns the descriptor of its questions, if there are any."""
    program = ctypes.create_string_buffer(binascii.a2b_base64(box["filter"]))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("start", ctypes.c_void_p)]

    whole = Program((len(program) - 1) // 8, ctypes.addressof(program))
    return call("seccomp", box["seccomp"], 1, 8 if box["listen"] else 0, ctypes.addressof(whole))


def hand_over(line, fd):
    import array
    import socket

    with socket.socket(fileno=line) as door:
        door.sendmsg([b"?"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
    os.close(fd)
