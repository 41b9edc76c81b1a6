"""All that a fault can hit, each in a process of its own: two parties of clients, two apps, a receiver of hooks, and the sidecar between them.

`near` is the party that no fault touches and `far` the one that may be hit; they and the two apps of these names are on the hosts near, far and
app, where the near app is near and the far one alone. What is promised of every fault is in `World.settle`.
"""

import collections
import contextlib
import json
import os
import socket
import ssl
import sys
import time

from .certs import Authority
from .hooks import SECRET
from .netns import Network, inside
from .peer import Process, Telling
from .sidebeat import Sidebeat
from .wait import until

SCHEMES = ("ws", "wss", "tcp", "tls")
HEARTBEAT = {"idle_limit": "3s", "ping": {"interval": "500ms"}, "close_timeout": "1s"}
RAW_PING = {"data": "PING\n", "reply": "PONG\n"}
# Where each app runs.
HOSTS = {"near": "near", "far": "app"}
LONG = os.environ.get("SIDEBEAT_TEST_LONG") == "1"
# Streams of each scheme in a party, and seconds under a fault.
EACH, SECONDS = (10, 20.0) if LONG else (2, 2.0)
# How much later than its limit a verdict may be while everything else runs beside it; what it is on a quiet machine is measured elsewhere.
LATE = 5.0
# How long the machine may take over something that is not measured.
PATIENCE = 180.0 if LONG else 60.0


def module(namespace, name, *arguments):
    return Process(*(("ip", "netns", "exec", namespace) if namespace else ()), sys.executable, "-m", f"harness.{name}", *arguments)


class Party:
    """The test's end of a `harness.party`."""

    def __init__(self, world, namespace):
        self.world = world
        self.process = module(namespace, "party", world.authority.ca_file)
        assert self.process.read() == {"ready": True}

    def ask(self, **what):
        self.process.write(json.dumps(what))
        return self.process.read()

    def open(self, host, *, app="near", each=2, schemes=SCHEMES):
        """Opens so many streams of each scheme to an app; returns how many these are."""
        at = [[scheme, host, self.world.sidebeat.at(f"{scheme}-{app}")[1], each] for scheme in schemes]
        told = self.ask(open=at)
        assert not told["refused"], told
        return told["opened"]

    def forget(self):
        """What has ended until now is not held against anybody."""
        self.ask(forget=True)

    def report(self):
        told = self.ask(report=True)
        assert not told["wrong"], told["wrong"]
        return told

    def talks(self, more=20_000, within=PATIENCE):
        """Waits until so many bytes more have come back."""
        said = self.report()["said"]
        until(lambda: self.report()["said"] >= said + more, within, every=0.05, what=f"{more} bytes echoed")


class Receiver:
    """The receiver of hooks; it can be ended and started anew on its port."""

    def __init__(self, namespace):
        self.namespace, self.port, self.processes, self.tellings = namespace, None, [], []
        self.start()

    def start(self):
        self.process = module(self.namespace, "hooks", *([self.port] if self.port else []))
        self.processes.append(self.process)
        self.port = self.process.read()["port"]
        self.tellings.append(Telling(self.process))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.__exit__()

    @property
    def events(self):
        """Every event that was believed, in the order of arrival; one that came twice is there twice."""
        return [line["event"] for telling in self.tellings for line in list(telling.told) if "event" in line]


class World:
    def __init__(self, directory, *, heartbeat=None, prefix=(), env=None, far_app=None, prepare=None, websockets=None, **top):
        self.directory, self.authority = directory, Authority(directory)
        self.heartbeat = {**HEARTBEAT, **(heartbeat or {})}
        self.prefix, self.env, self.top, self.far_app = prefix, env, top, far_app
        self.prepare, self.websockets = prepare, websockets or {}

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.net = stack.enter_context(Network("near", "far", "app"))
            self.prepared = stack.enter_context(self.prepare(self)) if self.prepare else None
            self.near, self.far = self.party(stack, "near"), self.party(stack, "far")
            self.apps, self.app_ports = {}, {}
            for name in ("near", "far"):
                self.start_app(name)
            stack.callback(lambda: [app.__exit__() for app in self.apps.values()])
            self.receiver = stack.enter_context(Receiver(self.net.middle))
            self.swap_certificate(reload=False)
            self.sidebeat = self._sidebeat()
            self.sidebeat.__enter__()
            # With the error of the block, so that the log is shown.
            stack.push(lambda *error: self.sidebeat.__exit__(*error))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        return self._stack.__exit__(*error)

    def party(self, stack, name):
        """A party on this host."""
        party = Party(self, self.net.outer[name])
        stack.enter_context(party.process)
        return party

    def start_app(self, name):
        """Starts an app, on the port that it had before if it had one."""
        app = module(self.net.outer[HOSTS[name]], "talk", "0.0.0.0", self.app_ports.get(name, 0))
        self.apps[name] = app
        self.app_ports[name] = app.read()["port"]

    def _sidebeat(self):
        (self.directory / "secret").write_text(SECRET + "\n")
        listeners = {}
        for app in ("near", "far"):
            for scheme in SCHEMES:
                raw = scheme in ("tcp", "tls")
                host = self.far_app if self.far_app and app == "far" else self.net.address[HOSTS[app]]
                heartbeat = {**self.heartbeat, "ping": {**self.heartbeat["ping"], **(RAW_PING if raw else {})}}
                if raw:
                    heartbeat.pop("upstream_ping", None)
                listeners[f"{scheme}-{app}"] = {
                    "listen": f"{scheme}://0.0.0.0:0",
                    "upstream": f"{'tcp' if raw else 'ws'}://{host}:{self.app_ports[app]}",
                    "connect_timeout": "2s",
                    "heartbeat": heartbeat,
                    **({"framing": "line"} if raw else self.websockets),
                    **({"tls": {"certificates": [{"cert": self.pair[0], "key": self.pair[1]}]}} if scheme in ("wss", "tls") else {}),
                }
        hook = {"url": f"http://127.0.0.1:{self.receiver.port}/hook", "events": ["opened", "closed"], "secret_file": str(self.directory / "secret")}
        top = {"state_dir": str(self.directory / "state"), **self.top}
        return Sidebeat(listeners, hooks={"app": hook}, netns=self.net.middle, prefix=self.prefix, env=self.env, **top)

    def restart(self):
        """Starts the sidecar anew after its end, on the addresses it had."""
        config, at = self.sidebeat.config, {name: address.port for name, address in self.sidebeat.addresses.items()}
        for name, listener in config["listeners"].items():
            listener["listen"] = f"{listener['listen'].split('://')[0]}://0.0.0.0:{at[name]}"
        old, self.sidebeat = self.sidebeat, self._sidebeat()
        self.sidebeat.write(config)
        old.__exit__(None, None, None)
        self.sidebeat.__enter__()

    def swap_certificate(self, reload=True):
        """Puts a new certificate in the place of the one in use; new connections get it."""
        addresses = [self.net.gateway["near"], self.net.gateway["far"], "10.78.0.1"]
        self.pair = self.authority.issue("server", "localhost", *addresses)
        if not reload:
            return
        status, _, body = self.sidebeat.get("/v1/reload", method="POST", within=PATIENCE)
        assert status == 200, body
        with open(self.pair[0]) as file:
            wanted = ssl.PEM_cert_to_DER_cert(file.read())
        context = ssl.create_default_context(cafile=self.authority.ca_file)
        with inside(self.net.outer["near"]):
            raw = socket.create_connection((self.net.gateway["near"], self.sidebeat.at("wss-near")[1]), PATIENCE)
        with context.wrap_socket(raw, server_hostname="localhost") as served:
            assert served.getpeercert(binary_form=True) == wanted

    def fill(self, app="near", host=None, each=EACH):
        """Both parties talk: the near one to the near app, the far one to this app, over this address of the sidecar's."""
        assert self.near.open(self.net.gateway["near"], each=each) == len(SCHEMES) * each
        assert self.far.open(host or self.net.gateway["far"], app=app, each=each) == len(SCHEMES) * each
        self.near.talks()
        self.far.talks()

    # --- what is so whatever the fault is ------------------------------------------------------------------------------

    def under(self, seconds=SECONDS):
        """A time under a fault, with a new certificate in the midst of it."""
        end = time.monotonic() + seconds
        self.untouched()
        self.swap_certificate()
        while time.monotonic() < end:
            self.untouched()

    def untouched(self):
        """Nobody of the party that no fault touches was cut, and they go on talking."""
        self.near.talks()
        assert self.near.report()["ended"] == []

    def everybody_lives(self):
        """Nobody of either party was cut, and all go on talking."""
        open_streams = self.far.report()["open"]
        self.untouched()
        self.far.talks()
        # Each of them has had an answer, not only the quickest.
        until(lambda: self.far.report()["waiting"] < 1, PATIENCE, what="an answer for everybody")
        told = self.far.report()
        assert told["ended"] == [] and told["open"] == open_streams > 0, told

    def on_time(self):
        """No verdict came before its limit, and none late."""
        return all(0 <= late <= LATE * 1000 for late in self.lateness_ms)

    def works(self):
        """Everything is served as ever: all schemes, both apps."""
        for party, host in ((self.near, self.net.gateway["near"]), (self.far, self.net.gateway["far"])):
            for app in ("near", "far"):
                assert party.open(host, app=app, each=1) == len(SCHEMES)
            party.talks()

    def told(self):
        """What the receiver was told of streams, by kind: each event once, however often it came."""
        kinds = {"opened": [], "closed": []}
        for event in {event["id"]: event for event in self.receiver.events}.values():
            kinds[event["type"].rsplit(".")[-1]].append(event)
        return kinds

    def settle(self, restarted=False):
        """Everybody leaves; of every stream one `opened` and one `closed` have come, and the metrics say the same."""
        for party in (self.near, self.far):
            party.ask(leave=True)
        self.sidebeat.wait_metric(0, "streams_active", within=PATIENCE)
        self.sidebeat.wait_metric(0, "streams_closing", within=PATIENCE)
        opened = self.sidebeat.metrics().sum("sidebeat_streams_opened_total")

        def everything_is_told():
            # The log keeps an event back until the disk has it: till then it is in no queue.
            subjects = {kind: {event["subject"] for event in found} for kind, found in self.told().items()}
            return len(subjects["opened"]) >= opened and subjects["opened"] == subjects["closed"]

        until(everything_is_told, PATIENCE, every=0.05, what="one `closed` for each `opened`")
        self.sidebeat.wait_metric(0, "hook_queue_events", within=PATIENCE)
        metrics = self.sidebeat.metrics()
        closed = collections.Counter(metrics.by("reason", "sidebeat_streams_closed_total"))
        assert sum(closed.values()) == metrics.sum("sidebeat_streams_opened_total")
        for result in ("dropped", "expired", "rejected"):
            assert metrics.sum("sidebeat_hook_events_total", result=result) == 0, result
        kinds = self.told()
        for kind, found in kinds.items():
            subjects = collections.Counter(event["subject"] for event in found)
            twice = {subject: count for subject, count in subjects.items() if count > 1}
            assert not twice, f"{kind} with two ids: {twice}"
        told = collections.Counter(event["data"]["reason"] for event in kinds["closed"])
        if not restarted:
            assert told == closed, (told, closed)
            assert sum(told.values()) == metrics.sum("sidebeat_hook_events_total", type="sidebeat.stream.closed", result="delivered")
        until(lambda: self.sidebeat.connections() == 0, PATIENCE, what="the sockets to be given back")
        assert "panicked" not in self.sidebeat.log()
        self.lateness_ms = [event["data"]["lateness_ms"] for event in kinds["closed"] if event["data"]["lateness_ms"] is not None]
        return told

