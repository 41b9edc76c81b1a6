// A browser's globals for the client, under the test's control: sockets, the document, the network, chance. Time is `node:test`'s.
export class FakeSocket {
  static made = [];
  readyState = 0;
  bufferedAmount = 0;
  sent = [];
  closed = null;
  constructor(url, protocols) {
    if (String(url).startsWith("bad")) throw new SyntaxError("not a URL");
    Object.assign(this, { url: String(url), protocols });
    FakeSocket.made.push(this);
  }
  send(data) {
    if (this.readyState !== 1) throw new Error("not open");
    this.sent.push(data);
  }
  close(code, reason) {
    // As in a browser whose network is gone: no event comes of it.
    this.closed = { code, reason };
  }
  accept() {
    this.readyState = 1;
    this.onopen?.({});
  }
  say(data) {
    this.onmessage?.({ data });
  }
  end(code, reason = "") {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
}

export function world(t, { random = 0.5 } = {}) {
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
  const page = new EventTarget();
  const here = {
    made: (FakeSocket.made = []),
    page,
    document: Object.assign(new EventTarget(), { hidden: false }),
    navigator: { onLine: true },
    random,
    // In steps, because a tick sets the clock to its end before it runs what was due on the way.
    advance(ms) {
      const step = Math.max(100, ms / 2000);
      for (let left = ms; left > 0; left -= step) t.mock.timers.tick(Math.min(step, left));
      if (ms === 0) t.mock.timers.tick(0);
    },
    // The machine sleeps: what was due meanwhile runs when it wakes.
    sleep: (ms) => t.mock.timers.tick(ms),
    get last() {
      return here.made.at(-1);
    },
    // What `url()` and its like have promised comes true.
    settle: () => new Promise((done) => setImmediate(done)),
  };
  const globals = {
    WebSocket: FakeSocket,
    document: here.document,
    navigator: here.navigator,
    addEventListener: page.addEventListener.bind(page),
  };
  for (const [name, value] of Object.entries(globals)) {
    const former = Object.getOwnPropertyDescriptor(globalThis, name);
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    t.after(() => (former ? Object.defineProperty(globalThis, name, former) : delete globalThis[name]));
  }
  t.mock.method(Math, "random", () => here.random);
  return here;
}
