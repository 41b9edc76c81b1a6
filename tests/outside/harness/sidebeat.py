"""The process under test: started from a configuration, read by its log lines and metrics, stopped by its pid."""

import collections
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

from . import netns as networks
from .wait import Late, until

ROOT = pathlib.Path(__file__).resolve().parents[3]


def binary():
    """The executable to test: $SIDEBEAT_BIN, or the newest of the tree's own builds."""
    if named := os.environ.get("SIDEBEAT_BIN"):
        return named
    builds = [ROOT / "target" / profile / "sidebeat" for profile in ("release", "debug")]
    built = [path for path in builds if path.exists()]
    if not built:
        raise FileNotFoundError("no sidebeat binary: run `cargo build` or set SIDEBEAT_BIN")
    return str(max(built, key=lambda path: path.stat().st_mtime))


Address = collections.namedtuple("Address", "scheme host port")


def listener(listen, upstream, **rest):
    """One listener of a configuration, on a port of the kernel's choice when only a scheme is given."""
    return {"listen": f"{listen}://127.0.0.1:0" if "://" not in listen else listen, "upstream": upstream, **rest}


class Metrics:
    """One scrape, as {(name, frozenset(labels)): value}."""

    _line = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
    _label = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

    def __init__(self, text):
        self.text = text
        self.samples = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, labels, value = self._line.match(line).groups()
                self.samples[name, frozenset(self._label.findall(labels or ""))] = float(value)

    def sum(self, name, **labels):
        """The sum of all samples of `name` that carry these labels; a name that is not exported at all is an error."""
        wanted = set(labels.items())
        of_name = {key: value for key, value in self.samples.items() if key[0] == name}
        if not of_name:
            raise AssertionError(f"the metric {name} is not exported")
        return sum(value for key, value in of_name.items() if wanted <= key[1])

    def by(self, label, name, **labels):
        """{value of `label`: sum} of the samples of `name` that are not zero."""
        sums = collections.Counter()
        for (sample, sample_labels), value in self.samples.items():
            if sample == name and set(labels.items()) <= sample_labels and value:
                sums[dict(sample_labels).get(label)] += value
        return dict(sums)


class Sidebeat:
    """A running sidebeat; a context manager that fails if the process died or will not end.

    Either `listeners` and other top-level keys of the configuration file, or `flags` of the command line.
    Admin and telemetry listen on ports of the kernel's choice, and drains do not linger, unless the test says otherwise.
    """

    # Log lines with these bytes in them are not kept.
    forgets = None

    def __init__(self, listeners=None, *, flags=(), netns=None, env=None, prefix=(), **top):
        self.directory = tempfile.TemporaryDirectory(prefix="sidebeat-test-")
        self.netns = netns
        command = [*prefix, binary(), "run"]
        self.expected = ["telemetry", "admin"]
        if listeners is None:
            command += [*flags, "--admin", "127.0.0.1:0", "--telemetry", "127.0.0.1:0", "--log-format", "json"]
            self.expected.append("main")
        else:
            config = {
                "listeners": listeners,
                "admin": {"listen": "127.0.0.1:0"},
                "telemetry": {"listen": "127.0.0.1:0"},
                "drain": {"delay": "off", "spread": "off", "hook_flush": "2s"},
                "log": {"format": "json"},
                **top,
            }
            self.path = os.path.join(self.directory.name, "sidebeat.yaml")
            self.write(config)
            command += ["-c", self.path, *flags]
            self.expected += listeners
        self.command = [*(("ip", "netns", "exec", netns) if netns else ()), *command]
        self.env = {**os.environ, **(env or {})}
        self.addresses = {}
        self.lines = []
        self._changed = threading.Condition()

    def write(self, config):
        """Writes the configuration file; a running process picks it up by its next reload."""
        self.config = config
        with open(self.path, "w") as file:
            yaml.safe_dump(config, file, sort_keys=False)

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            for name in self.expected:
                line = self.wait_log(lambda line, name=name: line.get("message") == "listening" and line.get("listener") == name, 15)
                self.addresses[name] = self._parse(line["address"])
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(self, kind, error, trace):
        try:
            code = self.process.poll()
            if code is not None and not getattr(self, "stopped", False):
                raise AssertionError(f"sidebeat ended by itself with {code}:\n{self.log()}")
            if code is None:
                self.stop()
        finally:
            self._kill()
            if kind is not None:
                print(f"--- log of sidebeat ---\n{self.log()}")
            self.directory.cleanup()

    def _kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(5)
        self.process.stdout.close()

    def _read(self):
        for raw in self.process.stdout:
            if self.forgets and self.forgets in raw:
                continue
            text = raw.decode(errors="replace").rstrip("\n")
            try:
                line = json.loads(text)
            except ValueError:
                line = None
            with self._changed:
                self.lines.append((text, line if isinstance(line, dict) else {}))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    @staticmethod
    def _parse(address):
        parts = urllib.parse.urlsplit(address if "://" in address else f"http://{address}")
        return Address(parts.scheme, parts.hostname, parts.port)

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        """All that the process has printed."""
        return "\n".join(text for text, _ in self.lines)

    def wait_log(self, matches, within=5.0):
        """The first JSON log line that `matches`."""
        deadline = time.monotonic() + within
        seen = 0
        with self._changed:
            while True:
                for _, line in self.lines[seen:]:
                    if line and matches(line):
                        return line
                seen = len(self.lines)
                left = deadline - time.monotonic()
                if left <= 0 or (self.process.poll() is not None and not self._reader.is_alive()):
                    raise Late(f"no such log line within {within} s; exit code {self.process.poll()}, log:\n{self.log()}")
                self._changed.wait(min(left, 0.2))

    def at(self, name="main"):
        """(host, port) of a listener, of "admin" or of "telemetry"."""
        address = self.addresses[name]
        return address.host, address.port

    def url(self, name="main", path="/"):
        """The address of a listener as a client writes it."""
        address = self.addresses[name]
        return f"{address.scheme}://{address.host}:{address.port}{path}"

    def get(self, path, at="admin", method="GET", body=None, headers=None, within=5.0):
        """One HTTP request to the admin or telemetry address: (status, headers, body)."""
        host, port = self.at(at)
        request = urllib.request.Request(f"http://{host}:{port}{path}", data=body, method=method, headers=headers or {})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with networks.inside(self.netns):
            try:
                with opener.open(request, timeout=within) as answer:
                    return answer.status, answer.headers, answer.read()
            except urllib.error.HTTPError as answer:
                with answer:
                    return answer.code, answer.headers, answer.read()

    def metrics(self):
        """One scrape of /metrics."""
        status, _, body = self.get("/metrics", at="telemetry")
        assert status == 200, body
        return Metrics(body.decode())

    def metric(self, name, **labels):
        """One metric, summed over the labels that are not given; `sidebeat_` is put in front unless it is a process metric."""
        return self.metrics().sum(name if name.startswith("process_") else f"sidebeat_{name}", **labels)

    def wait_metric(self, expected, name, within=5.0, **labels):
        """Waits until a metric has exactly this value."""
        until(lambda: self.metric(name, **labels) == expected, within, what=f"{name}{labels} == {expected} (now {self.metric(name, **labels)})")

    def connections(self):
        """How many sockets the process holds that neither listen nor lead to itself, dead ones included."""
        held = set()
        for descriptor in pathlib.Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                held.add(os.readlink(descriptor))
        net = pathlib.Path(f"/proc/{self.pid}/net")
        tcp = [line.split() for table in ("tcp", "tcp6") for line in (net / table).read_text().splitlines()[1:]]
        others = {fields[9] for fields in tcp if fields[3] == "0A"}
        others |= {line.split()[6] for line in (net / "unix").read_text().splitlines()[1:]}
        return sum(link.startswith("socket:") and link[8:-1] not in others for link in held)

    def closed(self):
        """{reason: count} of the streams that have ended."""
        return self.metrics().by("reason", "sidebeat_streams_closed_total")

    def rejected(self):
        """{reason: count} of the connections that never became a stream."""
        return self.metrics().by("reason", "sidebeat_connections_rejected_total")

    def wait_closed(self, within=5.0, **reasons):
        """Waits until exactly these streams have ended, as reason=count."""
        until(lambda: self.closed() == reasons, within, what=f"streams closed {reasons} (now {self.closed()})")

    def wait_rejected(self, within=5.0, **reasons):
        """Waits until exactly these connections have been refused, as reason=count."""
        until(lambda: self.rejected() == reasons, within, what=f"connections rejected {reasons} (now {self.rejected()})")

    def kill(self, number):
        """Sends a signal to the process."""
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM, within=10.0):
        """Ends the process by a signal and returns its exit code."""
        self.process.send_signal(number)
        return self.ended(within)

    def ended(self, within=10.0):
        """Waits for the end of the process, which the test has brought about, and of its output, and returns its exit code."""
        self.stopped = True
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise Late(f"sidebeat did not end within {within} s:\n{self.log()}") from None
        self._reader.join(within)
        return code
