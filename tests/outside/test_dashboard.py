"""A real Prometheus scrapes sidebeat under load: each panel of the dashboard shows something, and each rule can be evaluated."""

import contextlib
import json
import math
import socket
import subprocess
import threading
import urllib.parse
import urllib.request

import pytest
import yaml
from harness.charts import GATEWAY
from harness.hooks import Hooks
from harness.peer import Peer
from harness.sidebeat import Sidebeat, listener
from harness.wait import until
from harness.wire import CLOSE, PING, PONG, Client

DASHBOARD = json.loads((GATEWAY / "files" / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {"__rate_interval": "10s", "namespace": ".*", "job": ".*", "instance": ".*", "listener": ".*"}


def filled(expression):
    """An expression as Grafana sends it."""
    for name, value in VARIABLES.items():
        expression = expression.replace(f"${name}", value)
    assert "$" not in expression, expression
    return expression


class Prometheus:
    """A server that scrapes one address twice a second."""

    def __init__(self, directory, target):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        config = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"},
            "rule_files": [str(GATEWAY / "files" / "alerts.yaml")],
            "scrape_configs": [{"job_name": "chat", "static_configs": [{"targets": ["%s:%d" % target], "labels": {"namespace": "prod", "pod": "chat-7d9f"}}]}],
        }
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.log = directory / "log"
        self.command = ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
        self.command += [f"--web.listen-address=127.0.0.1:{self.port}"]

    def __enter__(self):
        with self.log.open("w") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def get(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def ready(self):
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        with contextlib.suppress(OSError):
            return bool(self.get("query", query="sidebeat_build_info")["result"])

    def values(self, expression):
        """The values of an expression now, without those that are no number."""
        found = self.get("query", query=filled(expression))["result"]
        return [value for value in (float(each["value"][1]) for each in found) if math.isfinite(value)]


class Load:
    """Clients that come and go, each kind on a thread of its own, until the block ends."""

    def __init__(self, sidebeat, tls):
        self.sidebeat, self.tls = sidebeat, tls
        self.ended = threading.Event()
        kinds = [self.talks, self.dies, self.wakes, self.is_refused, self.asks, self.sends_lines]
        self.threads = [threading.Thread(target=self.again, args=(kind,)) for kind in kinds]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def again(self, kind):
        while not self.ended.is_set():
            with contextlib.suppress(AssertionError, OSError):
                kind()
            self.ended.wait(0.05)

    @contextlib.contextmanager
    def client(self, name, **rest):
        with Client(self.sidebeat.at(name), **rest) as client:
            client.open()
            client.opened()
            yield client

    def talks(self):
        with self.client("chat", tls=self.tls) as client:
            client.send_text("hello")
            client.read_message()
            while (got := client.read_frame()).opcode != PING:
                pass
            client.send_frame(PONG, got.payload)
            client.send_close()
            client.read_close()

    def dies(self):
        with self.client("strict") as client:
            while client.read_frame().opcode != CLOSE:
                pass

    def wakes(self):
        with self.client("observed") as client:
            overdue = self.sidebeat.metric("streams_overdue_total")
            until(lambda: self.sidebeat.metric("streams_overdue_total") > overdue, 5)
            client.send_text("still here")
            client.read_message()

    def is_refused(self):
        with Client(self.sidebeat.at("nowhere")) as client:
            client.open()
            client.read_head()

    def asks(self):
        with Client(self.sidebeat.at("strict")) as client:
            client.request("/")
            client.read_head()

    def sends_lines(self):
        with Client(self.sidebeat.at("lines")) as client:
            client.send(b"hello\n")
            client.read(6)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory, authority):
    directory = tmp_path_factory.mktemp("dashboard")
    with socket.create_server(("127.0.0.1", 0)) as free:
        nowhere = free.getsockname()[1]
    with Hooks() as hooks, Peer("app", "ws") as ws, Peer("app", "tcp") as tcp:
        app = f"ws://127.0.0.1:{ws.read()['port']}"
        listeners = {
            "chat": listener("wss", app, tls=authority.tls(), heartbeat={"idle_limit": "5s", "ping": {"interval": "200ms"}}),
            "strict": listener("ws", app, http="refuse", heartbeat={"idle_limit": "500ms"}),
            "observed": listener("ws", app, heartbeat={"idle_limit": "500ms", "mode": "observe"}),
            "nowhere": listener("ws", f"ws://127.0.0.1:{nowhere}"),
            "lines": listener("tcp", f"tcp://127.0.0.1:{tcp.read()['port']}", framing="line"),
        }
        with Sidebeat(listeners, hooks=hooks.config(directory), state_dir=str(directory / "state")) as sidebeat:
            with Prometheus(directory, sidebeat.at("telemetry")) as prometheus, Load(sidebeat, authority.client()):
                until(prometheus.ready, 30, every=0.2, what="the first scrape")
                yield prometheus


def test_every_panel_shows_something(prometheus):
    assert len(PANELS) >= 30
    empty = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
    assert len(empty) >= len(PANELS)

    def shown():
        empty[:] = [(title, expression) for title, expression in empty if not prometheus.values(expression)]
        return not empty

    until(shown, 60, every=0.5, what="a value in each panel")

    # Some of them are not zero, so that a panel cannot be full of something else.
    def of(title):
        (panel,) = [panel for panel in PANELS if panel["title"] == title]
        return prometheus.values(panel["targets"][0]["expr"])

    until(lambda: of("Instances") == [1], 30)
    until(lambda: sum(of("Streams ended by reason")) > 0 and sum(of("Connections refused by reason")) > 0, 30)
    until(lambda: of("Round trip of pings to clients") and 0 < of("Round trip of pings to clients")[0] < 5, 30)
    until(lambda: sum(of("Ordinary HTTP requests")) > 0 and sum(of("Bytes")) > 0 and sum(of("Overdue in observe mode")) > 0, 30)
    assert of("Next certificate ends in")[0] > 0 and sum(of("Hook log")) > 0
    assert of("Oldest undelivered event")[0] >= 0


def test_variables_have_choices_and_rules_can_be_evaluated(prometheus):
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]} - {"datasource"}
    assert names | {"__rate_interval"} == set(VARIABLES)
    for name in names:
        series = prometheus.get("query", query="sidebeat_streams_active")["result"]
        assert all(each["metric"][name] for each in series) and series
    for annotation in DASHBOARD["annotations"]["list"]:
        prometheus.values(annotation["expr"])

    def evaluated():
        rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        return len(rules) == 20 and all(rule["health"] == "ok" for rule in rules) and rules

    firing = {rule["name"] for rule in until(evaluated, 30, every=0.5, what="every rule") if rule["state"] == "firing"}
    assert "SidebeatAbsent" not in firing


def test_the_dashboard_can_be_imported():
    assert DASHBOARD["uid"] == "sidebeat" and DASHBOARD["schemaVersion"] >= 39
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert panel["title"] and panel["description"] and panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
