"""Real streams: a process of its own for each number of them, beside an app and a load that answers pings and Closes."""

import contextlib
import http.client
import json
import pathlib
import signal
import statistics
import time

from harness.wait import until

from measure import TOOL, quantile, settled
from processes import listening
from proxies import sidebeat

PORT, ADMIN, TELEMETRY = 8001, 9600, 9601
IDLE = [TOOL, "idle", "--to", f"127.0.0.1:{PORT}", "--streams"]
# Twice as many as the load opens at once.
WARM = 256


def measure(streams, place, options):
    """Every figure of so many streams."""
    return {"streams": streams, **held(streams, place, options), "late_ms": late(streams, place, options)}


@contextlib.contextmanager
def proxy(place, options, **settings):
    """The app and sidebeat, ready."""
    place.use("ws", **settings)
    place.admin, place.telemetry = ADMIN, TELEMETRY
    place.ports = {"ws": PORT}
    processor, app = options.processor, f"127.0.0.1:{place.apps['ws']}"
    with processor.running([TOOL, "app", "--listen", app, "--kind", "ws"]) as app:
        app.stdout.readline()
        with processor.running(sidebeat(place), place.directory / "sidebeat.log") as process:
            until(lambda: listening([PORT, ADMIN, TELEMETRY]) == 3 or process.poll() is not None, 10, what="sidebeat on its ports")
            if process.poll() is not None:
                raise RuntimeError((place.directory / "sidebeat.log").read_text()[-2000:])
            yield process


def held(streams, place, options):
    """Memory, CPU, list and drain of streams that are idle but for pings."""
    settle, ping = (2, "1s") if options.quick else (25, "25s")
    with proxy(place, options, limit=55.0, ping=ping) as process:
        # What openings leave behind once, however many follow, is not counted.
        with options.processor.running([*IDLE, WARM]) as load:
            load.stdout.readline()
        empty = settled([process.pid])
        command = [*IDLE, streams]
        with options.processor.running(command) as load:
            if not load.stdout.readline():
                raise RuntimeError("the streams did not open")
            figures = {"memory_bytes_per_stream": (settled([process.pid]) - empty) / streams}
            time.sleep(settle)
            figures |= minute(process.pid, options.window)
            figures["list_ms"] = statistics.median(listing(streams) for _ in range(3))
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            figures["drain_ms"] = (time.monotonic() - began) * 1e3
    return figures


def minute(pid, window):
    """CPU and pings, told for a minute."""
    began, cpu, pings = time.monotonic(), cpu_of(pid), pings_sent()
    time.sleep(window)
    cpu, pings, took = cpu_of(pid) - cpu, pings_sent() - pings, time.monotonic() - began
    return {"cpu_seconds_per_minute": cpu * 60 / took, "pings_per_minute": pings * 60 / took}


def cpu_of(pid):
    """Seconds that all threads have run, by the scheduler's own count."""
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def ask(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {body!r}")
        return body
    finally:
        connection.close()


def metrics():
    return ask(TELEMETRY, "/metrics").decode().splitlines()


def pings_sent():
    return sum(float(line.split()[-1]) for line in metrics() if line.startswith("sidebeat_pings_sent_total{"))


def listing(streams):
    """Milliseconds until every page was read."""
    took, listed, cursor = 0.0, 0, ""
    while cursor is not None:
        began = time.monotonic()
        body = ask(ADMIN, f"/v1/streams?limit=1000{cursor}")
        took += time.monotonic() - began
        page = json.loads(body)
        listed += len(page["items"])
        cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
    if listed != streams:
        ended = [line for line in metrics() if line.startswith("sidebeat_streams_closed_total{")]
        raise RuntimeError(f"{listed} of {streams} streams were listed; " + ", ".join(ended))
    return took * 1e3


def late(streams, place, options):
    """How long after the limit the clients see their end, when they fall silent within half of that."""
    limit = 2.0 if options.quick else 10.0
    with proxy(place, options, limit=limit):
        command = [TOOL, "silent", "--to", f"127.0.0.1:{PORT}", "--streams", streams, "--rate", 2 * streams / limit, "--limit", limit]
        with options.processor.running(command) as load:
            line = load.stdout.readline()
            if load.wait(60) != 0 or not line:
                raise RuntimeError("the silent streams were not closed as they should be")
    result = json.loads(line)
    late = sorted((ended - sent) / 1e6 - limit * 1e3 for sent, ended in zip(result["sent"], result["ended"]))
    return {"first": late[0], "p50": quantile(late, 0.5), "p99": quantile(late, 0.99), "p99.9": quantile(late, 0.999), "max": late[-1]}
