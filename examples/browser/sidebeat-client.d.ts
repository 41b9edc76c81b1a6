/** What a connection is doing. `waiting`: the next attempt has its time. `stopped`: by the app, or by a close code that says so. */
export type State = "connecting" | "open" | "waiting" | "stopped";

/**
 * What follows a close code. `retry`: after a random time below a bound that doubles with each failure, from `base` to `max`. `soon`: after a
 * random time below `spread`. `slow`: after half of `max` at least. `stop`: never; `open()` starts again.
 */
export type Verdict = "retry" | "soon" | "slow" | "stop";

export interface Options {
  /** Subprotocols to offer. */
  protocols?: string | string[];
  /** The server's text heartbeat (sidebeat: `ping.data`). It is not passed on. */
  ping?: string;
  /** What answers it (sidebeat: `ping.reply`). */
  pong?: string;
  /**
   * Milliseconds without a message, heartbeats included, after which the server counts as gone, two seconds later; 0 is never. Needs a heartbeat that
   * comes in any case (sidebeat: `ping: { data, when: always }`). Default: 60000 if `ping` is given, else 0.
   */
  silence?: number;
  /** Milliseconds for one attempt, the call of a `url` function included. Default: 10000. */
  timeout?: number;
  /** Milliseconds: the bound of the first wait. Default: 1000. */
  base?: number;
  /** Milliseconds: the greatest bound. Default: 30000. */
  max?: number;
  /** Milliseconds over which clients come back after a restart of the server (1012). Default: 5000. */
  spread?: number;
  /** Milliseconds that a connection must live before earlier failures are forgotten. Default: 10000. */
  stable?: number;
  /** Messages that wait for a connection at most. Default: 100. */
  outbox?: number;
  /** Bytes that wait in an open socket at most. Default: 1 MiB. */
  buffer?: number;
  /**
   * What follows which close code. Default: `stop` after 1000, 1008 and 4000 to 4999, `soon` after 1012, `slow` after 1013 and what a client is to
   * blame for (1002, 1003, 1007, 1009, 1010), `retry` after all others.
   */
  codes?: Record<number, Verdict>;
}

export interface StateDetail {
  state: State;
  /** Of the connection that ended: its close code; 1006 also for an attempt that failed and for a server that fell silent. */
  code?: number;
  /** Of the connection that ended: the server's words, or `silent`, `timeout`, or what failed. */
  reason?: string;
  /** In `waiting`: milliseconds until the next attempt. */
  delay?: number;
}

export interface Events {
  /** The state has changed; in `waiting` also its delay. */
  state: CustomEvent<StateDetail>;
  /** A message that is no heartbeat: a string or an ArrayBuffer. */
  message: MessageEvent<string | ArrayBuffer>;
}

/** A WebSocket that comes back. It connects at once. */
export class Connection extends EventTarget {
  /** `url` may be a function, which is called for each attempt: for a token that expires. */
  constructor(url: string | URL | (() => string | URL | Promise<string | URL>), options?: Options);
  readonly state: State;
  /** Messages that wait for a connection. */
  readonly queued: number;
  /**
   * Sends, or keeps until there is a connection. `false`: it was not taken, because the outbox or the socket's buffer is full, or the connection is
   * stopped. What a socket had taken when its network vanished is lost: who must know sends again until the app has answered.
   */
  send(data: string | ArrayBuffer | ArrayBufferView<ArrayBuffer> | Blob): boolean;
  /** Connects now, unless it is connected or about to be. */
  open(): void;
  /** Stops for good, or until `open()`. The outbox stays. */
  close(code?: number, reason?: string): void;
  addEventListener<K extends keyof Events>(type: K, listener: (event: Events[K]) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
}
