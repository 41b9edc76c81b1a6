"""Measures what grows with the number of streams, over sockets as far as descriptors reach and over in-memory pipes beyond.

Prints one line for each number of streams; keeps all of it as JSON and draws one plot for each figure.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import plot
from processes import Processor
from proxies import Place
from report import machine
from sockets import measure

PLOTS = {
    "memory": ("Memory of an idle stream", "bytes a stream", "memory_bytes_per_stream"),
    "cpu": ("CPU of idle streams, a ping every 25 s, answered", "seconds of CPU a minute", "cpu_seconds_per_minute"),
    "lateness": ("Silent clients are closed late by, p99.9", "ms after the limit", ("late_ms", "p99.9")),
    "list": ("Listing every stream by the API, pages of 1,000", "ms", "list_ms"),
    "drain": ("Draining every stream at once", "ms until the last is gone", "drain_ms"),
}


def numbers(text):
    return [] if text == "none" else [int(number) for number in text.split(",")]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sockets", type=numbers, default="500,1000,2000,4000,9500", help="numbers of real streams, or none")
    parser.add_argument("--pipes", type=numbers, default="1000,3000,10000,30000,100000", help="numbers of streams over pipes, or none")
    parser.add_argument("--window", type=float, default=25, help="seconds in which CPU is measured")
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the one CPU of proxy, app and load")
    parser.add_argument("--realtime", action="store_true", help="they go before all else on that CPU (SCHED_RR): for a busy machine")
    parser.add_argument("--quick", action="store_true", help="few streams, short: does it run?")
    parser.add_argument("--json", help="write the machine and every figure here")
    parser.add_argument("--plots", help="a directory for one SVG of each figure")
    options = parser.parse_args()
    if options.quick:
        options.sockets, options.pipes, options.window = options.sockets and [200], options.pipes and [1000], 2
    options.repeat, options.scale = 1, 1
    options.processor = Processor(options.cpu, options.realtime)
    return options


def piped(streams, options):
    """Runs the library's own measurement, which prints one line that we know by its first word."""
    command = [os.environ["SIDEBEAT_GROWTH_TEST"], "--ignored", "--exact", "stream::tests::growth::growth", "--nocapture"]
    environment = {**os.environ, "SIDEBEAT_GROWTH_STREAMS": str(streams)}
    ran = subprocess.run([*options.processor.prefix, *command], env=environment, capture_output=True, text=True)
    for line in ran.stdout.splitlines():
        # On one CPU the name of the test stands before it.
        _, found, figures = line.partition("GROWTH ")
        if found:
            return json.loads(figures)
    raise RuntimeError(f"{' '.join(command)} failed:\n{ran.stdout}{ran.stderr}")


def said(kind, figures):
    late = figures["late_ms"]
    return (
        f"{kind} {figures['streams']:7,}: {figures['memory_bytes_per_stream']:6,.0f} B a stream, CPU {figures['cpu_seconds_per_minute']:.3f} s/min "
        f"({figures['pings_per_minute']:,.0f} pings), late p50 {late['p50']:.2f} p99 {late['p99']:.2f} p99.9 {late['p99.9']:.2f} ms, "
        f"list {figures['list_ms']:.1f} ms, drain {figures['drain_ms']:.0f} ms"
    )


def draw(kept, directory):
    for name, (title, unit, key) in PLOTS.items():
        path = [key] if isinstance(key, str) else key
        series = {}
        for kind, label in (("sockets", "over sockets"), ("pipes", "over in-memory pipes")):
            points = []
            for figures in kept[kind]:
                value = figures
                for step in path:
                    value = value[step]
                points.append((figures["streams"], value))
            if points:
                series[label] = points
        plot.lines(title, series, unit, pathlib.Path(directory) / f"growth-{name}.svg")


def main():
    options = arguments()
    kept = {"about": machine(["sidebeat"], options), "sockets": [], "pipes": []}
    with tempfile.TemporaryDirectory(prefix="growth-") as directory:
        place = Place(pathlib.Path(directory))
        for kind in ("sockets", "pipes"):
            for streams in getattr(options, kind):
                kept[kind].append(measure(streams, place, options) if kind == "sockets" else piped(streams, options))
                print(said(kind, kept[kind][-1]), flush=True)
                if options.json:
                    pathlib.Path(options.json).write_text(json.dumps(kept, indent=1) + "\n")
    if options.plots:
        draw(kept, options.plots)


if __name__ == "__main__":
    sys.exit(main())
