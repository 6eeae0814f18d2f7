// Does with npm's socket.io-client what users do, over one transport, and says
// what came back as JSON.
const [, , url, token, mode] = process.argv;
const { io } = require("socket.io-client");
const { createHash, randomBytes } = require("crypto");
const transports = { polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"] }[mode];

const open = (namespace, options) => io(url + namespace, { transports, forceNew: true, reconnectionDelay: 10, ...options });
const once = (socket, event) => new Promise((resolve) => socket.once(event, resolve));
const flow = process.env.FLOW;
const held = JSON.stringify({
  name: "Held",
  tasks: [
    { name: "a", method: "wait/timer", parameters: { duration: 0 } },
    { name: "b", method: "wait/signal", parameters: { name: "go" }, dependencies: ["a"] },
    { name: "c", method: "wait/timer", parameters: { duration: 0 }, dependencies: ["b"] },
  ],
});

// Follows a run to its end, and returns the places and types of its events.
async function follow(socket, id) {
  const events = [];
  const hear = ({ entry }) => events.push(entry.type);
  socket.on("log/event", hear);
  const end = once(socket, "log/end");
  await socket.emitWithAck("log/follow", { id });
  await end;
  socket.off("log/event", hear);
  return events;
}

async function refused(namespace, auth) {
  const socket = open(namespace, { auth, reconnection: false });
  const error = await once(socket, "connect_error");
  socket.disconnect();
  return [error.message, error.data && error.data.code];
}

// Loses its connection in the middle of a run, and has each event once.
async function reconnect() {
  const socket = open("/", { auth: { token } });
  await once(socket, "connect");
  const { result: { id } } = await socket.emitWithAck("workflow/submit", { workflow: held });
  const seen = [];
  let waiting, over;
  const waits = new Promise((resolve) => (waiting = resolve));
  const ended = new Promise((resolve) => (over = resolve));
  socket.on("log/event", ({ entry }) => {
    seen.push(entry.seq);
    if (entry.type === "task.waiting" && entry.task === "b") waiting();
  });
  socket.on("log/end", over);
  await socket.emitWithAck("log/follow", { id });
  await waits;
  const before = socket.io.engine.id;
  const again = once(socket, "connect");
  socket.io.engine.close();
  await again;
  await socket.emitWithAck("log/follow", { id, from: seen.at(-1) + 1 });
  await socket.emitWithAck("signal/send", { id, name: "go" });
  await ended;
  const { result } = await socket.emitWithAck("workflow/history", { id });
  socket.disconnect();
  return [before !== socket.io.engine.id, JSON.stringify(seen) === JSON.stringify(result.entries.map((e) => e.seq))];
}

// The events of the first gleitzeit.
async function original(socket) {
  const told = [];
  const names = ["workflow_submitted", "workflow_started", "task_submitted", "task_result", "workflow_completed", "workflow_cancelled"];
  let over = () => {};
  for (const name of names) {
    socket.on(name, (v) => {
      told.push(name === "task_result" ? `${name} ${v.task_id} ${v.status}` : name);
      if (name === "workflow_completed" || name === "workflow_cancelled") over(v);
    });
  }
  const until = () => new Promise((resolve) => (over = resolve));
  let end = until();
  const { result } = await socket.emitWithAck("submit_workflow", { workflow: JSON.parse(flow) });
  const completed = await end;
  end = until();
  socket.emit("submit_task", { task: { id: "t", name: "T", method: "wait/timer", params: { duration: 0 } } });
  await end;
  end = until();
  const first = once(socket, "task_result");
  const { result: { workflow_id } } = await socket.emitWithAck("submit_workflow", { workflow: held });
  await first;
  await socket.emitWithAck("cancel_workflow", { workflow_id });
  await end;
  const status = await socket.emitWithAck("get_workflow_status", { workflow_id });
  const results = await socket.emitWithAck("get_workflow_results", { workflow_id: result.workflow_id });
  const list = await socket.emitWithAck("list_workflows", { name: "Held", limit: 1 });
  const error = once(socket, "error");
  socket.emit("submit_workflow", { workflow: "tasks: [" });
  return {
    told, count: result.task_count, completed: completed.status, status: status.result.status,
    results: results.result.status, listed: list.result.runs.length, error: (await error).event,
  };
}

(async () => {
  const got = {
    token: await refused("/", {}),
    wrong: await refused("/", { token: "gz_wrong" }),
    namespace: await refused("/nowhere", { token }),
    run: await refused("/runs/nobody-7", { token }),
  };
  const socket = open("/", { auth: { token } });
  const connected = once(socket, "connected");
  await once(socket, "connect");
  got.connected = (await connected).message;
  if (mode === "upgrade" && socket.io.engine.transport.name !== "websocket") await once(socket.io.engine, "upgrade");
  got.transport = socket.io.engine.transport.name;

  const many = await Promise.all([...Array(500).keys()].map((n) => socket.emitWithAck("subtract", [n, 1])));
  got.many = many.reduce((sum, { result }) => sum + result, 0);
  got.spread = (await socket.emitWithAck("subtract", 42, 23)).result;
  got.named = (await socket.emitWithAck("subtract", { minuend: 42, subtrahend: 23 })).result;
  got.unknown = (await socket.emitWithAck("workflow/gett", {})).error;
  const error = once(socket, "error");
  socket.emit("workflow/get", { id: "nobody" });
  got.error = (await error).code;

  const submitted = await socket.emitWithAck("workflow/submit", { workflow: flow, key: mode });
  const { id } = submitted.result;
  got.follow = await follow(socket, id);
  const again = await socket.emitWithAck("workflow/submit", { workflow: flow, key: mode });
  got.key = again.result.id === id && again.result.before;

  const files = { "ü.bin": randomBytes(3 << 20), "b.bin": Buffer.from([0, 30, 255]) };
  const { result: sums } = await socket.emitWithAck("digest", { files });
  got.binary = Object.keys(files).every((name) => sums[name] === createHash("sha256").update(files[name]).digest("hex"));

  const run = open("/runs/" + id, { auth: { token, from: 1 } });
  const types = [];
  run.on("log/event", ({ entry }) => types.push(entry.type));
  await once(run, "log/end");
  got.room = types;
  run.disconnect();

  got.original = await original(socket);
  socket.disconnect();
  got.reconnect = await reconnect();
  console.log(JSON.stringify(got));
})();
