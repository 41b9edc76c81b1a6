// node signalr.js app           the server's side of SignalR's JSON protocol, as far as an echo needs it: prints {"port": …}, then {"end": CODE}
//                               for each conversation
// node signalr.js client URL    Microsoft's client, which negotiates first: prints {"open": true}, {"message": …} for each answer and each call
//                               of `said`, {"end": CODE}; invokes `echo` with each line of stdin and stops at its end
"use strict";

const http = require("node:http");
const readline = require("node:readline");
const signalR = require("@microsoft/signalr");
const { WebSocketServer } = require("ws");

const INVOCATION = 1;
const COMPLETION = 3;
const PING = 6;
const SEPARATOR = "\x1e";

const say = (what) => console.log(JSON.stringify(what));
const [role, url] = process.argv.slice(2);

function negotiate(request, response) {
  const ours = { connectionId: "1", connectionToken: "1", negotiateVersion: 1 };
  const transports = [{ transport: "WebSockets", transferFormats: ["Text", "Binary"] }];
  response.writeHead(request.method === "POST" ? 200 : 405, { "content-type": "application/json" });
  response.end(JSON.stringify({ ...ours, availableTransports: transports }));
}

function serve(socket) {
  const send = (what) => socket.send(JSON.stringify(what) + SEPARATOR);
  const pings = setInterval(() => send({ type: PING }), 1000);
  let shaken = false;
  socket.on("message", (data) => {
    // A frame may hold several records.
    for (const record of data.toString().split(SEPARATOR).slice(0, -1).map(JSON.parse)) {
      if (!shaken) {
        shaken = record.protocol === "json";
        send(shaken ? {} : { error: "only json" });
      } else if (record.type === INVOCATION) {
        send({ type: COMPLETION, invocationId: record.invocationId, result: record.arguments[0] });
      }
    }
  });
  socket.on("close", (code) => {
    clearInterval(pings);
    say({ end: code });
  });
}

if (role === "app") {
  const server = http.createServer(negotiate);
  new WebSocketServer({ server }).on("connection", serve);
  server.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
} else {
  const hub = new signalR.HubConnectionBuilder().withUrl(url.replace("ws", "http")).configureLogging(signalR.LogLevel.None).build();
  const lines = readline.createInterface({ input: process.stdin });
  hub.on("said", (text) => say({ message: text }));
  hub.onclose((error) => {
    // The code of a Close is in the words of the error; none is a stop of its own.
    say({ end: error ? Number(/status code: (\d+)/.exec(error.message)?.[1]) : 1000 });
    process.stdin.destroy();
  });
  hub.start().then(() => {
    say({ open: true });
    lines.on("line", async (text) => say({ message: await hub.invoke("echo", text) }));
    lines.on("close", () => hub.stop());
  });
}
