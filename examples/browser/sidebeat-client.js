// A WebSocket that comes back. What the options mean is told in sidebeat-client.d.ts.
/** @import { Options, State, Verdict, Connection as Declared } from "./sidebeat-client.d.ts" */

// What waited in the browser's queue while the page slept is heard within this time.
const GRACE = 2000;

/** @type {Record<number, Verdict>} */
const CODES = { 1000: "stop", 1002: "slow", 1003: "slow", 1007: "slow", 1008: "stop", 1009: "slow", 1010: "slow", 1012: "soon", 1013: "slow" };

export class Connection extends EventTarget {
  /** @type {State} */
  #state = "stopped";
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {Parameters<Declared["send"]>[0][]} */
  #outbox = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} one at a time: of the attempt, of the watch, or of the wait */
  #timer;
  #attempt = 0; // tells a late `url()` from the one that is awaited
  #failures = 0;
  #opened = 0;
  #heard = 0;
  #hurry = false;
  #awake = new AbortController();
  #url;
  #options;

  /** @param {ConstructorParameters<typeof Declared>[0]} url @param {Options} options */
  constructor(url, options = {}) {
    super();
    this.#url = url;
    this.#options = {
      silence: options.ping === undefined ? 0 : 60000,
      timeout: 10000,
      base: 1000,
      max: 30000,
      spread: 5000,
      stable: 10000,
      outbox: 100,
      buffer: 1 << 20,
      ...options,
    };
    this.open();
  }

  get state() {
    return this.#state;
  }

  get queued() {
    return this.#outbox.length;
  }

  /** @param {Parameters<Declared["send"]>[0]} data */
  send(data) {
    if (this.#state === "open" && this.#socket) {
      const room = this.#socket.bufferedAmount < this.#options.buffer;
      if (room) this.#socket.send(data);
      return room;
    }
    const room = this.#state !== "stopped" && this.queued < this.#options.outbox;
    if (room) this.#outbox.push(data);
    return room;
  }

  open() {
    if (this.#state === "connecting" || this.#state === "open") return;
    if (this.#state === "stopped") this.#listen();
    this.#connect();
  }

  close(code = 1000, reason = "") {
    this.#drop(code, reason);
    this.#stop({ code, reason });
  }

  async #connect() {
    this.#drop();
    const { timeout, protocols, ping, pong } = this.#options;
    const attempt = this.#attempt;
    this.#timer = setTimeout(() => this.#lost(1006, "timeout"), timeout);
    this.#tell("connecting");
    try {
      const url = typeof this.#url === "function" ? await this.#url() : this.#url;
      if (attempt !== this.#attempt) return;
      const socket = (this.#socket = new WebSocket(url, protocols));
      socket.binaryType = "arraybuffer";
      socket.onopen = () => {
        this.#opened = this.#heard = Date.now();
        this.#watch();
        // Before the outbox, so that what the app says first, say a login, comes first.
        this.#tell("open");
        for (let data; this.#socket === socket && (data = this.#outbox.shift()) !== undefined; ) socket.send(data);
      };
      socket.onmessage = ({ data }) => {
        this.#heard = Date.now();
        if (data !== ping) this.dispatchEvent(new MessageEvent("message", { data }));
        else if (pong !== undefined) socket.send(pong);
      };
      socket.onclose = ({ code, reason }) => this.#lost(code, reason);
    } catch (error) {
      if (attempt === this.#attempt) this.#lost(1006, String(error));
    }
  }

  /** Leaves the socket without waiting for its end: on a network that is gone the browser waits long. */
  #drop(code = 1000, reason = "") {
    clearTimeout(this.#timer);
    this.#attempt++;
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code, reason);
  }

  /** @param {number} code @param {string} reason */
  #lost(code, reason) {
    const { base, max, spread, stable, codes } = this.#options;
    this.#drop();
    const verdict = codes?.[code] ?? CODES[code] ?? (code < 4000 ? "retry" : "stop");
    if (verdict === "stop") return this.#stop({ code, reason });
    // A server that lets everybody in and throws them out at once must not be asked faster for it.
    if (this.#opened && Date.now() - this.#opened >= stable) this.#failures = 0;
    this.#opened = 0;
    const bound = Math.min(max, base * 2 ** this.#failures++);
    this.#hurry = code === 1006;
    // Without a network attempts are useless, but browsers have been wrong about that.
    if (verdict === "slow" || (this.#hurry && globalThis.navigator?.onLine === false)) this.#wait(max / 2, max, { code, reason });
    else this.#wait(0, verdict === "soon" ? Math.max(spread, bound) : bound, { code, reason });
  }

  /** @param {number} least @param {number} most @param {object} [end] */
  #wait(least, most, end) {
    const delay = Math.round(least + Math.random() * (most - least));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), delay);
    this.#tell("waiting", { ...end, delay });
  }

  /** Looks whether the server was heard lately enough, and when to look again. */
  #watch(last = false) {
    const { silence } = this.#options;
    clearTimeout(this.#timer);
    if (!silence) return;
    // A clock that was set back would make a long silence of it.
    this.#heard = Math.min(this.#heard, Date.now());
    const left = this.#heard + silence - Date.now();
    if (left <= 0 && last) this.#lost(1006, "silent");
    else this.#timer = setTimeout(() => this.#watch(left <= 0), left > 0 ? left : GRACE);
  }

  /** The page is seen again, or the network is back: timers may be late, and waiting may have lost its reason. */
  #wake = () => {
    if (globalThis.document?.hidden) return;
    if (this.#state === "open") this.#watch();
    else if (this.#state === "waiting" && this.#hurry) this.#wait(0, this.#options.base);
  };

  #listen() {
    this.#awake = new AbortController();
    for (const name of ["online", "pageshow"]) globalThis.addEventListener?.(name, this.#wake, this.#awake);
    for (const name of ["visibilitychange", "resume"]) globalThis.document?.addEventListener(name, this.#wake, this.#awake);
  }

  /** @param {object} end */
  #stop(end) {
    this.#awake.abort();
    this.#failures = this.#opened = 0;
    this.#tell("stopped", end);
  }

  /** @param {State} state @param {object} [detail] */
  #tell(state, detail) {
    this.#state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, ...detail } }));
  }
}

/** @satisfies {typeof Declared} */
(Connection);
