// node graphql.js app              graphql-ws as a server: prints {"port": …}, then {"heard": TYPE} for each message of a client, and
//                                  {"end": CODE} for each conversation
// node graphql.js client URL       its client: prints {"open": true}, {"ping": true} for each ping of the server, {"message": …} as the
//                                  answer to a query for each line of stdin and for what its subscription, whose id is `talk`, is told,
//                                  {"end": CODE, "reason": …}; closes at the end of stdin
"use strict";

const readline = require("node:readline");
const WebSocket = require("ws");

const say = (what) => console.log(JSON.stringify(what));
const [role, url] = process.argv.slice(2);

if (role === "app") {
  const { buildSchema } = require("graphql");
  const { useServer } = require("graphql-ws/use/ws");
  const schema = buildSchema("type Query { say(text: String!): String } type Subscription { said: String }");
  // Nothing is ever said by the app itself.
  const said = () => (async function* () { await new Promise(() => {}); yield null; })();
  const server = new WebSocket.WebSocketServer({ host: "127.0.0.1", port: 0 });
  server.on("connection", (socket) => {
    socket.on("message", (data) => say({ heard: JSON.parse(data).type }));
    socket.on("close", (code) => say({ end: code }));
  });
  // No pings of its own: who would look after the connections is what is tested.
  useServer({ schema, roots: { query: { say: ({ text }) => text }, subscription: { said } } }, server, 0);
  server.on("listening", () => say({ port: server.address().port }));
} else {
  const { createClient } = require("graphql-ws");
  let queries = 0;
  const client = createClient({
    url,
    webSocketImpl: WebSocket,
    lazy: false,
    retryAttempts: 0,
    generateID: ({ query }) => (query.startsWith("subscription") ? "talk" : String(queries++)),
    onNonLazyError: () => {},
    on: {
      connected: () => say({ open: true }),
      ping: (received) => received && say({ ping: true }),
      closed: (event) => say({ end: event.code, reason: event.reason }),
    },
  });
  const told = { next: ({ data }) => say({ message: data.said }), error: () => {}, complete: () => {} };
  client.subscribe({ query: "subscription { said }" }, told);
  const lines = readline.createInterface({ input: process.stdin });
  lines.on("close", () => client.dispose());
  lines.on("line", async (text) => {
    const query = client.iterate({ query: "query Say($text: String!) { say(text: $text) }", variables: { text } });
    for await (const { data } of query) say({ message: data.say });
  });
}
