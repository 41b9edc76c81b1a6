// node stomp.js URL                @stomp/stompjs over WebSocket, without heart-beats of its own: prints {"open": true}, {"message": …},
//                                  {"end": CODE, "reason": …}; sends each line of stdin to a destination that it has subscribed to
"use strict";

const readline = require("node:readline");
const { Client } = require("@stomp/stompjs");
Object.assign(globalThis, { WebSocket: require("ws") });

const say = (what) => console.log(JSON.stringify(what));
const client = new Client({
  brokerURL: process.argv[2],
  reconnectDelay: 0,
  heartbeatIncoming: 0,
  heartbeatOutgoing: 0,
  onConnect: () => {
    client.subscribe("/talk", (message) => say({ message: message.body }));
    say({ open: true });
  },
  onWebSocketClose: (event) => say({ end: event.code, reason: event.reason }),
});
client.activate();
readline.createInterface({ input: process.stdin }).on("line", (body) => client.publish({ destination: "/talk", body }));
