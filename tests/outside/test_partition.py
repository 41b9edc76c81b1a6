"""The acceptance test of the product: a client whose packets vanish is closed on time, the app hears of it, nobody else is touched."""

import threading
import time

import pytest

from harness.hooks import Hooks
from harness.netns import Network
from harness.sidebeat import Sidebeat, listener
from harness.wait import until
from harness.wire import CLOSE, FIN, PING, PONG, App, Client, Ended, echo_tcp, echo_ws, open_tcp, open_ws

IDLE = 3.0
HEARTBEAT = {"idle_limit": "3s", "ping": {"interval": "1s"}}


@pytest.fixture
def net():
    with Network("lost", "quiet") as net:
        yield net


class Alive(threading.Thread):
    """A live client with nothing to say: it answers pings and does nothing else."""

    def __init__(self, wire, answer):
        super().__init__(daemon=True)
        self.wire, self.answer = wire, answer
        self.pings, self.over, self.fault = 0, threading.Event(), None
        self.start()

    def run(self):
        try:
            while not self.over.is_set():
                if self.answer(self.wire):
                    self.pings += 1
        except Exception as error:
            self.fault = error

    def stop(self):
        self.over.set()
        self.join(5)
        assert not self.is_alive() and self.fault is None, self.fault


class Chatter(threading.Thread):
    """The app that keeps sending to a client that is gone, without looking."""

    def __init__(self, wire, send):
        super().__init__(daemon=True)
        self.wire, self.send_one, self.over, self.sent = wire, send, threading.Event(), 0
        self.start()

    def run(self):
        while not self.over.wait(0.05):
            try:
                self.send_one(self.wire)
                self.sent += 1
            except OSError:
                return

    def stop(self):
        self.over.set()
        self.join(5)


def pong(wire):
    """Waits for one ping and answers it."""
    try:
        got = wire.read_frame(0.5)
    except AssertionError as error:
        if isinstance(error, Ended):
            raise
        return False
    assert got.opcode == PING, got
    wire.send_frame(PONG, got.payload)
    return True


def line_pong(wire):
    """The same for a line protocol with an application heartbeat."""
    try:
        got = wire.read_until(b"\n", 0.5)
    except AssertionError as error:
        if isinstance(error, Ended):
            raise
        return False
    assert got == b"PING\n", got
    wire.send(b"PONG\n")
    return True


def app_sees_the_close(inner, protocol):
    """Reads the app's end up to its close and returns the instant."""
    if protocol == "tcp":
        assert inner.end(IDLE + 5) == FIN
    else:
        code, reason = inner.read_close(IDLE + 5)
        assert (code, reason) == (1001, "client_idle")
        seen = time.monotonic()
        inner.send_frame(CLOSE, code.to_bytes(2, "big"))
        assert inner.end(2) == FIN
        return seen
    return time.monotonic()


@pytest.mark.parametrize("protocol", ["ws", "wss", "tcp"])
def test_a_client_whose_packets_vanish_is_closed_on_time_and_the_app_is_told(net, tmp_path, authority, protocol):
    tls = authority.client() if protocol == "wss" else None
    extra = {"tls": authority.tls()} if tls else {}
    heartbeat = HEARTBEAT
    if protocol == "tcp":
        extra = {"framing": "line"}
        heartbeat = {"idle_limit": "3s", "ping": {"interval": "1s", "data": "PING\n", "reply": "PONG\n"}}
    open_stream, echo = (open_tcp, echo_tcp) if protocol == "tcp" else (open_ws, echo_ws)
    scheme = "tcp" if protocol == "tcp" else "ws"
    say = (lambda wire: wire.send(b"tick\n")) if protocol == "tcp" else (lambda wire: wire.send_text("tick"))

    with App(net.middle) as app, Hooks(net.middle) as hooks, Sidebeat(
        {"main": listener(f"{protocol}://0.0.0.0:0", app.url(scheme), heartbeat=heartbeat, **extra)},
        netns=net.middle,
        hooks=hooks.config(tmp_path),
    ) as sidebeat:
        port = sidebeat.at()[1]

        def connect(name):
            sidebeat.addresses["main"] = sidebeat.addresses["main"]._replace(host=net.gateway[name], port=port)
            return open_stream(sidebeat, app, netns=net.outer[name], tls=tls)

        lost, lost_app = connect("lost")
        quiet, quiet_app = connect("quiet")
        echo(lost, lost_app)
        echo(quiet, quiet_app)
        alive = Alive(quiet, line_pong if protocol == "tcp" else pong)

        before = time.monotonic()
        if protocol == "tcp":
            lost.send(b"last words\n")
            assert lost_app.read_until(b"\n") == b"last words\n"
        else:
            lost.send_text("last words")
            assert lost_app.read_message().payload == b"last words"
        net.vanish("lost")
        vanished = time.monotonic()
        chatter = Chatter(lost_app, say)

        closed = app_sees_the_close(lost_app, protocol)
        chatter.stop()
        assert chatter.sent > 10, "the app was to keep sending"
        assert closed >= before + IDLE, f"closed {closed - before:.3f} s after the last byte, before the limit"
        assert closed <= vanished + IDLE + 1, f"closed {closed - vanished:.3f} s after the packets vanished"

        (hook,) = hooks.wait_closed(1, within=vanished + IDLE + 1 - time.monotonic() + 0.05)
        assert hook.at <= vanished + IDLE + 1
        data = hook.event["data"]
        assert (data["reason"], data["by"], data["idle_limit_ms"]) == ("client_idle", "sidecar", 3000)
        assert data["client"]["address"] == lost.address
        assert data["upstream"]["local_address"] == "%s:%d" % lost_app.socket.getpeername()[:2]
        assert data["lateness_ms"] is not None and 0 <= data["lateness_ms"] < 1000
        sidebeat.wait_closed(client_idle=1)
        assert net.dropped("lost") > 0, "the filter was to drop packets"

        # The quiet one outlives several limits, and can still talk.
        pings = alive.pings
        until(lambda: alive.pings >= pings + 4 or alive.fault, within=3 * IDLE, what="pings to the quiet client")
        alive.stop()
        echo(quiet, quiet_app)
        assert sidebeat.closed() == {"client_idle": 1}
        assert sidebeat.metric("streams_active") == 1
        assert len(hooks.events) == 1
        assert sidebeat.metric("pings_sent_total", to="client") >= alive.pings


def test_lost_packets_alone_close_nobody(net, tmp_path):
    """One packet of twelve lost each way: pings and pongs are sent again by TCP and come in time."""
    with App(net.middle) as app, Sidebeat(
        {"main": listener("ws://0.0.0.0:0", app.url(), heartbeat={"idle_limit": "4s", "ping": {"interval": "500ms"}})},
        netns=net.middle,
    ) as sidebeat:
        sidebeat.addresses["main"] = sidebeat.addresses["main"]._replace(host=net.gateway["lost"])
        outer, inner = open_ws(sidebeat, app, netns=net.outer["lost"])
        net.lose("lost", 8)
        alive = Alive(outer, pong)
        until(lambda: alive.pings >= 20 or alive.fault, within=30, what="twenty pings")
        alive.stop()
        assert sidebeat.closed() == {}
        echo_ws(outer, inner)


def test_an_app_that_cannot_be_reached_is_502_at_the_connect_timeout(net):
    with App(net.outer["lost"], host=net.address["lost"]) as app, Sidebeat(
        {"main": listener("ws://127.0.0.1:0", app.url(), connect_timeout="1s")}, netns=net.middle
    ) as sidebeat:
        net.vanish("lost")
        with Client(sidebeat.at(), netns=net.middle) as client:
            client.open()
            asked = time.monotonic()
            assert client.read_head().status == 502
            assert 1.0 <= time.monotonic() - asked + 0.01 < 2.0
        sidebeat.wait_rejected(upstream_unreachable=1)


def test_an_app_that_vanishes_is_noticed_when_the_client_is_not_asked(net):
    """A partition on the other side: the upstream's limit judges it and the client gets a code that it may come back on."""
    with App(net.outer["lost"], host=net.address["lost"]) as app, Sidebeat(
        {
            "main": listener(
                "ws://127.0.0.1:0",
                app.url(),
                heartbeat={"idle_limit": "off", "ping": "off", "upstream_ping": "500ms", "upstream_idle_limit": "2s"},
            )
        },
        netns=net.middle,
    ) as sidebeat:
        outer, inner = open_ws(sidebeat, app, netns=net.middle)
        echo_ws(outer, inner)
        net.vanish("lost")
        vanished = time.monotonic()
        code, reason = outer.read_close(5)
        assert (code, reason) == (1001, "upstream_idle")
        assert time.monotonic() <= vanished + 3
        sidebeat.wait_closed(upstream_idle=1)
