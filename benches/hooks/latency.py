"""Round trips through sidebeat while its hooks fail, beside those without hooks, in one run.

Two processes of sidebeat, one with a hook that fails, a state_dir and so a growing log, one without. Windows alternate: one process is
awake and the other stopped, so that neither takes the other's CPU and both see the same noise of the machine. In each window streams open and
close all the time, which is what makes events, while on others messages of 128 bytes go there and back, due at even intervals whether answers
come or not (../side-by-side, echo --rate). The ratios are the medians over the pairs of neighbouring windows, with the middle half of them.
"""

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile

from harness.crowd import Member
from harness.peer import Process
from harness.sidebeat import Sidebeat, listener
from harness.wait import until

HERE = pathlib.Path(__file__).resolve()
TOOL = str(HERE.parent.parent / "side-by-side/target/release/side-by-side")
# Where the app of the messages listens, in a network of its own.
ECHO = "127.0.0.1:7001"
QUANTILES = ("p50", "p99", "p99.9")


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


def realtime():
    """Puts this process, and all that it starts from here on, before everything else on the machine (sched(7), SCHED_RR)."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


class Side:
    """One of the two processes, with what its windows measured."""

    def __init__(self, stack, directory, crowd, hook):
        listeners = {"echo": listener("ws", f"ws://{ECHO}"), "churn": listener("ws", f"ws://127.0.0.1:{crowd}")}
        top = {}
        if hook:
            top["hooks"] = {"app": {"url": f"http://127.0.0.1:{hook}/hook", "events": ["opened", "closed"], "timeout": "2s"}}
            top["state_dir"] = str(directory / "state")
        self.sidebeat = stack.enter_context(Sidebeat(listeners, workers=1, **top))
        stack.callback(self.sidebeat.kill, signal.SIGKILL)
        self.sidebeat.stopped = True
        self.windows = []
        self.sidebeat.kill(signal.SIGSTOP)

    def fill(self, flood, streams):
        """Opens and closes so many streams: twice as many events, which nobody takes."""
        with self.awake(flood):
            until(lambda: self.sidebeat.metric("streams_closed_total") >= streams, 120)

    @contextlib.contextmanager
    def awake(self, churning):
        """Lets the process go on, with streams that open and close; they are all closed when it is stopped again."""
        self.sidebeat.kill(signal.SIGCONT)
        churning.write(str(self.sidebeat.at("churn")[1]))
        churning.read()
        yield
        churning.write("0")
        self.opened = churning.read()["opened"]
        until(lambda: self.sidebeat.metric("streams_active", listener="churn") == 0, 10)
        self.sidebeat.kill(signal.SIGSTOP)

    def window(self, churning, options):
        host, port = self.sidebeat.at("echo")
        load = [TOOL, "echo", "--to", f"{host}:{port}", "--size", 128, "--streams", options.streams, "--rate", options.rate]
        with self.awake(churning):
            done = subprocess.run([*map(str, load), "--warm", "0.3", "--seconds", str(options.seconds)], stdout=subprocess.PIPE, check=True)
        self.windows.append(json.loads(done.stdout))


@contextlib.contextmanager
def app():
    """The app of the messages."""
    with subprocess.Popen([TOOL, "app", "--listen", ECHO, "--kind", "ws"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield
        process.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=60, help="pairs of windows")
    parser.add_argument("--seconds", type=float, default=1.5, help="of a window")
    parser.add_argument("--rate", type=int, default=2000, help="messages a second")
    parser.add_argument("--streams", type=int, default=64, help="streams that carry them")
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
        # What is not on the way of the messages stays behind, the receiver included.
        if options.realtime:
            realtime()
        stack.enter_context(app())
        failing = Side(stack, directory, crowd, hook if options.failing != "none" else None)
        without = Side(stack, directory, crowd, None)
        with Process(*python, "churn", 400) as flood:
            for side in (failing, without):
                side.fill(flood, options.backlog)
        for pair in range(options.windows):
            # Which is first changes, so that a trend of the machine favours nobody.
            for side in (failing, without) if pair % 2 else (without, failing):
                side.window(churning, options)
        failing.sidebeat.kill(signal.SIGCONT)
        metrics = failing.sidebeat.metrics()
        report(options, failing, without, metrics)


def report(options, failing, without, metrics):
    queued, retries = (sum(metrics.by("hook", f"sidebeat_hook_{name}").values()) for name in ("queue_events", "retries_total"))
    trips = sum(window["units"] for window in failing.windows)
    print(
        f"hooks fail by {options.failing}; {failing.opened} streams opened and closed in all, {queued:.0f} events wait, {retries:.0f} retries; "
        f"{trips} round trips each; load {os.getloadavg()[0]:.1f}"
    )
    for name in QUANTILES:
        ours, theirs = ([window["latency_us"][name] for window in side.windows] for side in (failing, without))
        ratios = sorted(each / other for each, other in zip(ours, theirs))
        quarter = len(ratios) // 4
        print(
            f"{name}: failing {statistics.median(ours):.0f} µs, without hooks {statistics.median(theirs):.0f} µs (medians of the windows); "
            f"ratio over pairs of windows {statistics.median(ratios):.3f} (half of them {ratios[quarter]:.2f} to {ratios[-1 - quarter]:.2f})"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["churn"]:
        asyncio.run(churn(int(sys.argv[2])))
    elif sys.argv[1:2] == ["receiver"]:
        asyncio.run(receiver(sys.argv[2]))
    else:
        main()
