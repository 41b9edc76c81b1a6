// node mqtt.js app                 Aedes as a broker over TCP and WebSocket that leaves the keep-alive to others: prints {"tcp": …, "ws": …},
//                                  then {"ping": CLIENT} for each PINGREQ and {"gone": CLIENT}
// node mqtt.js client URL SECONDS  MQTT.js with this keep-alive: prints {"open": true}, {"message": …}, {"end": true}; publishes each line
//                                  of stdin to a topic that it has subscribed to, and disconnects at its end
"use strict";

const net = require("node:net");
const readline = require("node:readline");

const say = (what) => console.log(JSON.stringify(what));
const [role, url, seconds] = process.argv.slice(2);

if (role === "app") {
  const { WebSocketServer, createWebSocketStream } = require("ws");
  const broker = require("aedes")();
  broker.preConnect = (client, packet, done) => {
    packet.keepalive = 0;
    done(null, true);
  };
  broker.on("ping", (_, client) => say({ ping: client.id }));
  broker.on("clientDisconnect", (client) => say({ gone: client.id }));
  const tcp = net.createServer(broker.handle);
  tcp.listen(0, "127.0.0.1", () => {
    const ws = new WebSocketServer({ host: "127.0.0.1", port: 0 });
    ws.on("connection", (socket) => broker.handle(createWebSocketStream(socket)));
    ws.on("listening", () => say({ tcp: tcp.address().port, ws: ws.address().port }));
  });
} else {
  const client = require("mqtt").connect(url, { keepalive: Number(seconds), reconnectPeriod: 0, clientId: "the-client" });
  client.on("connect", () => client.subscribe("talk", () => say({ open: true })));
  client.on("message", (_, payload) => say({ message: payload.toString() }));
  client.on("error", (error) => say({ error: error.message }));
  client.on("close", () => say({ end: true }));
  const lines = readline.createInterface({ input: process.stdin });
  lines.on("line", (text) => client.publish("talk", text));
  lines.on("close", () => client.end());
}
