// Calls a server with clients that others have written: jayson over HTTP, and
// json-rpc-2.0 over fetch and over a WebSocket. Says what came back as JSON.
const [, , url, token] = process.argv;
const jayson = require("jayson/promise");
const { JSONRPCClient } = require("json-rpc-2.0");
const WebSocket = require("ws");
const Authorization = `Bearer ${token}`;

async function withJayson() {
  const { hostname, port } = new URL(url);
  const client = jayson.Client.http({ hostname, port, path: "/rpc", headers: { Authorization } });
  const named = await client.request("subtract", { minuend: 42, subtrahend: 23 });
  const positional = await client.request("subtract", [42, 23]);
  const unknown = await client.request("nobody/home", []);
  const batch = await client.request([
    client.request("subtract", [3, 1], undefined, false),
    client.request("update", [1], null, false),
    client.request("get_data", [], undefined, false),
  ]);
  await client.request("update", [1, 2], null);
  return [named.result, positional.result, unknown.error.code, batch.map((r) => r.result).length];
}

async function withFetch() {
  const client = new JSONRPCClient(async (request) => {
    const response = await fetch(url + "/rpc", {
      method: "POST",
      headers: { "content-type": "application/json", Authorization },
      body: JSON.stringify(request),
    });
    if (response.status === 200) client.receive(await response.json());
    else if (request.id !== undefined) throw new Error(response.statusText);
  });
  const difference = await client.request("subtract", { minuend: 42, subtrahend: 23 });
  client.notify("update", [1, 2, 3]);
  const failure = await client.request("workflow/get", { id: "nobody" }).catch((e) => e.code);
  return [difference, failure];
}

async function withWebSocket() {
  const socket = new WebSocket(url.replace("http", "ws") + "/rpc", { headers: { Authorization } });
  await new Promise((resolve, reject) => socket.on("open", resolve).on("error", reject));
  const events = [];
  let over;
  const ended = new Promise((resolve) => (over = resolve));
  const client = new JSONRPCClient(async (request) => socket.send(JSON.stringify(request)));
  socket.on("message", (data) => {
    const message = JSON.parse(data);
    if (message.method === "log/event") events.push(message.params.entry.type);
    else if (message.method === "log/end") over();
    else client.receive(message);
  });
  const many = await Promise.all([...Array(100).keys()].map((n) => client.request("subtract", [n, 1])));
  const { id } = await client.request("workflow/submit", [process.env.FLOW]);
  await client.request("log/follow", { id });
  await ended;
  socket.close();
  return [many.reduce((a, b) => a + b), events];
}

(async () => {
  console.log(JSON.stringify({ jayson: await withJayson(), fetch: await withFetch(), socket: await withWebSocket() }));
})();
