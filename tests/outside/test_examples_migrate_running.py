"""examples/migrate, running: what nginx and HAProxy did before, and what they and sidebeat do together, with their limits made short."""

import re
import shutil
import socket
import subprocess
import threading

import pytest
import yaml

from harness.demo import EXAMPLES
from harness.sidebeat import Sidebeat
from harness.wait import holds, until
from harness.wire import FIN, PING, RESET, Client, Ended, answer_101

MIGRATE = EXAMPLES / "migrate"
LIMIT = "2s"  # of the proxy, for silence on both sides


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Proxy:
    """nginx or HAProxy with a configuration of the example, on ports of the test's."""

    def __init__(self, name, which, directory, server):
        self.port = free_port()
        text = (MIGRATE / name / which).read_text().replace(":8080", f":{self.port}").replace("listen 8080", f"listen {self.port}")
        text = re.sub(r"127\.0\.0\.1:700[01]", f"127.0.0.1:{server}", text)
        if name == "nginx":
            text = re.sub(r"proxy_(read|send)_timeout \w+;", "", text).replace("proxy_http_version", f"proxy_read_timeout {LIMIT}; proxy_send_timeout {LIMIT}; proxy_http_version")
            self.command = ["nginx", "-p", str(directory), "-g", f"daemon off; pid {directory}/pid; error_log stderr;", "-c"]
        else:
            # HAProxy's check of /readyz is not what this is about.
            text = re.sub(r"timeout tunnel \w+", f"timeout tunnel {LIMIT}", text).replace(" check port 9601", "")
            self.command = ["haproxy", "-db", "-f"]
        config = directory / f"{name}.conf"
        config.write_text(text)
        self.command.append(str(config))

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

        def listens():
            assert self.process.poll() is None, self.process.stdout.read()
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            except OSError:
                return False

        until(listens, within=15, what="the proxy to listen")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()

    def stream(self, app):
        outer = Client(("127.0.0.1", self.port))
        outer.open("/chat")
        inner = app.accept(10)
        inner.opening = answer_101(inner)
        outer.opened()
        return outer, inner


class Chatter(threading.Thread):
    """An app that keeps talking, without looking whether anybody hears it."""

    def __init__(self, wire):
        super().__init__(daemon=True)
        self.wire, self.over, self.ended = wire, threading.Event(), threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.1):
            try:
                self.wire.send_text("tick")
            except OSError:
                self.ended.set()
                return

    def stop(self):
        self.over.set()
        self.join(5)


needs = [pytest.param(name, conf, marks=pytest.mark.skipif(not shutil.which(name), reason=f"{name} is not installed")) for name, conf in
         (("nginx", "conf"), ("haproxy", "cfg"))]


@pytest.mark.parametrize("name, suffix", needs)
def test_before_the_quiet_are_cut_and_the_dead_stay(name, suffix, app, tmp_path):
    with Proxy(name, f"before.{suffix}", tmp_path, app.port) as proxy:
        quiet, quiet_app = proxy.stream(app)
        dead, dead_app = proxy.stream(app)
        chatter = Chatter(dead_app)
        # No Close: a page sees 1006.
        assert quiet.end(10) in (FIN, RESET)
        # The dead one reads nothing, sends nothing, and is kept.
        holds(lambda: not chatter.ended.is_set(), seconds=4, what="the dead client's connection")
        chatter.stop()
        for wire in (quiet_app, dead, dead_app):
            wire.close()


@pytest.mark.parametrize("name, suffix", needs)
def test_after_the_quiet_stay_and_the_dead_are_closed(name, suffix, app, hooks, tmp_path):
    config = yaml.safe_load((MIGRATE / name / "sidebeat.yaml").read_text())
    chat = config["listeners"]["chat"]
    chat.update(listen="ws://127.0.0.1:0", upstream=app.url(), heartbeat={"idle_limit": "3s", "ping": {"interval": "800ms"}})
    with Sidebeat({"chat": chat}, hooks=hooks.config(tmp_path)) as sidebeat, Proxy(name, f"after.{suffix}", tmp_path, sidebeat.at("chat")[1]) as proxy:
        quiet, quiet_app = proxy.stream(app)
        dead, dead_app = proxy.stream(app)
        chatter = Chatter(dead_app)

        pings = []

        def answers():
            try:
                while True:
                    got = quiet.read_frame(30)
                    assert got.opcode == PING
                    quiet.send_frame(10, got.payload)
                    pings.append(got)
            except (Ended, OSError):
                pass

        alive = threading.Thread(target=answers, daemon=True)
        alive.start()
        (closed,) = hooks.wait_closed(within=10)
        data = closed.event["data"]
        assert (data["reason"], data["client"]["address"].split(":")[0]) == ("client_idle", "127.0.0.1")
        # Who the client is, the proxy has said.
        assert data["client"]["source"] == {"nginx": "forwarded", "haproxy": "proxy_protocol"}[name]
        chatter.stop()
        until(lambda: len(pings) >= 8, within=20, what="the quiet client to outlive the proxy's limit several times")
        assert sidebeat.closed() == {"client_idle": 1}
        assert sidebeat.metric("streams_active") == 1
        quiet.finish()
        alive.join(10)
        for wire in (quiet, quiet_app, dead, dead_app):
            wire.close()
