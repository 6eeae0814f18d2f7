// A worker over Socket.IO: carries out calls of a remote provider, and keeps what
// they came to until the server has it, also when the connection is lost.
//
//	npm install socket.io-client
//	node socketio.cjs ./words.cjs http://127.0.0.1:8765
//
// GLEITZEIT_TOKEN is a token of the role worker, if the server wants one. What the
// methods are is said by the module named first: see words.cjs.
const { io } = require("socket.io-client");
const { randomUUID } = require("crypto");
const { hostname } = require("os");
const { resolve } = require("path");

const [, , file, url, provider, transports = "polling,websocket"] = process.argv;
const { protocol, slots = 4, methods } = require(resolve(file));
const instance = randomUUID(); // the same whenever this process connects again
const id = `${provider || protocol}@${hostname()}`;

// The calls that we have: under way, or with an outcome that the server may not
// have got. By their keys, for a call that comes twice is the same work.
const calls = new Map();

const socket = io(url, { auth: { token: process.env.GLEITZEIT_TOKEN }, transports: transports.split(",") });

socket.on("connect", async () => {
  const [name, version] = protocol.split("/");
  const described = {};
  for (const [method, { description, parameters, result }] of Object.entries(methods)) described[method] = { description, parameters, result };
  try {
    await ask("register_protocol", { protocol: { name, version, methods: described } });
    await ask("register_provider", { provider_id: id, protocol_id: protocol, provider, slots, instance, holds: [...calls.keys()] });
    console.log(`registered ${id}`);
  } catch {} // disconnected: it connects again
});
socket.on("connect_error", ({ message }) => console.error(`no connection: ${message}`));

async function ask(event, params) {
  const { error } = await socket.emitWithAck(event, params);
  if (!error) return;
  console.error(`${event}: ${error.message}`);
  process.exit(1);
}

socket.on("execute_method", async (call, acknowledge) => {
  const session = socket.id;
  if (!calls.has(call.key)) calls.set(call.key, begin(call));
  acknowledge(await calls.get(call.key).outcome);
  // What the server answers in the same session it answers after it heard that.
  await socket.emitWithAck("provider/heartbeat").catch(() => {});
  if (socket.id === session) calls.delete(call.key);
});

socket.on("cancel_method", ({ key }) => calls.get(key)?.stop.abort());

// begin begins the work of a call.
function begin({ id, key, method, params }) {
  const stop = new AbortController();
  const progress = (message) => socket.volatile.emit("provider/progress", { id, message });
  const run = async () => methods[method].run(params, { key, progress, signal: stop.signal });
  console.log(`begins ${method} ${key}`);
  return { stop, outcome: run().then((result) => ({ result }), ({ message }) => ({ error: { message } })) };
}
