// One conversation of a JavaScript client, in Node and in a browser: random messages of which each must come back byte for byte.
"use strict";

const IN_FLIGHT = { messages: 8, bytes: 4 << 20 };
const EDGES = [0, 1, 125, 126, 127, 65535, 65536, 65537];
const WORDS = ["heart", "beat", " ", "\n", "é", "漢字", "🫀", "0123456789", "\u0000"];

// mulberry32: small, and the same sequence for the same seed everywhere.
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let word = Math.imul(state ^ (state >>> 15), state | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return ((word ^ (word >>> 14)) >>> 0) / 2 ** 32;
  };
}

function size(random) {
  const kind = random();
  if (kind < 0.2) return EDGES[Math.floor(random() * EDGES.length)];
  if (kind < 0.9) return Math.floor(random() * 4000);
  return Math.floor(random() * (kind < 0.98 ? 200e3 : 2e6));
}

// A string, or bytes as an ArrayBuffer: noise that no compression makes smaller, or words that it does.
function message(random) {
  const length = size(random);
  if (random() < 0.5) {
    const parts = [];
    for (let left = length; left > 0; left -= parts.at(-1).length) parts.push(WORDS[Math.floor(random() * WORDS.length)]);
    return parts.join("");
  }
  const bytes = new Uint8Array(length);
  const noise = random() < 0.5 ? 256 : 2;
  for (let at = 0; at < length; at++) bytes[at] = random() * noise;
  return bytes.buffer;
}

function same(sent, got) {
  if (typeof sent === "string" || typeof got === "string") return sent === got;
  if (sent.byteLength !== got.byteLength) return false;
  const left = new Uint8Array(sent);
  const right = new Uint8Array(got);
  return left.every((byte, at) => byte === right[at]);
}

function weight(data) {
  return typeof data === "string" ? new TextEncoder().encode(data).length : data.byteLength;
}

// Talks for `seconds` on a socket that is still connecting; `send` puts one message on it, in fragments where the client can.
function converse(socket, { seconds, seed, send = (data) => socket.send(data) }) {
  const random = generator(seed);
  const waiting = [];
  let inFlight = 0;
  let messages = 0;
  let bytes = 0;
  let heard = () => {};

  return new Promise((resolve, reject) => {
    const fail = (why) => reject(new Error(`seed ${seed}, after ${messages} messages: ${why}`));
    socket.binaryType = "arraybuffer";
    socket.onerror = (event) => fail(`error ${event.message ?? ""}`);
    socket.onclose = (event) => {
      if (event.code !== 1000 || !event.wasClean || waiting.length) fail(`closed with ${event.code} ${event.reason}, ${waiting.length} messages unanswered`);
      else resolve({ messages, bytes, extensions: socket.extensions });
    };
    socket.onmessage = (event) => {
      const sent = waiting.shift();
      if (sent === undefined) return fail("a message that was never sent");
      if (!same(sent, event.data)) return fail(`sent ${typeof sent} of ${weight(sent)} bytes, got ${typeof event.data} of ${weight(event.data)}`);
      inFlight -= weight(sent);
      messages += 1;
      bytes += weight(sent);
      heard();
    };
    socket.onopen = async () => {
      const end = performance.now() + seconds * 1000;
      while (performance.now() < end && socket.readyState === 1) {
        while (waiting.length >= IN_FLIGHT.messages || inFlight > IN_FLIGHT.bytes) await new Promise((resolve) => (heard = resolve));
        const data = message(random);
        waiting.push(data);
        inFlight += weight(data);
        send(data, random);
        await new Promise((resolve) => setTimeout(resolve, random() * 20));
      }
      while (waiting.length) await new Promise((resolve) => (heard = resolve));
      socket.close(1000);
    };
  });
}

if (typeof module !== "undefined") module.exports = { converse, generator };
