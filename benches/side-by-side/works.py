"""What is measured, and what is asked of us."""

import dataclasses
import typing


@dataclasses.dataclass(frozen=True)
class Work:
    """One thing that is measured.

    `how` names the function of measure.py. `must` and `goal` are bounds of the ratio to the best peer, or of our own
    figure if `absolute`; None: nothing is asked, the ratio is printed. `peers`: whether others can do it at all.
    """

    about: str
    how: str
    listener: str
    unit: str
    must: float | None
    goal: float | None
    load: typing.Callable = None
    factor: float = 1.0
    app: str = "ws"
    absolute: bool = False
    peers: bool = True
    limit: float = 600.0
    ping: str | None = None


def micro(about, listener, load, must, goal, **rest):
    return Work(about, "cost", listener, "µs", must, goal, load, 1e6, **rest)


def echo(size, streams, in_flight):
    return lambda scale: ["echo", "--size", size, "--streams", streams, "--in-flight", in_flight, "--warm", 0.5 * scale, "--seconds", 3 * scale]


def paced(rate):
    return lambda scale: ["echo", "--size", 128, "--streams", 64, "--rate", rate, "--warm", 0.5 * scale, "--seconds", 5 * scale]


def bulk(listener, about, direction, must, goal):
    def load(scale):
        return ["bulk", "--direction", direction, "--bytes", int(4e9 * scale)]

    return Work(about, "cost", listener, "s/GB", must, goal, load, 1e9, app="bulk")


def opening(count, **options):
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    return lambda scale: ["open", "--count", int(count * scale), "--parallel", 16, *flags]


def memory(listener, about, touch, must, goal):
    def load(scale):
        return ["idle", "--streams", int(3000 * scale), "--touch", touch]

    return Work(about, "memory", listener, "B", must, goal, load, absolute=True)


def rest(listener, about, ping, must, goal, peers):
    """CPU of 6,000 idle streams, told as seconds a minute of 10,000: neither they nor a peer's have the descriptors for more."""

    def load(scale):
        settle, seconds = (25, 25) if scale >= 1 else (1, 2)
        return ["rest", "--streams", int(6000 * scale), "--settle", settle, "--seconds", seconds]

    return Work(about, "rest", listener, "s/min", must, goal, load, absolute=True, peers=peers, ping=ping)


def dead(streams, must, goal):
    def load(scale):
        return ["silent", "--streams", int(streams * scale), "--rate", 2000]

    about = f"{streams} clients fall silent, 2,000 a second: closed so late, p99, limit 10 s (--quick: 2 s)"
    return Work(about, "dead", "ws", "ms", must, goal, load, absolute=True, limit=10.0)


WORKS = {
    "ws-128-1": micro("ws echo of 128 B, 64 streams, 1 in flight: CPU a message", "ws", echo(128, 64, 1), 1.08, 0.97),
    "ws-128-16": micro("ws echo of 128 B, 64 streams, 16 in flight", "ws", echo(128, 64, 16), 1.05, 0.92),
    "ws-64k": micro("ws echo of 64 KiB, 8 streams, 1 in flight", "ws", echo(65536, 8, 1), 0.80, 0.40),
    "wss-128-1": micro("wss echo of 128 B, 64 streams, 1 in flight", "wss", echo(128, 64, 1), 0.75, 0.62),
    "wss-128-16": micro("wss echo of 128 B, 64 streams, 16 in flight", "wss", echo(128, 64, 16), 0.75, 0.62),
    "wss-64k": micro("wss echo of 64 KiB, 8 streams, 1 in flight", "wss", echo(65536, 8, 1), 0.95, 0.70),
    "ws-paced": Work("ws echo of 128 B, 64 streams, 4,000 a second: latency, p99", "paced", "ws", "µs", None, None, paced(4000)),
    "wss-paced": Work("wss echo of 128 B, 64 streams, 4,000 a second: latency, p99", "paced", "wss", "µs", None, None, paced(4000)),
    "tcp-down": bulk("tcp", "tcp to the client: CPU a GB", "down", 1.00, 0.65),
    "tcp-up": bulk("tcp", "tcp to the app: CPU a GB", "up", 1.00, 0.65),
    "tls-down": bulk("tls", "tls to the client: CPU a GB", "down", 0.80, 0.60),
    "tls-up": bulk("tls", "tls to the app: CPU a GB", "up", 0.90, 0.70),
    "ws-open": micro("ws opened and closed: CPU a stream", "ws", opening(10000), 1.30, 1.00),
    "wss-open": micro("wss opened and closed, full handshake", "wss", opening(3000), 0.55, 0.45),
    "wss-resume": micro("wss opened and closed, resumed", "wss", opening(3000, resume="true"), 0.55, 0.45),
    "ws-idle": memory("ws", "memory of a further idle ws stream", 0, 2200, 1500),
    "wss-idle": memory("wss", "memory of a further idle wss stream", 0, 12500, 5500),
    "wss-used": memory("wss", "memory of a further wss stream after 20,000 B", 20000, 16000, 5500),
    "ws-rest": rest("ws", "CPU of 10,000 idle ws streams without pings", None, 0.05, 0.01, peers=True),
    "ws-ping": rest("ws", "CPU of 10,000 idle ws streams, a ping every 25 s, answered", "25s", 0.40, 0.20, peers=False),
    "wss-ping": rest("wss", "CPU of 10,000 idle wss streams, a ping every 25 s, answered", "25s", 0.45, 0.25, peers=False),
    "ws-dead-200": dead(200, 5, 2.5),
    "ws-dead-4000": dead(4000, 10, 5),
    "start": Work("start to serving on 10 listeners", "start", "ws", "ms", 100, 30, absolute=True),
}
