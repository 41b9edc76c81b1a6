// node socketio.js app          Socket.IO as a server: prints {"port": …}, answers `say` with `said`, then {"end": REASON} for each conversation
// node socketio.js client URL   its client on the WebSocket transport: prints {"open": true}, {"message": …} for each `said`, {"end": CODE or
//                               REASON}; says each line of stdin and disconnects at its end
"use strict";

const readline = require("node:readline");

const say = (what) => console.log(JSON.stringify(what));
const [role, url] = process.argv.slice(2);

if (role === "app") {
  const http = require("node:http").createServer();
  new (require("socket.io").Server)(http).on("connection", (socket) => {
    socket.on("say", (text) => socket.emit("said", text));
    socket.on("disconnect", (reason) => say({ end: reason }));
  });
  http.listen(0, "127.0.0.1", () => say({ port: http.address().port }));
} else {
  const socket = require("socket.io-client").io(url.replace("ws", "http"), { transports: ["websocket"], reconnection: false });
  const lines = readline.createInterface({ input: process.stdin });
  socket.on("connect", () => {
    say({ open: true });
    lines.on("line", (text) => socket.emit("say", text));
    lines.on("close", () => socket.disconnect());
  });
  socket.on("said", (text) => say({ message: text }));
  socket.on("disconnect", (reason, details) => {
    say({ end: details?.context?.code ?? reason });
    process.stdin.destroy();
  });
}
