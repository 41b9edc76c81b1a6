"""The profiles in `examples/profiles`, each with the peers that it is for, and with shorter limits by its own variables.

Of each: a client that lives stays though it has nothing to say, one that is frozen is closed at the limit, and who is asked for a heartbeat
sees it and nobody else does.
"""

import contextlib
import json
import signal
import subprocess
import sys
import time

import pytest
import yaml

from harness.clients import NODE
from harness.peer import Process, Telling
from harness.sidebeat import ROOT, Sidebeat, binary
from harness.tap import Tap
from harness.wait import until
from harness.wire import TEXT, Client
from profiles import apps

PROFILES = ROOT / "examples/profiles"
# Seconds.
IDLE, INTERVAL = 3, 1
# Long enough for a verdict on everybody who is not heard.
LONG = 2 * IDLE


def profile(name, *, listeners=None, **variables):
    """The process of a profile, with the durations of this file and ports of the kernel's choice."""
    config = yaml.safe_load((PROFILES / f"{name}.yaml").read_text())
    if listeners:
        config["listeners"] = {listener: config["listeners"][listener] for listener in listeners}
    return Sidebeat(env={"IDLE_LIMIT": f"{IDLE}s", "PING_INTERVAL": f"{INTERVAL}s", **variables}, **config)


def program(name, *arguments):
    return Process("node", ROOT / "tests/outside/profiles" / name, *arguments, env=NODE)


def is_alive(sidebeat, process, text):
    """Asserts that a client's message comes back and nobody was closed."""
    process.process.write(text)
    process.has(message=text)
    assert sidebeat.closed() == {}


def dies_frozen(sidebeat, process, **others):
    """Freezes a client that was just heard, and sees it closed at the limit."""
    heard = time.monotonic()
    process.process.signal(signal.SIGSTOP)
    until(lambda: sidebeat.closed().get("client_idle") == 1, IDLE + 10, every=0.01, what="the frozen client closed")
    # It may have been heard up to an interval before; the limit itself is tested to the millisecond elsewhere.
    assert time.monotonic() - heard >= IDLE - 2 * INTERVAL
    assert sidebeat.closed() == {"client_idle": 1, **others}
    process.process.signal(signal.SIGCONT)


def test_each_profile_is_a_good_configuration_and_documented():
    page = (ROOT / "docs/profiles.md").read_text()
    seen = sorted(PROFILES.glob("*.yaml"))
    for path in seen:
        done = subprocess.run([binary(), "check", "-c", path], capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stderr
        assert f"../examples/profiles/{path.name}" in page, path.name
    assert len(seen) == 7


# --- Workerman -------------------------------------------------------------------------------------------------------


class WorkermanText:
    profile, app, listener, scheme = "workerman-text", apps.Text, "text", "tcp"
    ping, pong = b"ping", b"pong"

    def __init__(self, sidebeat):
        self.wire = Client(sidebeat.at(self.listener))

    def read(self, within):
        return self.wire.read_until(b"\n", within)[:-1]

    def write(self, message):
        self.wire.send(message + b"\n")


class WorkermanFrame(WorkermanText):
    profile, app, listener = "workerman-frame", apps.Frame, "frame"

    def read(self, within):
        return self.wire.read(int.from_bytes(self.wire.read(4, within)) - 4)

    def write(self, message):
        self.wire.send((len(message) + 4).to_bytes(4) + message)


class GatewayWorker(WorkermanText):
    profile, app, listener, scheme = "gatewayworker", apps.Gateway, "gateway", "ws"
    ping, pong = b'{"type":"ping"}', b'{"type":"pong"}'

    def __init__(self, sidebeat):
        super().__init__(sidebeat)
        self.wire.open()
        self.wire.opened()

    def read(self, within):
        return self.wire.read_message(within).payload

    def write(self, message):
        self.wire.send_frame(TEXT, message)


@pytest.mark.parametrize("kind", [WorkermanText, WorkermanFrame, GatewayWorker], ids=lambda kind: kind.profile)
def test_workerman(kind):
    with kind.app() as app, profile(kind.profile, UPSTREAM=app.url(kind.scheme), LISTEN=f"{kind.scheme}://127.0.0.1:0") as sidebeat:
        silent, live = kind(sidebeat), kind(sidebeat)
        opened = time.monotonic()
        for client in (silent, live):
            client.write(b"hello")
            assert client.read(5) == b"hello"
        # Half a message is no message: one byte of the next, and no more.
        silent.wire.send(b"\x81" if kind.scheme == "ws" else b"\0")
        pings = 0
        while time.monotonic() < opened + LONG:
            assert live.read(IDLE + 5) == kind.ping
            live.write(kind.pong)
            pings += 1
        assert pings >= LONG / INTERVAL / 2
        live.write(b"still here")
        got = live.read(5)
        while got == kind.ping:
            got = live.read(5)
        assert got == b"still here"
        assert sidebeat.closed() == {"client_idle": 1}
        closed = json.loads(sidebeat.get("/v1/closed")[2])["items"]
        assert [IDLE * 1000 <= record["duration_ms"] < LONG * 1000 for record in closed] == [True]
        assert set(app.heard) == {b"hello", b"still here"}, "replies are kept back"
        assert silent.read(5) == kind.ping, "it was asked"
        live.wire.close()


# --- graphql-transport-ws --------------------------------------------------------------------------------------------


def test_graphql_transport_ws():
    with contextlib.ExitStack() as stack:
        app = Telling(stack.enter_context(program("graphql.js", "app")))
        until(lambda: app.told, 15, what="the port")
        sidebeat = stack.enter_context(profile("graphql-transport-ws", UPSTREAM=f"ws://127.0.0.1:{app.told[0]['port']}", LISTEN="ws://127.0.0.1:0"))
        client = Telling(stack.enter_context(program("graphql.js", "client", sidebeat.url("graphql"))))
        client.has(open=True)
        until(lambda: client.count(ping=True) >= LONG / INTERVAL - 1, LONG + 10, what="pings")
        is_alive(sidebeat, client, "hello")
        assert {told["heard"] for told in app.told[1:]} <= {"connection_init", "subscribe", "complete"}, "pongs are kept back"
        assert sidebeat.metric("pongs_received_total", **{"from": "client"}) >= LONG / INTERVAL - 2
        dies_frozen(sidebeat, client)
        client.has(end=1001, reason="client_idle")


# --- STOMP -----------------------------------------------------------------------------------------------------------


def test_stomp_over_tcp():
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(apps.StompTcp())
        sidebeat = stack.enter_context(profile("stomp", listeners=["stomp"], UPSTREAM_TCP=app.url("tcp"), LISTEN_TCP="tcp://127.0.0.1:0"))
        command = [sys.executable, "-m", "profiles.stomp_client", sidebeat.at("stomp")[1], INTERVAL * 1000]
        client = Telling(stack.enter_context(Process(*command)))
        client.has(open=True)
        until(lambda: app.heard.count(b"\n") >= LONG / INTERVAL, LONG + 10, what="heart-beats of the client, which pass")
        is_alive(sidebeat, client, "hello")
        dies_frozen(sidebeat, client)
        assert sidebeat.metric("pings_sent_total", to="client") > 0
        # What was sent to it while it was frozen, since the app was silent: the heart-beat of the other side.
        client.has(ping=True)
        client.has(end=True)


def test_stomp_over_ws():
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(apps.StompWs())
        sidebeat = stack.enter_context(profile("stomp", listeners=["stomp-ws"], UPSTREAM_WS=app.url("ws"), LISTEN_WS="ws://127.0.0.1:0"))
        client = Telling(stack.enter_context(program("stomp.js", sidebeat.url("stomp-ws"))))
        client.has(open=True)
        # Neither side has anything to say: the client's library answers Ping frames.
        until(lambda: sidebeat.metric("pongs_received_total", **{"from": "client"}) >= LONG / INTERVAL - 1, LONG + 10, what="pongs")
        is_alive(sidebeat, client, "hello")
        dies_frozen(sidebeat, client)
        client.has(end=1001, reason="client_idle")
        assert [frame.split(b"\n")[0] for frame in app.heard] == [b"CONNECT", b"SUBSCRIBE", b"SEND"]


# --- those that are never asked --------------------------------------------------------------------------------------


def upgraded(tap):
    """The one connection of a tap that became a WebSocket, without the heads: (said, heard)."""
    (tapped,) = [tapped for tapped in tap.connections if tapped.heard.startswith(b"HTTP/1.1 101")]
    return tuple(bytes(data).split(b"\r\n\r\n", 1)[1] for data in (tapped.said, tapped.heard))


def raw(tap):
    (tapped,) = tap.connections
    return bytes(tapped.said), bytes(tapped.heard)


def test_engine_io_is_never_asked():
    with contextlib.ExitStack() as stack:
        app = Telling(stack.enter_context(program("engine.js", "app", INTERVAL * 1000)))
        until(lambda: app.told, 15, what="the port")
        inner = stack.enter_context(Tap(("127.0.0.1", app.told[0]["port"])))
        sidebeat = stack.enter_context(profile("engine-io", UPSTREAM="ws://%s:%d" % inner.at, LISTEN="ws://127.0.0.1:0"))
        outer = stack.enter_context(Tap(sidebeat.at("engine")))
        client = Telling(stack.enter_context(program("engine.js", "client", "http://%s:%d" % outer.at)))
        client.has(open=True)
        client.has(upgraded="websocket")
        until(lambda: client.count(ping=True) >= LONG / INTERVAL, LONG + 10, what="pings of the server")
        is_alive(sidebeat, client, "hello")
        until(lambda: upgraded(outer) == upgraded(inner), 5, what="the same bytes before sidebeat and behind it")
        assert sidebeat.metric("pings_sent_total") == 0
        assert sidebeat.metric("http_requests_total", code="2xx") > 0, "it began by polling"
        dies_frozen(sidebeat, client)
        app.has(closed="transport close")


@pytest.mark.parametrize("transport", ["tcp", "ws"])
def test_mqtt_is_never_asked(transport):
    keep_alive = 2
    name, read = {"tcp": ("mqtt", raw), "ws": ("mqtt-ws", upgraded)}[transport]
    with contextlib.ExitStack() as stack:
        app = Telling(stack.enter_context(program("mqtt.js", "app")))
        until(lambda: app.told, 15, what="the ports")
        inner = stack.enter_context(Tap(("127.0.0.1", app.told[0][transport])))
        kind = transport.upper()
        variables = {f"UPSTREAM_{kind}": f"{transport}://127.0.0.1:{inner.at[1]}", f"LISTEN_{kind}": f"{transport}://127.0.0.1:0"}
        sidebeat = stack.enter_context(profile("mqtt", listeners=[name], IDLE_LIMIT=f"{1.5 * keep_alive:.0f}s", **variables))
        outer = stack.enter_context(Tap(sidebeat.at(name)))
        scheme = {"tcp": "mqtt", "ws": "ws"}[transport]
        client = Telling(stack.enter_context(program("mqtt.js", "client", f"{scheme}://127.0.0.1:{outer.at[1]}", keep_alive)))
        client.has(open=True)
        until(lambda: app.count(ping="the-client") * keep_alive >= LONG, LONG + 10, what="pings of the client, which pass")
        is_alive(sidebeat, client, "hello")
        until(lambda: read(outer) == read(inner), 5, what="the same bytes before sidebeat and behind it")
        assert sidebeat.metric("pings_sent_total") == 0
        dies_frozen(sidebeat, client)
        app.has(gone="the-client")
