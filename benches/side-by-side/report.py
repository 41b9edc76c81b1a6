"""What the readings say: a table for each work, ratios, verdicts, and the file that keeps all of it."""

import datetime
import os
import pathlib
import platform
import statistics
import subprocess

from proxies import PEERS, version

# A load that takes more than this part of the CPU's time, or that is hardly quicker without a proxy, measures itself.
LOAD_SHARE, QUICKER = 0.5, 1.25


def median(readings, *path):
    """The median over repetitions of one figure, None if they do not have it."""
    values = []
    for reading in readings:
        for key in path:
            reading = reading.get(key) if reading else None
        if reading is not None:
            values.append(reading)
    return statistics.median(values) if values else None


def summary(work, by_proxy):
    """{proxy: its medians}, with the ratios to the best peer and to no proxy at all."""
    peers = [proxy for proxy in by_proxy if proxy in PEERS]
    best = min(peers, key=lambda proxy: median(by_proxy[proxy], "cost")) if peers else None
    direct = by_proxy.get("direct")
    found = {}
    for proxy, readings in by_proxy.items():
        of = {
            "cost": None if proxy == "direct" and work.how == "cost" else median(readings, "cost"),
            "rate": median(readings, "rate"),
            **{name: median(readings, "latency_us", name) for name in ("p50", "p99", "p99.9")},
            "load_share": median(readings, "load_share"),
            "busy": median(readings, "busy"),
        }
        if best and proxy != "direct":
            pairs = [ours["cost"] / theirs["cost"] for ours, theirs in zip(readings, by_proxy[best]) if theirs["cost"]]
            if pairs:
                of |= {"to_best": statistics.median(pairs), "to_best_from": min(pairs), "to_best_to": max(pairs)}
        if direct and proxy != "direct":
            # With a rate given it is the latency that a proxy adds to, else the throughput that it takes from.
            which = ("latency_us", "p99") if work.how == "paced" else ("rate",)
            of["to_direct"] = median(readings, *which) / median(direct, *which)
        of["notes"] = notes(work, of, readings)
        found[proxy] = of
    return {"best_peer": best, "by_proxy": found, "verdict": verdict(work, found.get("sidebeat"))}


def notes(work, of, readings):
    said = []
    if of["load_share"] is not None and work.how == "cost" and "to_direct" in of:
        if of["load_share"] > LOAD_SHARE:
            said.append(f"the load is the bottleneck: it takes {of['load_share']:.0%} of the CPU")
        if of["to_direct"] > 1 / QUICKER:
            said.append("hardly slower than without a proxy: its rate is the load's")
        if of["busy"] < 0.9:
            said.append(f"CPU not full: {of['busy']:.0%}")
    if work.how == "dead":
        late, after = (median(readings, which, "p50") for which in ("late_ms", "app_after_ms"))
        said.append(f"late p50 {late:.1f} ms; app and client apart p50 {after:.2f}, p99 {median(readings, 'app_after_ms', 'p99'):.2f} ms")
        early = sum(reading["early"] for reading in readings)
        if early:
            said.append(f"EARLY: {early} streams, by {-min(reading['late_ms']['first'] for reading in readings):.1f} ms at most")
    if work.how == "rest" and work.ping:
        said.append(f"{median(readings, 'pings'):.0f} pings to {median(readings, 'streams'):.0f} streams in {median(readings, 'seconds'):.0f} s")
    if work.how == "paced":
        said.append(f"CPU a message {median(readings, 'cpu_us'):.1f} µs")
    return said


def verdict(work, ours):
    if not ours or work.must is None:
        return None
    value = ours["cost"] if work.absolute else ours.get("to_best")
    if value is None:
        return None
    said = "goal reached" if value <= work.goal else "must reached" if value <= work.must else "MISSED"
    unit = f" {work.unit}" if work.absolute else ""
    return f"{said} (must {work.must}{unit}, goal {work.goal}{unit})"


COLUMNS = {
    "cost": "cost", "to best": "to_best", "to direct": "to_direct", "rate/s": "rate", "p50 µs": "p50", "p99 µs": "p99", "p99.9 µs": "p99.9", "load": "load_share",
}  # fmt: skip


def table(name, work, found, judge):
    """Lines for people; `judge`: say what the targets say, which a quick run is too short for."""
    shown = {column: key for column, key in COLUMNS.items() if any(of.get(key) is not None for of in found["by_proxy"].values())}
    lines = [f"{name}: {work.about} [{work.unit}]", "  " + f"{'':10}" + "".join(f"{column:>10}" for column in shown)]
    for proxy, of in found["by_proxy"].items():
        cells = "".join(f"{number(of.get(key), key):>10}" for key in shown.values())
        lines.append(f"  {proxy:10}{cells}" + "".join(f"  {note}" for note in of["notes"]))
    ours = found["by_proxy"].get("sidebeat", {})
    if judge and "to_best" in ours and found["best_peer"]:
        spread = f"{ours['to_best_from']:.2f}-{ours['to_best_to']:.2f}"
        lines.append(f"  to {found['best_peer']}: {ours['to_best']:.3f} ({spread})")
    if judge and found["verdict"]:
        lines.append(f"  {found['verdict']}")
    return "\n".join(lines)


def number(value, key):
    if value is None:
        return ""
    if key == "load_share":
        return f"{value:.0%}"
    if abs(value) >= 1e8:
        return f"{value / 1e9:.2f} G"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def machine(proxies, options):
    """What somebody needs to know who wants to believe the figures or to take them again."""
    model = next((line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "unknown")
    memory = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) * 1024
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=pathlib.Path(__file__).parent, capture_output=True, text=True)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {"cpu": model, "cpus": os.cpu_count(), "memory_bytes": memory, "kernel": platform.release(), "system": platform.platform()},
        "load_before": os.getloadavg(),
        "versions": {proxy: version(proxy) for proxy in proxies},
        "commit": commit.stdout.strip() or None,
        "options": {"repeat": options.repeat, "scale": options.scale, "cpu": options.cpu, "realtime": options.realtime},
    }
