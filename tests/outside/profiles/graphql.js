// node graphql.js app              graphql-ws as a server: prints {"port": …}, then {"heard": TYPE} for each message of a client
// node graphql.js client URL       its client: prints {"open": true}, {"ping": true} for each ping of the server, {"message": …} as the
//                                  answer to a query for each line of stdin, {"end": CODE, "reason": …}
"use strict";

const readline = require("node:readline");
const WebSocket = require("ws");

const say = (what) => console.log(JSON.stringify(what));
const [role, url] = process.argv.slice(2);

if (role === "app") {
  const { buildSchema } = require("graphql");
  const { useServer } = require("graphql-ws/use/ws");
  const schema = buildSchema("type Query { say(text: String!): String }");
  const server = new WebSocket.WebSocketServer({ host: "127.0.0.1", port: 0 });
  server.on("connection", (socket) => socket.on("message", (data) => say({ heard: JSON.parse(data).type })));
  // No pings of its own: who would look after the connections is what is tested.
  useServer({ schema, roots: { query: { say: ({ text }) => text } } }, server, 0);
  server.on("listening", () => say({ port: server.address().port }));
} else {
  const { createClient } = require("graphql-ws");
  const client = createClient({
    url,
    webSocketImpl: WebSocket,
    lazy: false,
    retryAttempts: 0,
    onNonLazyError: () => {},
    on: {
      connected: () => say({ open: true }),
      ping: (received) => received && say({ ping: true }),
      closed: (event) => say({ end: event.code, reason: event.reason }),
    },
  });
  readline.createInterface({ input: process.stdin }).on("line", async (text) => {
    const query = client.iterate({ query: "query Say($text: String!) { say(text: $text) }", variables: { text } });
    for await (const { data } of query) say({ message: data.say });
  });
}
