"""One repetition of one work by one proxy: {"cost": in the unit of the table, …}, or None if the proxy cannot do it."""

import contextlib
import json
import pathlib
import socket
import time

from harness.wait import until

from processes import family, listening, pss
from proxies import PROXIES, secure

TOOL = str(pathlib.Path(__file__).parent / "target/release/side-by-side")
OPENING = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: c2lkZS1ieS1zaWRlLTE2Yg==\r\nSec-WebSocket-Version: 13\r\n\r\n"


class Set:
    """A proxy between an app and a load that is still to come. Without a proxy the load goes to the app itself."""

    def __init__(self, work, proxy, place, processor, stack):
        self.work, self.proxy, self.place, self.processor, self.stack = work, proxy, place, processor, stack
        place.use(work.listener, work.limit, work.ping)
        command = [TOOL, "app", "--listen", f"127.0.0.1:{place.apps[work.app]}", "--kind", work.app]
        self.app = stack.enter_context(processor.running(command))
        self.app.stdout.readline()
        self.port = place.ports[work.listener] if proxy else place.apps[work.app]
        self.pids = []

    def begin(self):
        """Starts the proxy; False if it does not listen where it should."""
        if not self.proxy:
            return True
        log = self.place.directory / f"{self.proxy}.log"
        process = self.stack.enter_context(self.processor.running(PROXIES[self.proxy](self.place), log))
        try:
            until(lambda: listening([self.port]) or process.poll() is not None, 10, what=f"{self.proxy} on port {self.port}")
        except AssertionError:
            return False
        if process.poll() is not None:
            raise RuntimeError(f"{self.proxy} ended: {log.read_text()[-2000:]}")
        until(lambda: listening(self.place.ports.values()) >= 2, 10)
        self.pids = family(process.pid)
        return True

    def command(self, scale, *more):
        encrypted = ["--ca", self.place.ca] if self.proxy and secure(self.work.listener) else []
        return [TOOL, *map(str, self.work.load(scale)), "--to", f"127.0.0.1:{self.port}", *encrypted, *map(str, more)]

    def watched(self, scale, *more):
        """The result of a load, with the CPU of the proxy, of the app and of the load."""
        groups = [",".join(map(str, self.pids))] if self.pids else []
        result = self.run(self.command(scale, *more, "--watch", ":".join([*groups, str(self.app.pid)])))
        *by_proxy, result["app"], result["load"] = result.pop("cpu")
        result["proxy"] = sum(by_proxy)
        return result

    def run(self, command):
        with self.processor.running(command) as load:
            result = load.stdout.readline()
            if load.wait(180) != 0 or not result:
                raise RuntimeError(f"{self.proxy or 'direct'}: {' '.join(command)} failed")
        return json.loads(result)


def measure(work, proxy, place, options):
    with contextlib.ExitStack() as stack:
        parts = Set(work, proxy, place, options.processor, stack)
        return HOW[work.how](parts, options.scale)


def cost(parts, scale):
    """CPU of the proxy for each unit, and how the load fared meanwhile."""
    if not parts.begin():
        return None
    result = parts.watched(scale)
    each = parts.work.factor / result["units"]
    busy = result["proxy"] + result["app"] + result["load"]
    return {
        "cost": result["proxy"] * each,
        "app": result["app"] * each,
        "load": result["load"] * each,
        "rate": result["units"] / result["seconds"],
        "busy": busy / result["seconds"],
        "load_share": result["load"] / busy,
        **({"latency_us": result["latency_us"]} if "latency_us" in result else {}),
    }


def paced(parts, scale):
    """Latency at a rate that everybody reaches; the CPU of a message stands beside it."""
    reading = cost(parts, scale)
    if reading:
        reading["cpu_us"] = reading["cost"] * 1e6
        reading["cost"] = reading["latency_us"]["p99"]
    return reading


def memory(parts, scale):
    """Bytes that a proxy holds for each further stream: what openings leave behind once, however many follow, is not counted."""
    if not parts.proxy or not parts.begin():
        return None
    with held(parts, scale):
        before = settled(parts.pids)
        with held(parts, scale) as second:
            return {"cost": (settled(parts.pids) - before) / second, "streams": second}


@contextlib.contextmanager
def held(parts, scale):
    """Streams that stay open; their number."""
    command = parts.command(scale)
    with parts.processor.running(command) as load:
        result = load.stdout.readline()
        if not result:
            raise RuntimeError(f"{' '.join(command)} failed")
        yield json.loads(result)["units"]


def settled(pids):
    """What openings leave behind is given back when the proxy next turns: the least of a second's readings."""
    readings = []
    for _ in range(5):
        time.sleep(0.2)
        readings.append(pss(pids))
    return min(readings)


def rest(parts, scale):
    """Seconds of CPU in a minute, for 10,000 streams."""
    if not parts.proxy:
        return None
    if scale < 1 and parts.place.ping:
        parts.place.ping = "1s"
    if not parts.begin():
        return None
    result = parts.watched(scale)
    per_minute = 60 / result["seconds"] * 10_000 / result["units"]
    return {"cost": result["proxy"] * per_minute, "streams": result["units"], "pings": result["pings"], "seconds": result["seconds"]}


def dead(parts, scale):
    """How late silent streams are closed, counted from the client's last byte; and when the app saw it."""
    if not parts.proxy:
        return None
    if scale < 1:
        parts.place.limit = 2.0
    limit = parts.place.limit
    if not parts.begin():
        return None
    result = parts.run(parts.command(scale, "--limit", limit))
    wanted, by_app = result["units"], {}
    while len(by_app) < wanted:
        parts.app.stdin.write(b"ends\n")
        parts.app.stdin.flush()
        by_app.update(json.loads(parts.app.stdout.readline())["ends"])
        if len(by_app) < wanted and time.monotonic_ns() > max(result["ended"]) + 30e9:
            raise RuntimeError(f"{parts.proxy}: the app saw {len(by_app)} of {wanted} streams end")
    late = sorted((ended - sent) / 1e6 - limit * 1e3 for sent, ended in zip(result["sent"], result["ended"]))
    after = sorted(abs(by_app[number] - ended) / 1e6 for number, ended in enumerate(result["ended"]))
    return {
        # A stream that is closed before its time is as wrong as one that is closed late.
        "cost": quantile(sorted(map(abs, late)), 0.99),
        "late_ms": {"first": late[0], "p50": quantile(late, 0.5), "p99": quantile(late, 0.99), "max": late[-1]},
        "app_after_ms": {"p50": quantile(after, 0.5), "p99": quantile(after, 0.99), "max": after[-1]},
        "early": sum(each < 0 for each in late),
        "streams": wanted,
        "limit_s": limit,
    }


def quantile(ordered, part):
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def start(parts, _):
    """Milliseconds from the start of the process to the last of ten listeners' first answered connection."""
    if not parts.proxy:
        return None
    parts.place.use("ten")
    command = PROXIES[parts.proxy](parts.place)
    began = time.monotonic()
    process = parts.stack.enter_context(parts.processor.running(command, parts.place.directory / f"{parts.proxy}.log"))
    for name, port in parts.place.ports.items():
        until(lambda: served(name, port) or process.poll() is not None, 30, every=0.0005, what=f"{parts.proxy} on port {port}")
    if process.poll() is not None:
        raise RuntimeError(f"{parts.proxy} ended with {process.poll()}")
    return {"cost": (time.monotonic() - began) * 1e3}


def served(name, port):
    """Whether a listener takes a connection and, without TLS, opens a stream to the app."""
    with socket.socket() as client:
        client.settimeout(5)
        try:
            client.connect(("127.0.0.1", port))
            if secure(name):
                return True
            client.sendall(OPENING)
            return client.recv(1 << 16).startswith(b"HTTP/1.1 101")
        except (ConnectionError, TimeoutError):
            return False


HOW = {"cost": cost, "paced": paced, "memory": memory, "rest": rest, "dead": dead, "start": start}
