// node ws.js URL: a client of Node's `ws`: prints {"open": true}, {"message": …}, {"end": CODE}; sends each line of stdin and closes at its end.
"use strict";

const readline = require("node:readline");
const WebSocket = require("ws");

const say = (what) => console.log(JSON.stringify(what));
const socket = new WebSocket(process.argv[2]);

socket.on("open", () => {
  say({ open: true });
  const lines = readline.createInterface({ input: process.stdin });
  lines.on("line", (text) => socket.send(text));
  lines.on("close", () => socket.close(1000));
});
socket.on("message", (data) => say({ message: data.toString() }));
socket.on("close", (code) => {
  say({ end: code });
  process.stdin.destroy();
});
