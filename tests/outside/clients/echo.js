// node echo.js: an app on Node's `ws` that echoes each message, compressed and in random fragments, and serves the page of the browser.
// Prints {"port": …}, then for every conversation what it saw of it.
"use strict";

const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { WebSocketServer } = require("ws");

const say = (what) => console.log(JSON.stringify(what));
const script = fs.readFileSync(path.join(__dirname, "conversation.js"));

const server = http.createServer((request, response) => {
  response.writeHead(200, { "content-type": "text/html; charset=utf-8" });
  response.end(`<!doctype html><title>conversation</title><script>${script}</script>`);
});

new WebSocketServer({ server, perMessageDeflate: { threshold: 0 } }).on("connection", (socket) => {
  const seen = { messages: 0, bytes: 0, pings: 0, pongs: 0, extensions: socket.extensions, error: null };
  socket.on("ping", () => (seen.pings += 1));
  socket.on("pong", () => (seen.pongs += 1));
  socket.on("error", (error) => (seen.error = error.message));
  socket.on("message", (data, binary) => {
    seen.messages += 1;
    seen.bytes += data.length;
    const pieces = 1 + (seen.messages % 3);
    for (let piece = 0; piece < pieces; piece++) {
      const part = data.subarray(Math.floor((data.length * piece) / pieces), Math.floor((data.length * (piece + 1)) / pieces));
      socket.send(part, { binary, fin: piece === pieces - 1 });
    }
  });
  socket.on("close", (code) => say({ ...seen, code }));
});

server.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
