// node ws_client.js URL CA SECONDS SEED: a conversation of the client of Node's `ws`, its messages in random fragments.
"use strict";

const fs = require("node:fs");
const WebSocket = require("ws");
const { converse } = require("./conversation.js");

const [url, ca, seconds, seed] = process.argv.slice(2);
const socket = new WebSocket(url, { perMessageDeflate: { threshold: 0 }, ca: fs.readFileSync(ca) });
let fragmented = 0;

// Text is cut at any byte, also inside a character (RFC 6455 5.6).
function send(data, random) {
  const binary = typeof data !== "string";
  const bytes = Buffer.from(data);
  const pieces = random() < 0.5 ? 1 : 1 + Math.floor(random() * 5);
  if (pieces > 1) fragmented += 1;
  let start = 0;
  for (let piece = 1; piece <= pieces; piece++) {
    const end = piece === pieces ? bytes.length : start + Math.floor(random() * (bytes.length - start + 1));
    socket.send(bytes.subarray(start, end), { binary, fin: piece === pieces });
    start = end;
  }
}

converse(socket, { seconds: Number(seconds), seed: Number(seed), send }).then(
  (told) => console.log(JSON.stringify({ ...told, fragmented })),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
