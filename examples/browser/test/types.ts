// Compiled, never run: what an app may write, and what it must not.
import { Connection, type State } from "../sidebeat-client.js";

const chat = new Connection("wss://chat.example/", { ping: "ping", pong: "pong", codes: { 4001: "retry" } });
new Connection(async () => new URL("wss://chat.example/?token=1"));

chat.addEventListener("state", ({ detail }) => {
  const state: State = detail.state;
  const seconds: number = (detail.delay ?? 0) / 1000;
  console.log(state, seconds, detail.code, detail.reason);
});
chat.addEventListener("message", ({ data }) => console.log(typeof data === "string" ? data.length : data.byteLength));
const taken: boolean = chat.send("hello") && chat.send(new Uint8Array(1));
console.log(taken, chat.queued);
chat.close(4000, "bye");
chat.open();

// @ts-expect-error: a verdict that there is not
new Connection("wss://chat.example/", { codes: { 4001: "now" } });
// @ts-expect-error: the state is the connection's
chat.state = "open";
// @ts-expect-error: no objects
chat.send({ type: "hello" });
// @ts-expect-error: no such field
chat.addEventListener("state", ({ detail }) => detail.status);
