"""Measures sidebeat beside other proxies, interleaved, and prints ratios: to the best of them, to no proxy, and what the targets say.

Proxy, app and load share one CPU, so nothing is gained or lost by where a thread wakes up. The CPU of a proxy is user and
system of all its threads in the window; `direct` has no proxy and shows what the app and the load can do by themselves.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile

from measure import measure
from processes import Processor
from proxies import PROXIES, Place, program
from report import machine, summary, table
from works import WORKS


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default=",".join(WORKS), help="what to measure: " + ", ".join(WORKS))
    parser.add_argument("--proxy", default=",".join(PROXIES))
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the one CPU of proxy, app and load")
    parser.add_argument("--realtime", action="store_true", help="they go before all else on that CPU (SCHED_RR): for a busy machine")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on all durations, counts and sizes")
    parser.add_argument("--quick", action="store_true", help="one short repetition: does it run?")
    parser.add_argument("--json", help="write the machine, every reading and the summary here")
    options = parser.parse_args()
    if options.quick:
        options.repeat, options.scale = 1, 0.1
    options.processor = Processor(options.cpu, options.realtime)
    for name in options.work.split(","):
        if name not in WORKS:
            parser.error(f"there is no work {name}; there are " + ", ".join(WORKS))
    return options


def take(work, proxies, place, options):
    """{proxy: [reading of each repetition]}, all of them in each repetition."""
    readings = {}
    for _ in range(options.repeat):
        for proxy in [None, *proxies]:
            if proxy in (None, "sidebeat") or work.peers:
                reading = measure(work, proxy, place, options)
                if reading:
                    readings.setdefault(proxy or "direct", []).append(reading)
    return readings


def main():
    options = arguments()
    proxies = [name for name in options.proxy.split(",") if program(name)]
    for name in sorted(set(PROXIES) - set(proxies)):
        print(f"{name}: not installed or not asked for")
    kept = {"about": machine(proxies, options), "works": {}}
    with tempfile.TemporaryDirectory(prefix="side-by-side-") as directory:
        place = Place(pathlib.Path(directory))
        for name in options.work.split(","):
            work = WORKS[name]
            readings = take(work, proxies, place, options)
            found = summary(work, readings)
            print(table(name, work, found, judge=not options.quick), flush=True)
            asked = {"about": work.about, "unit": work.unit, "must": work.must, "goal": work.goal, "absolute": work.absolute}
            kept["works"][name] = {**asked, **found, "readings": readings}
            if options.json:
                kept["about"]["load_after"] = os.getloadavg()
                pathlib.Path(options.json).write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
