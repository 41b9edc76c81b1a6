"""Peers that people use, each with an app of its own kind where it has one: asked five times a second, written to by the API, closed by either.

What they say must come back whole and in order, and what the API puts between must arrive whole and in order, too.
"""

import collections
import contextlib
import json
import sys

import pytest

from harness.browser import PATIENCE, Browser
from harness.clients import HERE as CLIENTS
from harness.clients import NODE
from harness.peer import Process, Telling
from harness.sidebeat import ROOT, Sidebeat, listener
from harness.wait import until

HERE = ROOT / "tests/outside"
# Both sides are asked in every pause; who did not answer would be closed in one of them.
HEARTBEAT = {
    "idle_limit": "3s",
    "ping": {"interval": "200ms", "when": "always"},
    "upstream_ping": "200ms",
    "upstream_idle_limit": "3s",
}
ANSWERS = 16
TEXTS = ["a", "é漢字🫀", "x" * 125, "y" * 126, "0123456789" * 7000, *(f"number {n}" for n in range(15))]
INJECTED = [f"injected {n} {'z' * 50 * n}" for n in range(10)]
CODE, WORDS = 4001, "enough"


def as_text(text):
    return "text/plain", text.encode()


def as_socketio(text):
    return "text/plain", f"42{json.dumps(['said', text])}".encode()


def as_signalr(text):
    return "text/plain", f"{json.dumps({'type': 1, 'target': 'said', 'arguments': [text]})}\x1e".encode()


def as_graphql(text):
    return "text/plain", json.dumps({"id": "talk", "type": "next", "payload": {"data": {"said": text}}}).encode()


def as_mqtt(text):
    """A PUBLISH of QoS 0 (MQTT 3.1.1, 3.3)."""
    body = (4).to_bytes(2) + b"talk" + text.encode()
    length = bytes([len(body)]) if len(body) < 128 else bytes([len(body) % 128 | 128, len(body) // 128])
    return "application/octet-stream", b"\x30" + length + body


def node(path, *arguments):
    return ["node", path, *arguments]


def python(*arguments):
    return [sys.executable, HERE / "peers/libraries.py", *arguments]


Kind = collections.namedtuple("Kind", "app client wrap", defaults=(as_text,))
"""How app and client are started, and how a text of the API has to look."""

ECHO = node(CLIENTS / "echo.js")
SOCKETIO, SIGNALR = HERE / "peers/socketio.js", HERE / "peers/signalr.js"
GRAPHQL, MQTT = HERE / "profiles/graphql.js", HERE / "profiles/mqtt.js"
KINDS = {
    "chromium": Kind(ECHO, None),
    "node-ws": Kind(ECHO, node(HERE / "peers/ws.js")),
    "curl": Kind(ECHO, python("client", "curl")),
    "websocat": Kind(ECHO, python("client", "websocat")),
    "websockets": Kind(python("app", "websockets"), python("client", "websockets")),
    "aiohttp": Kind(python("app", "aiohttp"), python("client", "aiohttp")),
    "tornado": Kind(python("app", "tornado"), python("client", "tornado")),
    "socket.io": Kind(node(SOCKETIO, "app"), node(SOCKETIO, "client"), as_socketio),
    "signalr": Kind(node(SIGNALR, "app"), node(SIGNALR, "client"), as_signalr),
    "graphql-ws": Kind(node(GRAPHQL, "app"), node(GRAPHQL, "client"), as_graphql),
    "mqtt": Kind(node(MQTT, "app"), node(MQTT, "client"), as_mqtt),
}


class Program:
    """A client that is a process."""

    def __init__(self, command, url, stack):
        more = ("60",) if MQTT in command else ()
        self.process = stack.enter_context(Process(*command, url, *more, env=NODE))
        self.telling = Telling(self.process)

    @property
    def told(self):
        return list(self.telling.told)

    def say(self, text):
        self.process.write(text)

    def leave(self):
        self.process.process.stdin.close()


class Page:
    """A client that is a page in Chromium."""

    SCRIPT = """
        window.told = [];
        window.socket = new WebSocket(arguments[0]);
        socket.onopen = () => told.push({ open: true });
        socket.onmessage = (event) => told.push({ message: event.data });
        socket.onclose = (event) => told.push({ end: event.code });
    """

    def __init__(self, url, stack):
        browser = Browser()
        stack.callback(browser.quit)
        self.tab = stack.enter_context(browser.tab())
        self.tab.run(self.SCRIPT, url)

    @property
    def told(self):
        return self.tab.run("return window.told")

    def say(self, text):
        self.tab.run("socket.send(arguments[0])", text)

    def leave(self):
        self.tab.run("socket.close(1000)")


def told(peer, what):
    """All that a peer has told of a kind."""
    return [line[what] for line in peer.told if what in line]


def inject(sidebeat, text, wrap):
    """Sends a message by the API."""
    media, body = wrap(text)
    found = json.loads(sidebeat.get("/v1/streams")[2])["items"]
    (stream,) = [each["id"] for each in found]
    status, _, answer = sidebeat.get(f"/v1/streams/{stream}/messages", method="POST", body=body, headers={"content-type": media})
    assert status == 200, answer


def converse(sidebeat, client, wrap):
    """Texts of the client's and of the API's at the same time; then all is silent but for pings."""
    until(lambda: told(client, "open"), PATIENCE, what="the opening")
    for number, text in enumerate(TEXTS):
        client.say(text)
        if wrap is as_mqtt:
            # Its packets may span messages: what comes from elsewhere has to wait for the end of an answer.
            until(lambda: text in told(client, "message"), 30, what="the answer")
        if number % 2:
            inject(sidebeat, INJECTED[number // 2], wrap)
    until(lambda: len(told(client, "message")) >= len(TEXTS) + len(INJECTED), 30, what="all messages")
    heard = [text for text in told(client, "message") if text != "opened"]
    assert [text for text in heard if not text.startswith("injected")] == TEXTS
    assert [text for text in heard if text.startswith("injected")] == INJECTED
    for side in ("client", "upstream"):
        before = sidebeat.metric("pongs_received_total", **{"from": side})
        answered = lambda: sidebeat.metric("pongs_received_total", **{"from": side}) - before  # noqa: E731
        until(lambda: answered() >= ANSWERS, 30, what=f"pongs of the {side} in silence")
    client.say("still here")
    until(lambda: "still here" in told(client, "message"), what="the last echo")
    assert sidebeat.metric("streams_active") == 1


def app_ends(app):
    """What the app has seen of the end of each conversation."""
    return [line.get("end", line.get("code", line.get("gone"))) for line in app.told if {"end", "code", "gone"} & set(line)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", KINDS)
def test_a_peer_keeps_talking_and_both_see_the_end(name, hooks, tmp_path):
    kind = KINDS[name]
    with contextlib.ExitStack() as stack:
        app = Telling(stack.enter_context(Process(*kind.app, env=NODE)))
        until(lambda: app.told, 30, what="the port")
        port = app.told[0].get("port") or app.told[0]["ws"]
        main = listener("ws", f"ws://127.0.0.1:{port}", heartbeat=HEARTBEAT)
        sidebeat = stack.enter_context(Sidebeat({"main": main}, hooks=hooks.config(tmp_path, ["opened", "closed"])))

        def connect():
            return Page(sidebeat.url(), stack) if kind.client is None else Program(kind.client, sidebeat.url(), stack)

        client = connect()
        converse(sidebeat, client, kind.wrap)
        status, _, _ = sidebeat.get(f"/v1/streams?all=true&code={CODE}&reason={WORDS}", method="DELETE")
        assert status == 200
        until(lambda: told(client, "end"), 20, what="the client sees the end")
        until(lambda: len(app_ends(app)) == 1, 20, what="the app sees the end")
        # Some tell no code: the one of a Close is CODE for all who do.
        assert [told(client, "end")[0], app_ends(app)[0]] == SEEN.get(name, [CODE, CODE])
        sidebeat.wait_closed(admin_close=1)

        client = connect()
        until(lambda: told(client, "open"), PATIENCE, what="the second opening")
        client.leave()
        until(lambda: told(client, "end"), 20, what="the client ends")
        until(lambda: len(app_ends(app)) == 2, 20, what="the app sees the client leave")
        sidebeat.wait_metric(2, "streams_closed_total")
        assert set(sidebeat.closed()) - {"admin_close"} <= LEFT.get(name, {"client_close"})

        sidebeat.wait_metric(0, "hook_queue_events", within=20)
        kinds = collections.Counter(got.event["type"].rsplit(".")[-1] for got in hooks.events)
        assert kinds == {"opened": 2, "closed": 2}
        until(lambda: sidebeat.connections() == 0, 10, what="the sockets to be given back")


# What they tell of a Close with CODE: client, app.
SEEN = {
    "websocat": [None, CODE],
    "socket.io": [CODE, "transport close"],
    "mqtt": [True, "the-client"],
}

# How a stream ends whose client leaves with words of its own protocol, at which its app may be the first to close, or just ends.
LEFT = {
    "socket.io": {"client_close", "upstream_close"},
    "mqtt": {"client_close", "upstream_close", "upstream_gone"},
}
