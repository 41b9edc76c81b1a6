// node engine.js app MILLISECONDS  Engine.IO as a server that pings so often and echoes: prints {"port": …}, {"closed": WHY}
// node engine.js client URL        its client, which begins by long-polling: prints {"open": true}, {"upgraded": TRANSPORT},
//                                  {"ping": true} for each ping of the server, {"message": …}, {"end": WHY}; sends each line of stdin
"use strict";

const http = require("node:http");
const readline = require("node:readline");

const say = (what) => console.log(JSON.stringify(what));
const [role, argument] = process.argv.slice(2);

if (role === "app") {
  const server = http.createServer();
  const engine = require("engine.io").attach(server, { pingInterval: Number(argument), pingTimeout: 600e3 });
  engine.on("connection", (socket) => {
    socket.on("message", (data) => socket.send(data));
    socket.on("close", (why) => say({ closed: why }));
  });
  server.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
} else {
  const { Socket } = require("engine.io-client");
  const socket = new Socket(argument, { transports: ["polling", "websocket"] });
  socket.on("open", () => say({ open: true }));
  socket.on("upgrade", (transport) => say({ upgraded: transport.name }));
  socket.on("packet", (packet) => packet.type === "ping" && say({ ping: true }));
  socket.on("message", (message) => say({ message }));
  socket.on("close", (why) => say({ end: why }));
  readline.createInterface({ input: process.stdin }).on("line", (text) => socket.send(text));
}
