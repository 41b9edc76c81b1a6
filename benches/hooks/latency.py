"""Round trips through sidebeat while its hooks fail, beside those without hooks, in one run.

Two processes of sidebeat, one with a hook that fails, a state_dir and so a growing log, one without. Windows of a second alternate: one process is
awake and the other stopped, so that neither takes the other's CPU and both see the same noise of the machine. In each window streams open and
close all the time, which is what makes events, and on one more stream a message of 128 bytes goes there and back. The ratios are of the
percentiles of all round trips, and the median over the pairs of neighbouring windows.
"""

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import signal
import statistics
import sys
import tempfile
import time

from harness.crowd import Member
from harness.peer import Peer, Process
from harness.sidebeat import Sidebeat, listener
from harness.wait import until
from harness.wire import BINARY, Client, frame

HERE = pathlib.Path(__file__).resolve()
# Seconds: a window, its beginning that is not measured, the pause between two messages.
WINDOW, SETTLED, PACE = 1.0, 0.25, 0.001


async def churn(rate):
    """Opens and closes so many streams a second at the port that stdin names, none while it names 0; prints how many there were."""
    port, opened = 0, 0
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def one(port):
        nonlocal opened
        with contextlib.suppress(OSError, EOFError):
            member = await Member.open(("127.0.0.1", port))
            opened += 1
            await asyncio.sleep(0.02)
            await member.close()

    alive = set()

    async def open_streams():
        while True:
            await asyncio.sleep(1 / rate)
            if port:
                task = asyncio.create_task(one(port))
                alive.add(task)
                task.add_done_callback(alive.discard)

    opening = asyncio.create_task(open_streams())
    while line := await reader.readline():
        port = int(line)
        print(json.dumps({"opened": opened}), flush=True)
    opening.cancel()


async def receiver(failing):
    """A receiver of hooks that takes none; prints its port."""

    async def serve(reader, writer):
        with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(length)
                if failing == "500":
                    writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    if failing == "refused":
        server.close()
    print(json.dumps({"port": port}), flush=True)
    await asyncio.Event().wait()


def round_trips(wire, message, answer, seconds):
    """The round trips of a window in microseconds, but for those of its beginning."""
    took = []
    began = time.perf_counter()
    while (sent := time.perf_counter()) < began + seconds:
        wire.sendall(message)
        left = answer
        while left:
            left -= len(wire.recv(left))
        if sent > began + SETTLED:
            took.append((time.perf_counter() - sent) * 1e6)
        time.sleep(PACE)
    return took


def percentile(values, part):
    return sorted(values)[int(len(values) * part)]


def realtime():
    """Puts this process, and all that it starts from here on, before everything else on the machine (sched(7), SCHED_RR)."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


class Side:
    """One of the two processes, with its stream that is measured."""

    def __init__(self, stack, directory, echo, crowd, hook):
        listeners = {"echo": listener("ws", f"ws://127.0.0.1:{echo}"), "churn": listener("ws", f"ws://127.0.0.1:{crowd}")}
        top = {}
        if hook:
            top["hooks"] = {"app": {"url": f"http://127.0.0.1:{hook}/hook", "events": ["opened", "closed"], "timeout": "2s"}}
            top["state_dir"] = str(directory / "state")
        self.sidebeat = stack.enter_context(Sidebeat(listeners, workers=1, **top))
        stack.callback(self.sidebeat.kill, signal.SIGKILL)
        self.sidebeat.stopped = True
        self.client = Client(self.sidebeat.at("echo"))
        self.client.open()
        self.client.opened()
        self.client.socket.settimeout(30)
        self.windows = []
        self.sidebeat.kill(signal.SIGSTOP)

    def fill(self, flood, streams):
        """Opens and closes so many streams: twice as many events, which nobody takes."""
        self.sidebeat.kill(signal.SIGCONT)
        flood.write(str(self.sidebeat.at("churn")[1]))
        flood.read()
        until(lambda: self.sidebeat.metric("streams_closed_total") >= streams, 120)
        flood.write("0")
        flood.read()
        time.sleep(0.5)  # for those that are opening
        self.sidebeat.kill(signal.SIGSTOP)

    def window(self, churning):
        self.sidebeat.kill(signal.SIGCONT)
        churning.write(str(self.sidebeat.at("churn")[1]))
        churning.read()
        self.windows.append(round_trips(self.client.socket, frame(BINARY, b"x" * 128, masked=True), 4 + 128, WINDOW))
        churning.write("0")
        opened = churning.read()["opened"]
        time.sleep(0.05)  # for the closes of the last streams
        self.sidebeat.kill(signal.SIGSTOP)
        return opened


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=60, help="pairs of windows of a second")
    parser.add_argument("--failing", choices=["500", "silent", "refused", "none"], default="500", help="how the receiver fails; none: no hooks on either side, to see what the method is worth")
    parser.add_argument("--realtime", action="store_true", help="before all other work of the machine (root)")
    parser.add_argument("--churn", type=int, default=20, help="openings and closings a second while it is measured: an opening keeps others waiting by itself")
    parser.add_argument("--backlog", type=int, default=2000, help="streams opened and closed before")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hooks-")))
        python = [sys.executable, HERE]
        crowd = stack.enter_context(Process(sys.executable, "-m", "harness.crowd", "app")).read()["port"]
        hook = stack.enter_context(Process(*python, "receiver", options.failing)).read()["port"]
        churning = stack.enter_context(Process(*python, "churn", options.churn))
        # What is not on the way of the message stays behind, the receiver included.
        if options.realtime:
            realtime()
        echo = stack.enter_context(Peer("app", "ws")).read()["port"]
        failing = Side(stack, directory, echo, crowd, hook if options.failing != "none" else None)
        without = Side(stack, directory, echo, crowd, None)
        with Process(*python, "churn", 400) as flood:
            for side in (failing, without):
                side.fill(flood, options.backlog)
        opened = 0
        for pair in range(options.windows):
            # Which is first changes, so that a trend of the machine favours nobody.
            for side in (failing, without) if pair % 2 else (without, failing):
                opened = side.window(churning)
        failing.sidebeat.kill(signal.SIGCONT)
        metrics = failing.sidebeat.metrics()
        report(options, failing, without, opened, metrics)


def report(options, failing, without, opened, metrics):
    queued, retries = (sum(metrics.by("hook", f"sidebeat_hook_{name}").values()) for name in ("queue_events", "retries_total"))
    trips = sum(map(len, failing.windows))
    print(
        f"hooks fail by {options.failing}; {opened} streams opened and closed, {queued:.0f} events wait, {retries:.0f} retries; "
        f"{trips} round trips each; load {os.getloadavg()[0]:.1f}"
    )
    for name, part in [("p50", 0.5), ("p99", 0.99)]:
        ratios = sorted(percentile(ours, part) / percentile(theirs, part) for ours, theirs in zip(failing.windows, without.windows))
        quarter = len(ratios) // 4
        ours, theirs = (percentile([took for window in side.windows for took in window], part) for side in (failing, without))
        print(
            f"{name}: failing {ours:.0f} µs, without hooks {theirs:.0f} µs, ratio {ours / theirs:.3f}; "
            f"of pairs of windows {statistics.median(ratios):.3f} (half of them {ratios[quarter]:.2f} to {ratios[-1 - quarter]:.2f})"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["churn"]:
        asyncio.run(churn(int(sys.argv[2])))
    elif sys.argv[1:2] == ["receiver"]:
        asyncio.run(receiver(sys.argv[2]))
    else:
        main()
