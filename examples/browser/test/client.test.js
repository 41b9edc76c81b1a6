import assert from "node:assert/strict";
import test from "node:test";

import { Connection } from "../sidebeat-client.js";
import { world } from "./world.js";

const URL = "ws://chat.example/";

/** A connection, and what it has told. */
function connect(here, options, url = URL) {
  const told = [];
  const messages = [];
  const chat = new Connection(url, options);
  chat.addEventListener("state", ({ detail }) => told.push(detail));
  chat.addEventListener("message", ({ data }) => messages.push(data));
  return Object.assign(chat, { told, messages });
}

test("it connects, passes messages and tells its state", (t) => {
  const here = world(t);
  const chat = connect(here, { protocols: ["chat"] });
  assert.equal(chat.state, "connecting");
  assert.deepEqual([here.last.url, here.last.protocols], [URL, ["chat"]]);
  here.last.accept();
  assert.equal(chat.state, "open");
  here.last.say("hello");
  assert.deepEqual(chat.messages, ["hello"]);
  assert.equal(chat.send("hi"), true);
  assert.deepEqual(here.last.sent, ["hi"]);
  assert.deepEqual(chat.told, [{ state: "open" }]);
});

test("waits double from base to max and are drawn from nothing to their bound", (t) => {
  const here = world(t, { random: 1 });
  const chat = connect(here, { base: 100, max: 1000 });
  const delays = [];
  for (let failure = 0; failure < 6; failure++) {
    here.last.end(1006);
    delays.push(chat.told.at(-1).delay);
    here.advance(chat.told.at(-1).delay - 1);
    assert.equal(chat.state, "waiting");
    here.advance(1);
    assert.equal(chat.state, "connecting");
  }
  assert.deepEqual(delays, [100, 200, 400, 800, 1000, 1000]);
  here.random = 0;
  here.last.end(1006);
  assert.equal(chat.told.at(-1).delay, 0);
  here.advance(0);
  here.random = 0.25;
  here.last.end(1006);
  assert.equal(chat.told.at(-1).delay, 250);
});

test("failures are forgotten only when a connection has lived", (t) => {
  const here = world(t, { random: 1 });
  const chat = connect(here, { base: 100, max: 100_000, stable: 5000 });
  const delays = [];
  for (const life of [0, 4999, 5000, 0, 10]) {
    here.last.accept();
    here.advance(life);
    here.last.end(1006);
    delays.push(chat.told.at(-1).delay);
    here.advance(delays.at(-1));
  }
  assert.deepEqual(delays, [100, 200, 100, 200, 400]);
});

test("1012 is soon and spread, and no faster for a server that says it again and again", (t) => {
  const here = world(t, { random: 1 });
  const chat = connect(here, { base: 1000, max: 60_000, spread: 5000 });
  const delays = [];
  for (let restart = 0; restart < 5; restart++) {
    here.last.accept();
    here.last.end(1012, "drain");
    delays.push(chat.told.at(-1).delay);
    here.advance(delays.at(-1));
  }
  assert.deepEqual(delays, [5000, 5000, 5000, 8000, 16_000]);
  assert.deepEqual([chat.told.at(-2).code, chat.told.at(-2).reason], [1012, "drain"]);
});

test("nobody hurries what is spread", (t) => {
  const here = world(t, { random: 1 });
  const chat = connect(here);
  here.last.accept();
  here.last.end(1012);
  here.document.dispatchEvent(new Event("visibilitychange"));
  here.page.dispatchEvent(new Event("online"));
  here.advance(4999);
  assert.equal(chat.state, "waiting");
  here.advance(1);
  assert.equal(chat.state, "connecting");
});

for (const code of [1000, 1008, 4000, 4999]) {
  test(`${code} stops, whatever happens next`, (t) => {
    const here = world(t);
    const chat = connect(here);
    here.last.accept();
    here.last.end(code, "no");
    assert.deepEqual(chat.told.at(-1), { state: "stopped", code, reason: "no" });
    here.page.dispatchEvent(new Event("online"));
    here.document.dispatchEvent(new Event("visibilitychange"));
    here.advance(1e9);
    assert.equal(here.made.length, 1);
    assert.equal(chat.send("x"), false);
    chat.open();
    assert.equal(here.made.length, 2);
  });
}

test("a code that is configured is obeyed, and a server that throws everybody out is not hammered", (t) => {
  const here = world(t, { random: 0.5 });
  const chat = connect(here, { base: 1000, max: 30_000, codes: { 1008: "slow", 4001: "retry", 1011: "stop" } });
  let asked = 0;
  for (const end = Date.now() + 600_000; Date.now() < end; asked++) {
    here.last.accept();
    here.last.end(4001, "token");
    here.advance(chat.told.at(-1).delay);
  }
  assert.ok(asked > 30 && asked < 50, `${asked} attempts in ten minutes`);
  here.last.accept();
  here.last.end(1008);
  assert.equal(chat.told.at(-1).delay, 22_500);
  here.advance(22_500);
  here.last.end(1011);
  assert.equal(chat.state, "stopped");
});

test("heartbeats are answered and kept back", (t) => {
  const here = world(t);
  const chat = connect(here, { ping: "ping", pong: "pong" });
  here.last.accept();
  here.last.say("ping");
  here.last.say("pinger");
  assert.deepEqual(here.last.sent, ["pong"]);
  assert.deepEqual(chat.messages, ["pinger"]);
});

test("a server that falls silent is left two seconds after the limit, without waiting for the socket's end", (t) => {
  const here = world(t);
  const chat = connect(here, { ping: "ping", silence: 60_000 });
  here.last.accept();
  here.advance(59_000);
  here.last.say("ping");
  here.advance(61_999);
  assert.equal(chat.state, "open");
  here.advance(1);
  assert.deepEqual(chat.told.at(-1), { state: "waiting", code: 1006, reason: "silent", delay: 500 });
  const [silent] = here.made;
  assert.deepEqual(silent.closed, { code: 1000, reason: "" });
  here.advance(500);
  here.last.accept();
  // What the old socket still has is nobody's.
  silent.say("late");
  silent.end(1006);
  assert.deepEqual([chat.state, chat.messages, here.made.length], ["open", [], 2]);
});

test("without a heartbeat nothing is concluded from silence", (t) => {
  const here = world(t);
  const chat = connect(here);
  here.last.accept();
  here.advance(1e8);
  assert.equal(chat.state, "open");
});

test("timers that a background tab runs once a minute cost no connection that is alive", (t) => {
  const here = world(t);
  const chat = connect(here, { ping: "ping", silence: 30_000 });
  here.last.accept();
  const real = globalThis.setTimeout;
  // Chrome's intensive throttling: a timer waits for the next full minute. Messages do not.
  t.mock.method(globalThis, "setTimeout", (run, ms) => real(run, Math.ceil((Date.now() + ms) / 60_000) * 60_000 - Date.now()));
  for (let beat = 0; beat < 60; beat++) {
    here.advance(25_000);
    here.last.say("ping");
  }
  assert.deepEqual([chat.state, here.made.length], ["open", 1]);
  here.advance(180_000);
  assert.equal(chat.told.at(-1).reason, "silent");
});

test("after a sleep what waited in the queue is heard before the verdict", (t) => {
  const here = world(t);
  const chat = connect(here, { ping: "ping", silence: 60_000 });
  here.last.accept();
  // The timer is eight hours late; the heartbeat comes right behind it.
  here.sleep(8 * 3_600_000);
  here.document.dispatchEvent(new Event("visibilitychange"));
  here.advance(1999);
  here.last.say("ping");
  here.advance(60_000);
  assert.equal(chat.state, "open");
});

test("after a sleep a dead connection is left as soon as the page is seen", (t) => {
  const here = world(t);
  const chat = connect(here, { ping: "ping", silence: 60_000 });
  here.last.accept();
  here.document.hidden = true;
  here.sleep(8 * 3_600_000);
  here.document.hidden = false;
  here.document.dispatchEvent(new Event("visibilitychange"));
  here.advance(2000);
  assert.equal(chat.told.at(-1).reason, "silent");
});

test("a clock that is set back delays the verdict and breaks nothing", (t) => {
  const here = world(t);
  const chat = connect(here, { ping: "ping", silence: 60_000 });
  here.last.accept();
  const now = Date.now;
  t.mock.method(Date, "now", () => now() - 86_400_000);
  here.advance(121_999);
  assert.equal(chat.state, "open");
  here.advance(1);
  assert.equal(chat.told.at(-1).reason, "silent");
});

test("without a network it asks seldom, and soon when the network is back", (t) => {
  const here = world(t);
  const chat = connect(here);
  here.last.accept();
  here.navigator.onLine = false;
  here.last.end(1006);
  assert.equal(chat.told.at(-1).delay, 22_500);
  here.advance(10_000);
  here.navigator.onLine = true;
  here.page.dispatchEvent(new Event("online"));
  assert.equal(chat.told.at(-1).delay, 500);
  here.advance(500);
  assert.equal(chat.state, "connecting");
});

test("a page that is seen again does not wait for the end of a long backoff, one that is hidden does", (t) => {
  const here = world(t, { random: 1 });
  const chat = connect(here);
  for (let failure = 0; failure < 5; failure++) {
    here.last.end(1006);
    here.advance(chat.told.at(-1).delay);
  }
  here.last.end(1006);
  assert.equal(chat.told.at(-1).delay, 30_000);
  here.document.hidden = true;
  here.document.dispatchEvent(new Event("visibilitychange"));
  assert.equal(chat.told.at(-1).delay, 30_000);
  here.document.hidden = false;
  here.document.dispatchEvent(new Event("visibilitychange"));
  assert.equal(chat.told.at(-1).delay, 1000);
});

test("the outbox keeps its order, has a bound, and follows what the app says first", (t) => {
  const here = world(t);
  const chat = connect(here, { outbox: 3 });
  chat.addEventListener("state", ({ detail }) => detail.state === "open" && chat.send("login"));
  assert.deepEqual(["one", "two", "three", "four"].map((text) => chat.send(text)), [true, true, true, false]);
  assert.equal(chat.queued, 3);
  here.last.accept();
  assert.deepEqual(here.last.sent, ["login", "one", "two", "three"]);
  assert.equal(chat.queued, 0);
  here.last.end(1006);
  assert.equal(chat.send("five"), true);
  here.advance(1000);
  here.last.accept();
  assert.deepEqual(here.last.sent, ["login", "five"]);
});

test("a socket that takes no more is full, too", (t) => {
  const here = world(t);
  const chat = connect(here, { buffer: 1000 });
  here.last.accept();
  here.last.bufferedAmount = 1000;
  assert.equal(chat.send("x"), false);
  here.last.bufferedAmount = 999;
  assert.equal(chat.send("y"), true);
  assert.deepEqual(here.last.sent, ["y"]);
});

test("an attempt that gets no answer ends", (t) => {
  const here = world(t);
  const chat = connect(here, { timeout: 3000 });
  here.advance(3000);
  assert.deepEqual(chat.told.at(-1), { state: "waiting", code: 1006, reason: "timeout", delay: 500 });
  here.made[0].accept();
  assert.equal(chat.state, "waiting");
});

test("a url that is a function is asked for each attempt", async (t) => {
  const here = world(t);
  let tokens = 0;
  const chat = connect(here, {}, async () => `${URL}?token=${++tokens}`);
  await here.settle();
  assert.equal(here.last.url, `${URL}?token=1`);
  here.last.end(1006);
  here.advance(500);
  await here.settle();
  assert.equal(here.last.url, `${URL}?token=2`);
  // One that is answered after the connection was closed makes no socket.
  here.last.end(1006);
  here.advance(1000);
  chat.close();
  await here.settle();
  assert.deepEqual([here.made.length, chat.state], [2, "stopped"]);
});

test("a url that fails is a failure like any other", async (t) => {
  const here = world(t);
  const chat = connect(here, {}, () => Promise.reject(new Error("no token")));
  await here.settle();
  assert.deepEqual([chat.state, chat.told.at(-1).reason], ["waiting", "Error: no token"]);
});

test("close ends it, and open begins again", (t) => {
  const here = world(t);
  const chat = connect(here);
  here.last.accept();
  chat.close(4000, "bye");
  assert.deepEqual(here.last.closed, { code: 4000, reason: "bye" });
  assert.deepEqual(chat.told.at(-1), { state: "stopped", code: 4000, reason: "bye" });
  here.last.end(1006);
  here.advance(1e9);
  assert.equal(here.made.length, 1);
  chat.open();
  chat.open();
  assert.equal(here.made.length, 2);
});

test("close while the app hears that it is open sends nothing more", (t) => {
  const here = world(t);
  const chat = connect(here);
  chat.send("kept");
  chat.addEventListener("state", ({ detail }) => detail.state === "open" && chat.close());
  here.last.accept();
  assert.deepEqual([here.last.sent, chat.queued], [[], 1]);
});
