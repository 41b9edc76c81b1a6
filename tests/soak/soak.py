"""Runs the load, samples the process every few seconds, and judges: see `tests/soak/run`."""

import argparse
import collections
import json
import os
import pathlib
import re
import sys
import tempfile
import time

from harness.certs import Authority
from harness.hooks import SECRET
from harness.peer import Process
from harness.plot import lines
from harness.sidebeat import ROOT, Sidebeat, listener
from harness.wait import Late, until

HERE = pathlib.Path(__file__).resolve().parent
SCHEMES = ("ws", "wss", "tcp", "tls")
IDLE = 8.0
HEARTBEAT = {"idle_limit": f"{IDLE:.0f}s", "ping": {"interval": "3s"}, "close_timeout": "2s"}
EVERY = 5.0
LOADS = 2
# The share of a run before which what is kept by design is still being filled: closing records, pools, and what the allocator keeps of the
# largest crowd of openings so far.
WARM_UP = 0.5
# What may be kept of a steady load from its beginning to its end: of memory a share, of descriptors a number.
MEMORY_SHARE, MEMORY_LEAST, DESCRIPTORS = 0.10, 4 << 20, 32
# Connections to the receiver and to the metrics that may be open when all streams are over.
SPARE = 20
# How much later than the limit a silent client may see its end, besides what the load's own process was late by when it spoke and when it saw it.
LATE = 2.0


class Proxy(Sidebeat):
    """The process under test; the lines about streams that are over would be all that the harness holds."""

    forgets = b'"message":"stream closed"'


def configuration(directory, app, receiver):
    """The parts of the configuration, each scheme a listener, with hooks of both kinds and a log of them."""
    authority = Authority(directory)
    tls = authority.tls()
    (directory / "secret").write_text(SECRET + "\n")
    listeners = {}
    for scheme in SCHEMES:
        raw = scheme in ("tcp", "tls")
        ping = {**HEARTBEAT["ping"], **({"data": "PING\n", "reply": "PONG\n"} if raw else {})}
        more = {"framing": "line"} if raw else {}
        if scheme in ("wss", "tls"):
            more["tls"] = tls
        listeners[scheme] = listener(scheme, f"{'tcp' if raw else 'ws'}://127.0.0.1:{app}", heartbeat={**HEARTBEAT, "ping": ping}, **more)
    hook = {"url": f"http://127.0.0.1:{receiver}/", "events": ["opened", "closed"], "secret_file": str(directory / "secret"), "rate": 5000}
    return authority, listeners, {"hooks": {"app": hook}, "state_dir": str(directory / "state")}


def pss(pid):
    """The memory of a process in bytes, what it shares divided among those who share it."""
    return int(re.search(r"^Pss:\s+(\d+)", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)[1]) << 10


def cpu(pid):
    """Seconds that a process has worked."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def largest(buckets, share):
    """The upper end of the bucket of a histogram that holds this share of what was observed; None if nothing was."""
    if not buckets or not buckets[-1][1]:
        return None
    return next(end for end, count in buckets if count >= share * buckets[-1][1])


def histogram(metrics, name):
    """[(upper end, how many up to there)] over all listeners, in order."""
    counts = collections.Counter()
    for (sample, labels), value in metrics.samples.items():
        if sample == f"{name}_bucket":
            counts[float(dict(labels)["le"].replace("+Inf", "inf"))] += value
    return sorted(counts.items())


class Soak:
    def __init__(self, sidebeat, loads, receiver):
        self.sidebeat, self.loads, self.receiver = sidebeat, loads, receiver
        self.began, self.samples = time.monotonic(), []
        self.late, self.silences = [], []
        self.told = [{} for _ in loads]

    def sample(self):
        metrics = self.sidebeat.metrics()
        late = histogram(metrics, "sidebeat_deadline_lateness_seconds")
        before = dict(self.late)
        now = [(end, count - before.get(end, 0)) for end, count in late]
        self.late = late
        for number, load in enumerate(self.loads):
            load.write("")
            self.hear(number, load.read())
        self.samples.append({
            "at": time.monotonic() - self.began,
            "pss": pss(self.sidebeat.pid),
            "descriptors": len(os.listdir(f"/proc/{self.sidebeat.pid}/fd")),
            "streams": metrics.sum("sidebeat_streams_active"),
            "closing": metrics.sum("sidebeat_streams_closing"),
            "opened": metrics.sum("sidebeat_streams_opened_total"),
            "queue": metrics.sum("sidebeat_hook_queue_events"),
            "log": metrics.sum("sidebeat_hook_log_bytes"),
            "late_99": largest(now, 0.99),
            "pauses": metrics.sum("sidebeat_own_pauses_seconds_total"),
            "cpu": cpu(self.sidebeat.pid),
        })
        return self.samples[-1]

    def hear(self, number, told):
        self.silences += told.pop("silences")
        self.told[number] = told

    def sums(self, key):
        total = collections.Counter()
        for told in self.told:
            total.update(told[key])
        return dict(total)


def slope(samples, key):
    """How much a figure grew over the steady part of a run, by least squares, and its mean there."""
    steady = samples[int(len(samples) * WARM_UP) :]
    xs, ys = [sample["at"] for sample in steady], [key(sample) for sample in steady]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    per_second = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys)) / spread if spread else 0.0
    return per_second * (xs[-1] - xs[0]), mean_y


def run(minutes, rate, out):
    with tempfile.TemporaryDirectory(prefix="sidebeat-soak-") as name:
        directory = pathlib.Path(name)
        app = Process(sys.executable, "-m", "harness.talk")
        receiver = Process(sys.executable, HERE / "receiver.py")
        with app, receiver:
            ports = app.read()["port"], receiver.read()["port"]
            authority, listeners, top = configuration(directory, *ports)
            with Proxy(listeners, drain={"delay": "off", "spread": "off", "hook_flush": "10s"}, **top) as sidebeat:
                return soak(sidebeat, receiver, authority, minutes, rate, out)


def soak(sidebeat, receiver, authority, minutes, rate, out):
    empty = {"pss": pss(sidebeat.pid), "descriptors": len(os.listdir(f"/proc/{sidebeat.pid}/fd"))}
    places = ["%s=%s:%d" % (scheme, *sidebeat.at(scheme)) for scheme in SCHEMES]
    loads = [Process(sys.executable, HERE / "load.py", authority.ca_file, rate / LOADS, *places) for _ in range(LOADS)]
    try:
        here = Soak(sidebeat, loads, receiver)
        while time.monotonic() - here.began < minutes * 60:
            time.sleep(EVERY)  # a sample each so often is what is wanted
            last = here.sample()
            print("%(at)6.0f s: %(streams)5.0f streams, %(opened)7.0f opened, %(pss)d bytes, %(descriptors)d descriptors, %(queue).0f events wait" % last, flush=True)
        steady = time.monotonic() - here.began
        for number, load in enumerate(loads):
            load.write("end")
            here.hear(number, load.read())
        return judged(here, empty, steady, minutes, rate, out)
    finally:
        for load in loads:
            load.__exit__()


def judged(here, empty, steady, minutes, rate, out):
    """Waits until all is over, writes the report, and says whether it is good."""
    sidebeat, samples = here.sidebeat, here.samples
    over = {}

    def wait(metric, within):
        try:
            until(lambda: sidebeat.metric(metric) == 0, within, every=0.5)
        except Late:
            over[metric] = sidebeat.metric(metric)

    wait("streams_active", 60)
    wait("streams_closing", 60)
    wait("hook_queue_events", 300)
    metrics = sidebeat.metrics()
    here.receiver.write("")
    hooks = here.receiver.read()
    reasons = metrics.by("reason", "sidebeat_streams_closed_total")
    opened = metrics.sum("sidebeat_streams_opened_total")
    memory, memory_mean = slope(samples, lambda sample: sample["pss"])
    descriptors, _ = slope(samples, lambda sample: sample["descriptors"] - 2 * (sample["streams"] + sample["closing"]))
    streams, streams_mean = slope(samples, lambda sample: sample["streams"])
    # More streams take more memory: only what they do not explain is growth.
    allowed = max(MEMORY_LEAST, MEMORY_SHARE * memory_mean) + max(0.0, streams / streams_mean) * memory_mean
    left = len(os.listdir(f"/proc/{sidebeat.pid}/fd"))
    late = histogram(metrics, "sidebeat_deadline_lateness_seconds")
    silences = sorted(here.silences)
    lost = {result: metrics.sum("sidebeat_hook_events_total", result=result) for result in ("dropped", "expired", "rejected")}
    lag = max(told["lag"] for told in here.told)
    wrong = [text for told in here.told for text in told["wrong"]]
    verdicts = {
        "everything that began has ended": not over,
        "no byte was changed": not wrong,
        "nobody who lived was cut": not here.sums("cut"),
        "nobody was turned away": not here.sums("failed"),
        "no silent client was closed early": not silences or silences[0] >= IDLE,
        "every silent client was closed in time": len(silences) == sum(n for kind, n in here.sums("opened").items() if kind.endswith("silent"))
        and (not silences or silences[-1] <= IDLE + LATE + 2 * lag),
        "no hook was lost, sent under two names or invented": not any(lost.values())
        and hooks["opened"] == hooks["closed"] == opened
        and not hooks["twice"]
        and not hooks["unpaired"]
        and not hooks["faults"],
        "hooks and metrics agree why": {key: int(value) for key, value in reasons.items()} == hooks["reasons"],
        "memory is flat": memory <= allowed,
        "descriptors are those of the streams": descriptors <= DESCRIPTORS and left <= empty["descriptors"] + SPARE,
    }
    report = {
        "command": f"tests/soak/run --minutes {minutes:g} --rate {rate:g}",
        "minutes": minutes,
        "rate_wanted": rate,
        "rate_reached": round(samples[-1]["opened"] / samples[-1]["at"], 1),
        "streams_opened": opened,
        "streams_open_mean": round(streams_mean),
        "bytes_echoed": sum(told["said"] for told in here.told),
        "opened_by_kind": here.sums("opened"),
        "reasons": reasons,
        "hooks": hooks,
        "lost": lost,
        "not_over": over,
        "cut": here.sums("cut"),
        "failed": here.sums("failed"),
        "wrong": wrong[:10],
        "memory": {"empty": empty["pss"], "mean": round(memory_mean), "grown": round(memory), "allowed": round(allowed), "after": pss(sidebeat.pid)},
        "descriptors": {"empty": empty["descriptors"], "grown": round(descriptors, 1), "after": left},
        "lateness_seconds": {"at most, 50 %": largest(late, 0.5), "at most, 99 %": largest(late, 0.99), "at most, all": largest(late, 1.0)},
        "silent_seconds": {"shortest": silences[0], "median": silences[len(silences) // 2], "longest": silences[-1]} if silences else None,
        "load_was_late_by_seconds": round(lag, 2),
        "cpu_share": round(samples[-1]["cpu"] / steady, 3),
        "own_pauses_seconds": samples[-1]["pauses"],
        "load_average": os.getloadavg(),
        "verdicts": verdicts,
        "samples": samples,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(report, indent=1, default=str) + "\n")
    pictures(samples, out)
    for key, value in report.items():
        if key not in ("samples", "verdicts"):
            print(f"{key}: {json.dumps(value, default=str)}")
    if report["rate_reached"] < 0.95 * rate:
        print(f"NOTE: {report['rate_reached']} openings a second were reached of the {rate:g} that were asked for: the machine is busy")
    for what, good in verdicts.items():
        print(f"{'ok  ' if good else 'FAIL'} {what}")
    print(f"{sum(verdicts.values())} passed, {len(verdicts) - sum(verdicts.values())} failed")
    return all(verdicts.values())


def pictures(samples, out):
    def of(key, factor=1.0):
        return [(sample["at"] / 60, sample[key] * factor) for sample in samples if sample[key] not in (None, float("inf"))]

    lines(out / "memory.svg", "Memory under churn", "minutes", "MiB (Pss)", {"sidebeat": of("pss", 1 / (1 << 20))})
    lines(out / "streams.svg", "Streams and descriptors", "minutes", "", {"streams": of("streams"), "descriptors": of("descriptors")})
    lines(out / "lateness.svg", "Lateness of verdicts", "minutes", "ms", {"99 % at most": of("late_99", 1000)})
    lines(out / "hooks.svg", "Events that wait for the receiver", "minutes", "events", {"waiting": of("queue")})


def main():
    parser = argparse.ArgumentParser(prog="tests/soak/run")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=200, help="openings a second")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "target/soak")
    asked = parser.parse_args()
    sys.exit(0 if run(asked.minutes, asked.rate, asked.out) else 1)


if __name__ == "__main__":
    main()
