#!/usr/bin/env python3
"""A worker in plain Python: it counts words for a server elsewhere.

    gleitzeit server start                     # in this folder, see gleitzeit.yaml
    python3 worker.py http://127.0.0.1:8765    # GLEITZEIT_TOKEN, if the server wants one
    gleitzeit run count.yaml

It needs nothing but Python's own library: JSON-RPC 2.0 over a WebSocket. What it
was given it goes on with while there is no connection, and hands in afterwards.
"""

import base64, json, os, secrets, socket, ssl, struct, sys, threading, time
from urllib.parse import urlsplit


class WebSocket:
    """A client's end of a WebSocket (RFC 6455) that carries texts."""

    def __init__(self, url, token):
        at = urlsplit(url)
        tls = at.scheme in ("https", "wss")
        self.sock = socket.create_connection((at.hostname, at.port or (443 if tls else 80)), timeout=60)
        if tls:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=at.hostname)
        self.writing, self.source = threading.Lock(), self.sock.makefile("rb")
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        head = [f"GET /rpc HTTP/1.1", f"Host: {at.netloc}", "Upgrade: websocket", "Connection: Upgrade",
                f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
        if token:
            head.append(f"Authorization: Bearer {token}")
        self.sock.sendall("\r\n".join(head + ["", ""]).encode())
        status = self.source.readline().decode()
        while self.source.readline().strip():
            pass
        if " 101 " not in status:
            raise PermissionError(f"the server says: {status.strip()}")

    def frame(self, kind, data):
        size = len(data)
        head = struct.pack("!BB", 0x80 | kind, 0x80 | min(size, 126 if size < 1 << 16 else 127))
        if size > 125:
            head += struct.pack("!H" if size < 1 << 16 else "!Q", size)
        mask = secrets.token_bytes(4)
        masked = bytes(b ^ mask[i % 4] for i, b in enumerate(data))
        with self.writing:
            self.sock.sendall(head + mask + masked)

    def take(self, n):
        data = self.source.read(n)
        if len(data) < n:
            raise ConnectionError("the connection is lost")
        return data

    def read(self):
        """Returns the next text."""
        text = b""
        while True:
            first, size = self.take(2)
            if size == 126:
                size, = struct.unpack("!H", self.take(2))
            elif size == 127:
                size, = struct.unpack("!Q", self.take(8))
            data, kind = self.take(size), first & 15
            if kind == 8:
                raise ConnectionError("the server hung up")
            if kind == 9:
                self.frame(10, data)  # its ping gets our pong
            elif kind < 3:
                text += data
                if first & 0x80:
                    return text.decode()


class Worker:
    """Calls by their idempotency keys, over all connections."""

    def __init__(self, methods):
        self.methods, self.lock = methods, threading.Lock()
        self.instance, self.calls, self.asked, self.ws = secrets.token_hex(16), {}, 0, None

    def send(self, method, params):
        with self.lock:
            self.asked += 1
            ws, ask = self.ws, {"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params}
        try:
            if ws:
                ws.frame(1, json.dumps(ask).encode())
        except OSError:
            pass  # whoever reads will notice; what counts is said again

    def work(self, key, method, parameters):
        try:
            outcome = {"result": self.methods[method](**parameters)}
        except Exception as e:  # a task that fails
            outcome = {"error": {"code": -32001, "message": f"{type(e).__name__}: {e}"}}
        with self.lock:
            call = self.calls.get(key)
            if call:
                call["outcome"], call["ended"] = outcome, time.time()
        if call:
            self.send("provider/result", {"id": call["id"], **outcome})

    def take(self, call):
        """A call that is new, or that goes on: its key tells."""
        with self.lock:
            for key in [k for k, c in self.calls.items() if c["outcome"] and c["ended"] < time.time() - 600]:
                del self.calls[key]  # nobody will ask for that again
            known = self.calls.get(call["key"])
            if known:
                known["id"] = call["id"]
            elif not call.get("rejoin"):
                self.calls[call["key"]] = {"id": call["id"], "outcome": None}
        if known and known["outcome"]:
            self.send("provider/result", {"id": call["id"], **known["outcome"]})
        elif not known and call.get("rejoin"):
            self.send("provider/result", {"id": call["id"], "lost": True})
        elif not known:
            threading.Thread(target=self.work, args=(call["key"], call["method"], call.get("parameters", {})), daemon=True).start()

    def attend(self, url, token, offer):
        """Serves one connection until it is down."""
        ws = WebSocket(url, token)
        with self.lock:
            holds = list(self.calls)
        hello = {"worker": socket.gethostname(), "instance": self.instance, "slots": 4, "offers": [offer], "holds": holds}
        ws.frame(1, json.dumps({"jsonrpc": "2.0", "id": 0, "method": "provider/register", "params": hello}).encode())
        while True:
            said = json.loads(ws.read())
            if said.get("method") == "worker/call":
                self.take(said["params"])
            elif said.get("method") == "worker/cancel":
                with self.lock:
                    self.calls.pop(said["params"]["key"], None)  # what it comes to nobody is told
            elif said.get("id") == 0:
                if "error" in said:
                    raise PermissionError(said["error"]["message"])
                self.ws = ws
                threading.Thread(target=self.beat, args=(ws, said["result"]["heartbeat"]), daemon=True).start()
                print("registered", flush=True)

    def beat(self, ws, every):
        while self.ws is ws:
            self.send("provider/heartbeat", {})
            time.sleep(every)

    def run(self, url, token, offer):
        while True:
            try:
                self.attend(url, token, offer)
            except (OSError, ValueError) as e:
                if isinstance(e, PermissionError):
                    sys.exit(f"worker: {e}")
                print("trying again:", e, flush=True)
            self.ws = None
            time.sleep(0.2)


def count(text, pause=0):
    time.sleep(pause)
    return {"words": len(text.split()), "characters": len(text)}


OFFER = {"provider": "words", "protocol": "words/v1", "methods": [{
    "name": "words/count",
    "description": "Counts the words of a text.",
    "parameters": {"type": "object", "required": ["text"], "additionalProperties": False, "properties": {
        "text": {"type": "string"}, "pause": {"type": "number", "description": "seconds to take for it"}}},
    "result": {"type": "object", "required": ["words", "characters"]},
}]}

if __name__ == "__main__":
    Worker({"words/count": count}).run(sys.argv[1], os.environ.get("GLEITZEIT_TOKEN"), OFFER)
