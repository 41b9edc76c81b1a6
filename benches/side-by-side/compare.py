"""Measures sidebeat beside other proxies, interleaved, and prints ratios: to the best of them, and of what the targets ask.

Proxy, app and load share one CPU, so nothing is gained or lost by where a thread wakes up. The CPU of a proxy is user and
system of all its threads in the window; `direct` has no proxy and shows what the app and the load cost by themselves.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import trustme

from harness.sidebeat import binary
from harness.wait import until

HERE = pathlib.Path(__file__).parent
TOOL = str(HERE / "target/release/side-by-side")


class Work:
    """One thing that is measured: the command of the load, the unit, and what the targets ask of us."""

    def __init__(self, listener, load, unit, must, goal, kind="ws", memory=False):
        self.listener, self.load, self.unit, self.must, self.goal, self.kind, self.memory = listener, load, unit, must, goal, kind, memory


def echo(size, streams, in_flight):
    return lambda scale: ["echo", "--size", size, "--streams", streams, "--in-flight", in_flight, "--warm", 0.5 * scale, "--seconds", 3 * scale]


def bulk(direction):
    return lambda scale: ["bulk", "--direction", direction, "--bytes", int(4e9 * scale)]


def opening(count, **options):
    return lambda scale: ["open", "--count", int(count * scale), "--parallel", 16, *(word for name, value in options.items() for word in (f"--{name}", value))]


def idle(streams, touch=0):
    return lambda scale: ["idle", "--streams", int(streams * scale), "--touch", touch]


MICRO, PER_GB, BYTES = ("µs", 1e6), ("s/GB", 1e9), ("B", 1)
# must and goal are ratios to the best peer, but for memory, where they are bytes (with the words of the targets).
WORKS = {
    "ws-128-1": Work("ws", echo(128, 64, 1), MICRO, 1.08, 0.97),
    "ws-128-16": Work("ws", echo(128, 64, 16), MICRO, 1.05, 0.92),
    "ws-64k": Work("ws", echo(65536, 8, 1), MICRO, 0.80, 0.40),
    "wss-128-1": Work("wss", echo(128, 64, 1), MICRO, 0.75, 0.62),
    "wss-128-16": Work("wss", echo(128, 64, 16), MICRO, 0.75, 0.62),
    "wss-64k": Work("wss", echo(65536, 8, 1), MICRO, 0.95, 0.70),
    "tcp-down": Work("tcp", bulk("down"), PER_GB, 1.00, 0.65, kind="bulk"),
    "tcp-up": Work("tcp", bulk("up"), PER_GB, 1.00, 0.65, kind="bulk"),
    "tls-down": Work("tls", bulk("down"), PER_GB, 0.80, 0.60, kind="bulk"),
    "tls-up": Work("tls", bulk("up"), PER_GB, 0.90, 0.70, kind="bulk"),
    "ws-open": Work("ws", opening(10000), MICRO, 1.30, 1.00),
    "wss-open": Work("wss", opening(3000), MICRO, 0.55, 0.45),
    "wss-resume": Work("wss", opening(3000, resume="true"), MICRO, 0.55, 0.45),
    "ws-idle": Work("ws", idle(3000), BYTES, 2200, 1500, memory=True),
    "wss-idle": Work("wss", idle(3000), BYTES, 12500, 5500, memory=True),
    "wss-used": Work("wss", idle(3000, 20000), BYTES, 16000, 5500, memory=True),
}


# --- the proxies -----------------------------------------------------------------------------------------------------


class Place:
    """Where everything is: ports, certificate, directory."""

    def __init__(self, directory):
        self.directory = directory
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
        self.ca, self.cert, self.key, self.pem = (str(directory / name) for name in ("ca.pem", "cert.pem", "key.pem", "both.pem"))
        authority.cert_pem.write_to_path(self.ca)
        issued.cert_chain_pems[0].write_to_path(self.cert)
        issued.private_key_pem.write_to_path(self.key)
        issued.private_key_and_cert_chain_pem.write_to_path(self.pem)
        self.apps = {"ws": 7001, "bulk": 7002}
        self.ports = {"ws": 8001, "wss": 8002, "tcp": 8003, "tls": 8004}


def app_of(name):
    return "bulk" if name in ("tcp", "tls") else "ws"


def sidebeat(place):
    listeners = {}
    for name, port in place.ports.items():
        scheme = "tcp" if app_of(name) == "bulk" else "ws"
        listeners[name] = {"listen": f"{name}://127.0.0.1:{port}", "upstream": f"{scheme}://127.0.0.1:{place.apps[app_of(name)]}"}
        if name in ("wss", "tls"):
            listeners[name]["tls"] = {"certificates": [{"cert": place.cert, "key": place.key}]}
    config = {
        "listeners": listeners,
        "admin": {"listen": "127.0.0.1:0"},
        "telemetry": {"listen": "127.0.0.1:0"},
        "workers": 1,
        "log": {"level": "error"},
        "drain": {"delay": "off", "spread": "off"},
    }
    path = place.directory / "sidebeat.yaml"
    path.write_text(json.dumps(config))
    return [binary(), "run", "-c", str(path)]


def nginx(place):
    app = place.apps
    tls = f"ssl_certificate {place.cert}; ssl_certificate_key {place.key}; ssl_protocols TLSv1.3; ssl_session_cache shared:S:10m;"
    websocket = f"""location / {{ proxy_pass http://127.0.0.1:{app["ws"]}; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection upgrade; proxy_set_header Host $http_host; proxy_read_timeout 600s; }}"""
    modules = "".join(f"load_module {path};\n" for path in pathlib.Path("/usr/lib/nginx/modules").glob("ngx_stream_module.so"))
    stream = (
        f"""stream {{ access_log off;
        server {{ listen 127.0.0.1:{place.ports["tcp"]}; proxy_pass 127.0.0.1:{app["bulk"]}; }}
        server {{ listen 127.0.0.1:{place.ports["tls"]} ssl; {tls.replace("shared:S", "shared:T")} proxy_pass 127.0.0.1:{app["bulk"]}; }} }}"""
        if modules
        else ""
    )
    path = place.directory / "nginx.conf"
    path.write_text(
        f"""{modules}daemon off; worker_processes 1; pid {place.directory}/nginx.pid; error_log {place.directory}/nginx.log error;
        events {{ worker_connections 40000; }}
        http {{ access_log off; client_body_temp_path {place.directory}/b; proxy_temp_path {place.directory}/p; fastcgi_temp_path {place.directory}/f;
            uwsgi_temp_path {place.directory}/u; scgi_temp_path {place.directory}/s;
            server {{ listen 127.0.0.1:{place.ports["ws"]} backlog=4096; {websocket} }}
            server {{ listen 127.0.0.1:{place.ports["wss"]} ssl backlog=4096; {tls} {websocket} }} }}
        {stream}"""
    )
    return ["nginx", "-c", str(path), "-p", str(place.directory), "-e", str(place.directory / "nginx.log")]


def haproxy(place):
    def front(name, mode):
        secure = f"ssl crt {place.pem} ssl-min-ver TLSv1.3" if name in ("wss", "tls") else ""
        splice = "option splice-request\n    option splice-response" if name == "tcp" else ""
        return f"""
frontend {name}
    mode {mode}
    {splice}
    bind 127.0.0.1:{place.ports[name]} {secure}
    default_backend to-{name}
backend to-{name}
    mode {mode}
    {splice}
    server app 127.0.0.1:{place.apps[app_of(name)]}
"""

    path = place.directory / "haproxy.cfg"
    path.write_text(
        "global\n    nbthread 1\n    maxconn 7000\n    tune.ssl.cachesize 20000\ndefaults\n"
        "    timeout connect 5s\n    timeout client 600s\n    timeout server 600s\n    timeout tunnel 600s\n"
        + "".join(front(name, "tcp" if app_of(name) == "bulk" else "http") for name in place.ports)
    )
    return ["haproxy", "-f", str(path), "-db"]


PEERS = {"nginx": nginx, "haproxy": haproxy}
PROXIES = {"sidebeat": sidebeat, **PEERS}


# --- processes -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(command, cpu, log=None):
    """A process on one CPU, ended with the block."""
    with open(log, "ab") if log else contextlib.nullcontext(subprocess.PIPE) as output:
        process = subprocess.Popen(["taskset", "-c", str(cpu), *map(str, command)], stdout=output, stderr=output if log else None, stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()


def family(pid):
    """A process and all that it started."""
    pids = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            pids += family(int(child))
    return pids


def pss(pids):
    """Bytes of memory that these processes have, shared pages counted in parts."""
    total = 0
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def listening(ports):
    """Whether every port has a listener, without connecting to one."""
    wanted = {f"{port:04X}" for port in ports}
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A":
            wanted.discard(fields[1].split(":")[1])
    return not wanted


# --- measuring -------------------------------------------------------------------------------------------------------


def measure(work, proxy, place, options):
    """One repetition of one work by one proxy (None: direct); {"cost": units of the table, …} or None if the proxy cannot do it."""
    port = place.ports[work.listener] if proxy else place.apps[work.kind]
    secure = ["--ca", place.ca] if proxy and work.listener in ("wss", "tls") else []
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(running([TOOL, "app", "--listen", f"127.0.0.1:{place.apps[work.kind]}", "--kind", work.kind], options.cpu))
        app.stdout.readline()
        pids = []
        if proxy:
            log = place.directory / f"{proxy}.log"
            process = stack.enter_context(running(PROXIES[proxy](place), options.cpu, log))
            try:
                until(lambda: listening([port]) or process.poll() is not None, 10, what=f"{proxy} on port {port}")
            except AssertionError:
                return None
            if process.poll() is not None:
                raise RuntimeError(f"{proxy} ended: {log.read_text()[-2000:]}")
            until(lambda: sum(listening([each]) for each in place.ports.values()) >= 2, 10)
            pids = family(process.pid)
        command = [TOOL, *map(str, work.load(options.scale)), "--to", f"127.0.0.1:{port}", *secure]
        if work.memory:
            return memory(command, pids, options)
        watch = ":".join(filter(None, [",".join(map(str, pids)), str(app.pid)]))
        with running([*command, "--watch", watch], options.cpu) as load:
            result = load.stdout.readline()
            if load.wait(120) != 0 or not result:
                raise RuntimeError(f"{proxy or 'direct'}: {' '.join(command)} failed")
        result = json.loads(result)
        *by_proxy, by_app, by_load = result["cpu"]
        each = work.unit[1] / result["units"]
        return {
            "cost": sum(by_proxy) * each,
            "app": by_app * each,
            "load": by_load * each,
            "rate": result["units"] / result["seconds"],
            "busy": sum(result["cpu"]) / result["seconds"],
        }


def memory(command, pids, options):
    """Bytes that a proxy holds for each further stream: what openings leave behind once, however many follow, is not counted."""
    if not pids:
        return {"cost": 0.0}
    with held(command, options):
        before = settled(pids)
        with held(command, options) as second:
            return {"cost": (settled(pids) - before) / second}


@contextlib.contextmanager
def held(command, options):
    """Streams that stay open; their number."""
    with running(command, options.cpu) as load:
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


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default=",".join(WORKS), help="what to measure: " + ", ".join(WORKS))
    parser.add_argument("--proxy", default=",".join(PROXIES))
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--cpu", type=int, default=max(os.sched_getaffinity(0)), help="the one CPU of proxy, app and load")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on all durations, counts and sizes")
    parser.add_argument("--quick", action="store_true", help="one short repetition: does it run?")
    parser.add_argument("--json", help="write every reading here")
    options = parser.parse_args()
    if options.quick:
        options.repeat, options.scale = 1, 0.1
    return options


def main():
    options = arguments()
    proxies = [name for name in options.proxy.split(",") if name == "sidebeat" or shutil.which(name)]
    for name in sorted(set(PROXIES) - set(proxies)):
        print(f"{name}: not installed or not asked for")
    others = set(os.sched_getaffinity(0)) - {options.cpu}
    if others:
        os.sched_setaffinity(0, others)
    readings = {}
    with tempfile.TemporaryDirectory(prefix="side-by-side-") as directory:
        place = Place(pathlib.Path(directory))
        for name in options.work.split(","):
            work = WORKS[name]
            for _ in range(options.repeat):
                for proxy in [None, *proxies]:
                    reading = measure(work, proxy, place, options)
                    if reading:
                        readings.setdefault(name, {}).setdefault(proxy or "direct", []).append(reading)
            row(name, work, readings[name], proxies, judge=not options.quick)
    if options.json:
        about = {"machine": platform.platform(), "cpus": os.cpu_count(), "load": os.getloadavg(), "repeat": options.repeat, "scale": options.scale}
        pathlib.Path(options.json).write_text(json.dumps({"about": about, "readings": readings}, indent=1))


def row(name, work, by_proxy, proxies, judge):
    """Prints one line: the median cost of each, our ratio to the best peer of each repetition, and what the targets say to it (nothing that is too quick to be judged)."""
    cost = {proxy: statistics.median(reading["cost"] for reading in by_proxy[proxy]) for proxy in proxies if proxy in by_proxy}
    words = [f"{name:11}"] + [f"{proxy} {cost[proxy]:.4g}" for proxy in cost]
    words[1:1] = [f"[{work.unit[0]}]"]
    if not work.memory:
        direct = by_proxy["direct"]
        own = statistics.median(reading["app"] + reading["load"] for reading in direct)
        words.append(f"app+load alone {own:.4g}")
        idle = [proxy for proxy in cost if statistics.median(reading["busy"] for reading in by_proxy[proxy]) < 0.9]
        if idle:
            words.append("CPU not full: " + ", ".join(idle))
    peers = [proxy for proxy in cost if proxy in PEERS]
    if not judge:
        pass
    elif "sidebeat" in cost and work.memory:
        words.append(verdict(cost["sidebeat"], work))
    elif "sidebeat" in cost and peers:
        best = min(peers, key=cost.get)
        ratios = [ours["cost"] / theirs["cost"] for ours, theirs in zip(by_proxy["sidebeat"], by_proxy[best])]
        spread = f" ({min(ratios):.2f}-{max(ratios):.2f})" if len(ratios) > 1 else ""
        words.append(f"ratio to {best} {statistics.median(ratios):.3f}{spread} {verdict(statistics.median(ratios), work)}")
    print(" | ".join(words), flush=True)


def verdict(value, work):
    said = "goal reached" if value <= work.goal else "must reached" if value <= work.must else "MISSED"
    return f"{said} (must {work.must}, goal {work.goal})"


if __name__ == "__main__":
    sys.exit(main())
