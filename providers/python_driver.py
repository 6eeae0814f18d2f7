"""Runs one piece of Python for gleitzeit; see python.go for the two sides' agreement.

This text and then a request, one JSON object, come in on standard input. The
outcome, one JSON object, goes out on a pipe of its own, whose number is an
argument: what the code prints can't be taken for its result.
"""

import sys

if sys.path and sys.path[0] == "":
    del sys.path[0]  # no file of the working folder may pose as a module used here

import _ast
import binascii
import builtins
import json
import linecache
import os
import re
import time
import types

HIDDEN = "<value>"  # no code can name a variable like this
DRIVER = "<gleitzeit>"  # what our own frames are called


class Unfit(Exception):
    """A result that JSON can't hold."""


class UnfitType(Unfit):
    """A result of a type that JSON has nothing for."""


class Channel:
    """The way back, closed to every process that the code starts."""

    def __init__(self, number, nonce):
        self.nonce = nonce
        self.owner = os.getpid()
        if os.name == "nt":
            import msvcrt

            os.set_handle_inheritable(number, False)
            self.fd = msvcrt.open_osfhandle(number, os.O_WRONLY | os.O_BINARY)
            return
        import fcntl

        try:  # out of the way of code that closes or writes low descriptors
            self.fd = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 200)
        except OSError:
            self.fd = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
        os.close(number)

    def send(self, outcome):
        """Hands the outcome over, once. A fork that the code made says why it failed, no more."""
        if os.getpid() != self.owner:
            if isinstance(outcome, dict):
                sys.stderr.write(outcome.get("traceback", ""))
            return
        body = outcome if isinstance(outcome, bytes) else json.dumps(outcome).encode()
        frame = memoryview(self.nonce.encode() + b"%016x" % len(body) + body)
        try:
            while frame:
                frame = frame[os.write(self.fd, frame):]
            os.close(self.fd)
        except OSError as e:
            sys.exit("the code closed the descriptor that its result goes out on: %s" % e)


def unlimited_digits(limit):
    """Lets integers of any size be read and written; returns the limit in force."""
    if not hasattr(sys, "set_int_max_str_digits"):
        return 0
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(limit)
    return before


# What JSON can hold.

def plain(value, path, above):
    """The value as what json writes: numbers stay numbers, containers stay containers.

    tuple, set, frozenset, range, deque, dict views: list (sets sorted if they can be)
    date, time, datetime: ISO 8601; timedelta: seconds
    bytes, bytearray: {"$base64": text}
    dataclass, mapping: object; Enum: its value
    Decimal, Fraction, UUID, Path: text
    numpy scalars and arrays: numbers and lists

    path is the way to the value, innermost first: (path of what holds it, key);
    above has the ids of the containers that hold it.
    """
    kind = type(value)
    if value is None or kind is bool or kind is int or kind is str:
        return value
    if kind is float:
        return finite(value, path)
    if id(value) in above:
        raise Unfit("%s contains itself" % spelled(path))
    above.add(id(value))
    if kind is list or kind is tuple:
        result = [plain(v, (path, i), above) for i, v in enumerate(value)]
    elif kind is dict:
        result = mapping(value, path, above)
    else:
        result = uncommon(value, path, above)
    above.discard(id(value))
    return result


def spelled(path):
    keys = []
    while path:
        path, key = path
        keys.append("[%s]" % (key if key == "…" else repr(key)))
    return clip("result" + "".join(reversed(keys)), 200)


def finite(value, path):
    if value != value or value in (float("inf"), float("-inf")):
        raise Unfit("%s is %r, which JSON has no number for" % (spelled(path), value))
    return value


def mapping(value, path, above):
    result = {}
    for key, entry in value.items():
        name = key if type(key) is str else member(key, path)
        if name in result:
            raise Unfit("%s has two keys that are both %r in JSON" % (spelled(path), name))
        result[name] = plain(entry, (path, key), above)
    return result


def member(key, path):
    """A key as text, as json.dumps does it; dates and the like as in plain."""
    name = plain(key, (path, key), set())
    if isinstance(name, str):
        return name
    if name is None or isinstance(name, (bool, int, float)):
        return json.dumps(name)
    raise Unfit("%s has a key of type %s; keys must be text or numbers" % (spelled(path), type(key).__name__))


def uncommon(value, path, above):
    """What needs a look at the type's ancestors. A module that nobody imported has no values."""
    def of(module, *names):
        module = sys.modules.get(module)
        return module and isinstance(value, tuple(getattr(module, n) for n in names if hasattr(module, n)))

    def listed(values):
        return [plain(v, (path, "…"), above) for v in values]

    if of("enum", "Enum"):
        return plain(value.value, path, above)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return finite(float(value), path)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (bytes, bytearray)):
        return {"$base64": binascii.b2a_base64(value, newline=False).decode()}
    if isinstance(value, (set, frozenset)):
        return listed(ordered(value))
    if of("_collections_abc", "Mapping"):
        return mapping(value, path, above)
    if isinstance(value, (list, tuple, range)) or of("collections", "deque") or of("_collections_abc", "MappingView"):
        return listed(value)
    if of("datetime", "date", "time"):
        return value.isoformat()
    if of("datetime", "timedelta"):
        return value.total_seconds()
    if of("decimal", "Decimal") or of("fractions", "Fraction") or of("uuid", "UUID") or of("pathlib", "PurePath"):
        return str(value)
    if hasattr(type(value), "__dataclass_fields__"):
        return mapping({name: getattr(value, name) for name in value.__dataclass_fields__}, path, above)
    if of("numpy", "generic", "ndarray"):
        return plain(value.tolist(), path, above)
    raise UnfitType("%s is of type %s, which JSON can't hold%s" % (spelled(path), type(value).__name__, advice(value)))


def ordered(value):
    try:
        return sorted(value)
    except TypeError:
        return list(value)


def advice(value):
    if hasattr(value, "__next__"):
        return "; make a list of it with list(…)"
    if hasattr(value, "to_dict"):
        return "; call its to_dict()"
    if callable(value):
        return "; was it meant to be called?"
    return ""


def encoded(value, limit):
    """The JSON text of a result."""
    before = unlimited_digits(0)
    try:
        value = plain(value, (), set())
        try:
            body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:  # lone surrogates
            body = json.dumps(value, separators=(",", ":")).encode()
    except RecursionError:
        raise Unfit("result is nested too deeply")
    finally:
        unlimited_digits(before)
    if len(body) > limit:
        raise Unfit("result is %d bytes of JSON, more than the %d that may be kept; write it to a file" % (len(body), limit))
    return body


# The code, and the references in it.

class Script:
    """The parsed code, with every placeholder of a reference replaced in the tree."""

    def __init__(self, source, name, bindings):
        self.name = name
        self.values = {}
        self.placeholders = None
        if bindings:
            longest_first = sorted(bindings, key=len, reverse=True)
            self.placeholders = re.compile("|".join(map(re.escape, longest_first)))
        self.bindings = bindings
        self.lines = self.shown(decoded(source)).splitlines(True)
        linecache.cache[name] = (len(source), None, self.lines, name)
        self.tree = self.checked(lambda: compile(source, name, "exec", _ast.PyCF_ONLY_AST, dont_inherit=True))
        if bindings:
            self.bind()

    def shown(self, text):
        """Text for people: a placeholder is shown as what it stands for."""
        return self.placeholders.sub("${…}", text) if self.placeholders else text

    def checked(self, action):
        try:
            return action()
        except SyntaxError as e:
            e.msg, e.text = self.shown(str(e.msg)), self.shown(e.text) if e.text else e.text
            if e.text and self.placeholders:
                e.offset = None  # the columns are no longer those
            raise

    def bind(self):
        stack = [(self.tree, 1)]
        while stack:
            node, line = stack.pop()
            line = getattr(node, "lineno", line)  # some nodes of old Pythons have none
            for field in node._fields:
                value = getattr(node, field, None)
                for part in value if isinstance(value, list) else [value]:
                    if isinstance(part, _ast.AST):
                        stack.append((part, line))
                    elif isinstance(part, (str, bytes)):
                        self.replace(node, line, field, part)

    def replace(self, node, line, field, text):
        if isinstance(text, bytes):
            if self.placeholders.search(text.decode("latin-1")):
                self.refuse(line, "a reference can't stand in a bytes literal")
        elif isinstance(node, _ast.Constant):
            if field == "value":
                node.value = self.placeholders.sub(lambda m: self.text(m.group()), text)
        elif not self.placeholders.search(text):
            return
        elif not (isinstance(node, _ast.Name) and text in self.bindings):
            self.refuse(line, "a reference can't be part of a name: %s" % self.shown(text))
        elif not isinstance(node.ctx, _ast.Load):
            self.refuse(line, "a reference can't be assigned to or deleted")
        else:
            node.id = "<%s>" % text  # in a class, __x would be given another name
            self.values[node.id] = json.loads(self.bindings[text])

    def text(self, placeholder):
        """The value inside a string: text as it is, anything else as JSON."""
        written = self.bindings[placeholder]
        return json.loads(written) if written.startswith('"') else written

    def refuse(self, line, why):
        text = self.lines[line - 1] if line <= len(self.lines) else ""
        raise SyntaxError(why, (self.name, line, None, text))

    def keep_last_value(self):
        """Has the value of a last expression kept."""
        body = self.tree.body
        if not body or not isinstance(body[-1], _ast.Expr):
            return
        last = body[-1]
        place = {a: getattr(last, a) for a in last._attributes if hasattr(last, a)}
        target = _ast.Name(id=HIDDEN, ctx=_ast.Store(), **place)
        body[-1] = _ast.Assign(targets=[target], value=last.value, type_comment=None, **place)

    def assigns(self, name):
        """Whether the module's own statements bind the name."""
        stack = list(self.tree.body)
        while stack:
            node = stack.pop()
            if isinstance(node, (_ast.FunctionDef, _ast.AsyncFunctionDef, _ast.ClassDef, _ast.Lambda)):
                if getattr(node, "name", "") == name:
                    return True
                continue
            if isinstance(node, _ast.Name) and node.id == name and isinstance(node.ctx, _ast.Store):
                return True
            if isinstance(node, _ast.alias) and (node.asname or node.name) == name:
                return True
            for field in node._fields:
                value = getattr(node, field, None)
                stack += [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, _ast.AST)]
        return False

    def code(self):
        return self.checked(lambda: compile(self.tree, self.name, "exec", dont_inherit=True))


def decoded(source):
    """The source as text, for people only: compile reads the bytes itself."""
    try:
        return source.decode("utf-8-sig")
    except UnicodeDecodeError:
        return source.decode("latin-1")


# The run.

def stage(request):
    """Makes the module that the code is, with what it finds there."""
    main = types.ModuleType("__main__")
    names = main.__dict__
    names["__builtins__"] = builtins
    names["result"] = None
    context, args = request.get("context"), request.get("args")
    if isinstance(context, dict):
        names.update((k, v) for k, v in context.items() if k.isidentifier() and not k.startswith("__"))
    names["context"] = {} if context is None else context
    names["args"] = [] if args is None else args
    sys.argv = ["-c"]
    if request.get("file") and not request.get("function"):
        names["__file__"] = request["file"]
        sys.argv = [request["file"]]
    if isinstance(args, list) and not request.get("function"):
        sys.argv += [a if isinstance(a, str) else json.dumps(a) for a in args]
    if request.get("folder"):
        sys.path.insert(0, request["folder"])
    return main


def executed(request, names, clock):
    """Runs a program. Returns its result, and whether that is more than the value of its last expression."""
    before = names["result"]
    script = Script(binascii.a2b_base64(request["source"]), request["name"], request.get("bindings") or {})
    script.keep_last_value()
    code = script.code()
    names.update(script.values)
    clock[0] = time.perf_counter()
    successfully(lambda: exec(code, names))
    value, last = names.get("result"), names.pop(HIDDEN, None)
    if value is not before or script.assigns("result"):
        return value, True
    return last, False


def called(request, names, clock):
    """Calls a function, and waits for what it promises if it is a coroutine."""
    import importlib

    if request.get("file"):
        module = imported(request["file"])
    else:
        module = importlib.import_module(request["module"])
    request["name"] = getattr(module, "__file__", None) or request["name"]
    function = module
    for name in request["function"].split("."):
        function = getattr(function, name)
    clock[0] = time.perf_counter()

    def call():
        value = function(*(request.get("args") or []), **(request.get("kwargs") or {}))
        if isinstance(value, types.CoroutineType):
            import asyncio

            value = asyncio.run(value)
        return value

    return successfully(call), True


def successfully(do):
    """What do returns. sys.exit() and sys.exit(0) are an end like any other."""
    try:
        return do()
    except SystemExit as e:
        if e.code not in (None, 0):
            raise


def imported(path):
    """The module that a file is, whatever its name is otherwise used for."""
    import importlib.util

    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module


def run(request):
    """Runs the code and returns the outcome and the exit code."""
    main = stage(request)
    sys.modules["__main__"] = main
    clock = [time.perf_counter()]
    try:
        value, chosen = (called if request.get("function") else executed)(request, main.__dict__, clock)
    except SystemExit as e:
        return left(e, clock[0]), exit_code(e)
    except BaseException as e:
        return failure(e, request["name"], clock[0]), 1
    seconds = time.perf_counter() - clock[0]
    try:
        body = encoded(value, request["limit"])
    except UnfitType as e:
        if not chosen:  # a script may well end with a call whose value nobody wants
            return {"note": "the value of the last expression is not kept: %s" % e, "seconds": seconds}, 0
        return {"unfit": str(e), "seconds": seconds}, 0
    except Unfit as e:
        return {"unfit": str(e), "seconds": seconds}, 0
    except BaseException as e:  # a property or a __str__ that fails
        return {"unfit": "result can't be read: %s: %s" % (type(e).__name__, e), "seconds": seconds}, 0
    return b'{"seconds":%.6f,"result":' % seconds + body + b"}", 0


def exit_code(e):
    return e.code & 255 if isinstance(e.code, int) else 1


def left(e, started):
    """sys.exit with anything but success."""
    text = "sys.exit(%r)" % (e.code,)
    if not isinstance(e.code, int):
        print(e.code, file=sys.stderr)
    return {"type": "SystemExit", "message": text, "seconds": time.perf_counter() - started}


def failure(e, name, started):
    seconds = time.perf_counter() - started
    try:
        return dict(described(e, name), seconds=seconds)
    except BaseException:  # no memory, or an exception that can't be shown
        return {"type": type(e).__name__, "message": "", "seconds": seconds}


def described(e, name):
    """What went wrong and where, without the driver's own frames."""
    import traceback

    kind = type(e).__name__
    if type(e).__module__ not in ("builtins", "__main__"):
        kind = type(e).__module__ + "." + kind
    told = traceback.TracebackException.from_exception(e)
    forget_driver(told, set())
    line = None
    if isinstance(e, SyntaxError) and e.filename == name:
        line, message = e.lineno, str(e.msg)
    else:
        message = str(e)
        for frame in told.stack:
            line = frame.lineno if frame.filename == name else line
    errno, path = culprit(e)
    text = "".join(told.format())
    if not told.stack:
        text = text.replace("Traceback (most recent call last):\n", "", 1)
    return {"type": kind, "message": clip(message, 4096), "line": line, "traceback": clip(text, 65536),
            "errno": errno, "path": path}


def culprit(e):
    """What the system said that is at the bottom of an exception: the name of its error, and the path."""
    import errno

    for _ in range(20):
        if isinstance(e, MemoryError):
            return "ENOMEM", ""
        if isinstance(e, OSError) and isinstance(e.errno, int):
            path = e.filename2 if e.filename2 is not None else e.filename
            if isinstance(path, (str, bytes)):
                path = os.path.abspath(os.fsdecode(path))
            return errno.errorcode.get(e.errno, ""), path if isinstance(path, str) else ""
        if e is None:
            break
        e = e.__cause__ or e.__context__
    return "", ""


def forget_driver(told, seen):
    """Drops our frames here and in every cause, and the columns, which placeholders moved."""
    if told is None or id(told) in seen:
        return
    seen.add(id(told))
    told.stack[:] = [f for f in told.stack if f.filename != DRIVER]
    for frame in told.stack:
        if hasattr(frame, "colno"):
            frame.colno = frame.end_colno = None
    for other in [told.__cause__, told.__context__] + list(getattr(told, "exceptions", None) or []):
        forget_driver(other, seen)


def clip(text, most):
    if len(text) <= most:
        return text
    return "%s\n… %d characters left out …\n%s" % (text[:most // 2], len(text) - most, text[-most // 2:])


def settle(request):
    """Makes a forked process what a new interpreter would have been."""
    if request.get("env") is not None:
        os.environ.clear()
        os.environ.update(entry.split("=", 1) for entry in request["env"])
        if hasattr(time, "tzset"):
            time.tzset()
    if request.get("dir"):
        os.chdir(request["dir"])


def drop_descriptors(keep):
    """Closes what somebody let us inherit without wanting to."""
    try:
        numbers = [int(n) for n in os.listdir("/dev/fd")]
    except (OSError, ValueError):
        numbers = range(3, 4096) if os.name == "posix" else ()
    for fd in numbers:
        if fd > 2 and fd not in keep:
            try:
                os.close(fd)
            except OSError:
                pass  # that of the listing, or none


def perform(back, *handed):
    """Reads one request, does it, and ends. What was handed down is for the sandbox."""
    drop_descriptors((back,) + handed)
    before = unlimited_digits(0)
    request = json.loads(sys.stdin.buffer.read())
    unlimited_digits(before)
    channel = Channel(back, request["nonce"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    settle(request)
    try:
        if request.get("sandbox"):
            confine(request["sandbox"], *handed)
    except BaseException as e:
        channel.send({"refused": "%s: %s" % (type(e).__name__, e)})
        os._exit(1)
    driver = sys.modules["__main__"]  # kept: its names are those of the functions above
    outcome, code = run(request)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # the code closed it
    channel.send(outcome)
    if request.get("env") is not None and os.getpid() == channel.owner:
        leave(code)
    del driver
    sys.exit(code)


def leave(code):
    """Ends a forked process as an interpreter ends, without taking apart what it inherited."""
    import atexit
    import gc
    import io

    for finish in (getattr(sys.modules.get("threading"), "_shutdown", None), atexit._run_exitfuncs):
        try:
            if finish:
                finish()
        except BaseException:
            pass  # it has been told on stderr
    names = sys.modules["__main__"].__dict__
    for name in [n for n in names if n != "__builtins__"]:
        names[name] = None
    gc.collect()
    for thing in gc.get_objects() + [sys.stdout, sys.stderr]:
        try:
            if isinstance(thing, io.IOBase):
                thing.flush()
        except Exception:
            pass  # it is closed, or leads nowhere
    os._exit(code)


def main():
    if sys.version_info < (3, 8):
        sys.exit("gleitzeit needs Python 3.8 or newer; this is %s at %s" % (sys.version.split()[0], sys.executable))
    how, numbers = sys.argv[1], [int(a) for a in sys.argv[2:]]
    if how == "serve":
        numbers = serve(*numbers)
        for target, fd in enumerate(numbers[:3]):
            os.dup2(fd, target)
            os.close(fd)
        numbers = numbers[3:]
    perform(*numbers)
