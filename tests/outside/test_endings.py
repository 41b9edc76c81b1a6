"""Killed, closed, broken: how each end reaches the other side, what it is called, and what is left behind."""

import os
import signal
import time

import pytest

from harness.peer import Peer
from harness.sidebeat import Sidebeat, listener
from harness.wait import until
from harness.wire import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RESET, TEXT, App, Client, Frame, answer_101, echo_tcp, echo_ws, frame, open_tcp, open_ws


@pytest.fixture(params=["ws", "wss"])
def stream(request, app, authority, hooks, tmp_path):
    """A WebSocket stream with everything around it."""

    class Stream:
        pass

    tls = {"tls": authority.tls()} if request.param == "wss" else {}
    heartbeat = {"close_timeout": "1s"}
    with Sidebeat({"main": listener(request.param, app.url(), heartbeat=heartbeat, **tls)}, hooks=hooks.config(tmp_path)) as sidebeat:
        stream = Stream()
        stream.sidebeat, stream.hooks, stream.app = sidebeat, hooks, app
        stream.open = lambda: open_ws(sidebeat, app, tls=authority.client() if tls else None)
        stream.outer, stream.inner = stream.open()
        echo_ws(stream.outer, stream.inner)
        yield stream


def ended(stream, reason, by, code=None):
    """The metric and the hook agree on the end."""
    stream.sidebeat.wait_closed(**{reason: 1})
    (hook,) = stream.hooks.wait_closed()
    data = hook.event["data"]
    assert (data["reason"], data["by"]) == (reason, by)
    assert data["close_code"] == code, data
    again = stream.open()
    echo_ws(*again)
    return data


def test_a_close_of_the_client_passes_untouched_and_so_does_its_answer(stream):
    stream.outer.send_close(4001, "au revoir")
    assert stream.inner.read_frame() == Frame(True, 0, CLOSE, True, (4001).to_bytes(2, "big") + b"au revoir")
    stream.inner.send_close(4001, "au revoir")
    assert stream.outer.read_close() == (4001, "au revoir")
    stream.inner.close()
    assert stream.outer.end() == FIN
    data = ended(stream, "client_close", "client", 4001)
    assert data["close_reason"] == "au revoir"


def test_a_close_of_the_app_passes_untouched_and_so_does_its_answer(stream):
    stream.inner.send_close(1013, "come back later")
    assert stream.outer.read_frame() == Frame(True, 0, CLOSE, False, (1013).to_bytes(2, "big") + b"come back later")
    stream.outer.send_close(1013)
    assert stream.inner.read_close() == (1013, "")
    stream.inner.close()
    assert stream.outer.end() == FIN
    ended(stream, "upstream_close", "upstream", 1013)


def test_a_close_that_nobody_answers_ends_at_the_close_timeout(stream):
    stream.outer.send_close(1000)
    started = time.monotonic()
    assert stream.inner.read_close() == (1000, "")
    assert stream.outer.rest(4)[1] in (FIN, RESET)
    assert 0.9 <= time.monotonic() - started < 5
    assert stream.inner.rest(4)[1] in (FIN, RESET)
    ended(stream, "client_close", "client", 1000)


def test_a_client_that_is_gone_without_a_close_is_just_gone_for_the_app(stream):
    stream.outer.close()
    assert stream.inner.rest()[0] == b"", "FIN without a Close frame"
    ended(stream, "client_gone", "client")


def test_a_client_that_resets_is_gone(stream):
    (getattr(stream.outer.socket, "_sock", None) or stream.outer).reset()
    assert stream.inner.rest()[0] == b""
    ended(stream, "client_gone", "client")


@pytest.mark.parametrize("how", ["close", "reset"])
def test_an_app_that_is_gone_is_1001_for_the_client(stream, how):
    getattr(stream.inner, how)()
    assert stream.outer.read_close()[0] == 1001
    assert stream.outer.end() == FIN
    ended(stream, "upstream_gone", "upstream", 1001)


def test_a_client_gone_in_mid_frame_is_fin_for_the_app(stream):
    stream.outer.send(frame(TEXT, b"x" * 1000, masked=True)[:500])
    stream.inner.read(100)
    stream.outer.close()
    rest, how = stream.inner.rest()
    assert how in (FIN, RESET) and len(rest) <= 400
    ended(stream, "client_gone", "client")


@pytest.mark.parametrize(
    "passing, wrong",
    [
        (0, frame(TEXT, b"unmasked", masked=False)),
        (0, frame(3, b"reserved opcode", masked=True)),
        (0, frame(TEXT, b"reserved bit", masked=True, rsv=4)),
        (0, frame(PING, b"x", masked=True, fin=False)),
        (0, frame(PING, b"x" * 126, masked=True)),
        (0, frame(CONTINUATION, b"of nothing", masked=True)),
        (1, frame(TEXT, b"one", masked=True, fin=False) + frame(TEXT, b"two", masked=True)),
        (0, b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"),
    ],
    ids=["unmasked", "opcode 3", "rsv1", "fragmented ping", "long ping", "lonely continuation", "message in a message", "64-bit length"],
)
def test_a_violation_of_the_client_is_1002_for_both(stream, passing, wrong):
    stream.outer.send(wrong)
    for _ in range(passing):
        assert stream.inner.read_frame().payload == b"one"
    assert stream.inner.read_close()[0] == 1002
    stream.inner.send_close(1002)
    assert stream.outer.read_close()[0] == 1002
    stream.outer.send_close(1002)
    assert stream.outer.end() == FIN
    assert stream.inner.end() == FIN
    data = ended(stream, "protocol_error", "sidecar", 1002)
    assert "client" in data["detail"]


def test_a_violation_of_the_app_is_1002_and_named_as_the_apps(stream):
    stream.inner.send(frame(TEXT, b"masked", masked=True))
    assert stream.outer.read_close()[0] == 1002
    stream.outer.send_close(1002)
    assert stream.inner.read_close()[0] == 1002
    data = ended(stream, "protocol_error", "sidecar", 1002)
    assert "upstream" in data["detail"]


@pytest.mark.parametrize("offender", ["client", "upstream"])
def test_an_offender_still_hears_what_the_other_side_has_to_say(app, offender):
    """The answer to what was right before the violation; without a proxy the offender would have got it, too."""
    with Sidebeat({"main": listener("ws", app.url())}) as sidebeat:
        outer, inner = open_ws(sidebeat, app)
        bad, good = (outer, inner) if offender == "client" else (inner, outer)
        bad.send(frame(TEXT, b"right", masked=bad.masked) + frame(3, b"wrong", masked=bad.masked))
        assert good.read_message().payload == b"right"
        assert good.read_close()[0] == 1002
        good.send_text("an answer")
        good.send_close(1002)
        assert bad.read_message().payload == b"an answer"
        assert bad.read_close()[0] == 1002
        bad.send_close(1002)
        assert outer.end() == FIN == inner.end()
        sidebeat.wait_closed(protocol_error=1)


@pytest.mark.parametrize("offender", ["client", "upstream"])
def test_an_offender_hears_a_side_that_says_nothing_final_for_a_second_at_most(app, offender):
    with Sidebeat({"main": listener("ws", app.url())}) as sidebeat:
        outer, inner = open_ws(sidebeat, app)
        bad, good = (outer, inner) if offender == "client" else (inner, outer)
        bad.send(frame(3, b"wrong", masked=bad.masked))
        started = time.monotonic()
        assert good.read_close()[0] == 1002
        good.send_text("but")
        assert bad.read_message().payload == b"but"
        assert bad.read_close(3)[0] == 1002
        assert 0.95 <= time.monotonic() - started < 5


def test_a_message_over_its_limit_is_1009(app):
    with Sidebeat({"main": listener("ws", app.url(), limits={"message": "1KiB"})}) as sidebeat:
        outer, inner = open_ws(sidebeat, app)
        outer.send_frame(BINARY, b"x" * 1024)
        assert len(inner.read_message().payload) == 1024
        # Three fragments of one message count together.
        for fin, opcode in ((False, BINARY), (False, CONTINUATION), (True, CONTINUATION)):
            outer.send_frame(opcode, b"x" * 400, fin=fin)
        assert outer.read_close()[0] == 1009
        sidebeat.wait_closed(message_too_big=1)


def test_pings_and_pongs_of_the_two_ends_pass_untouched(stream):
    for number in range(20):
        payload = os.urandom(number % 8 * 17)
        stream.outer.send_frame(PING, payload)
        assert stream.inner.read_frame() == Frame(True, 0, PING, True, payload)
        stream.inner.send_frame(PONG, payload)
        assert stream.outer.read_frame() == Frame(True, 0, PONG, False, payload)
        stream.outer.send_frame(PONG, b"unsolicited %d" % number)
        assert stream.inner.read_frame().payload == b"unsolicited %d" % number


@pytest.mark.parametrize("protocol", ["ws", "tcp"])
def test_a_killed_app_ends_both_legs(protocol):
    with Peer("app", protocol) as process:
        with Sidebeat({"main": listener(protocol, f"{protocol}://127.0.0.1:{process.read()['port']}")}) as sidebeat:
            clients = [Client(sidebeat.at()) for _ in range(20)]
            for client in clients:
                if protocol == "ws":
                    client.open()
                    client.opened()
                    client.send_text("hello")
                    assert client.read_message().payload == b"hello"
                else:
                    client.send(b"hello")
                    assert client.read(5) == b"hello"
            assert sidebeat.connections() == 40
            process.signal(signal.SIGKILL)
            for client in clients:
                if protocol == "ws":
                    assert client.read_close() == (1001, "upstream_gone")
                assert client.end() in (FIN, RESET)
                client.close()
            reason = "upstream_gone" if protocol == "ws" else "upstream_close"
            sidebeat.wait_closed(**{reason: 20})
            until(lambda: sidebeat.connections() == 0, 10, what="the sockets to be given back")
            assert sidebeat.metric("streams_active") == 0 == sidebeat.metric("streams_closing")
            if protocol == "ws":
                with Client(sidebeat.at()) as client:
                    client.open()
                    assert client.read_head().status == 502


def test_killed_clients_end_both_legs(app):
    with Sidebeat({"main": listener("ws", app.url())}) as sidebeat:
        with Peer("client", *sidebeat.at()) as process:
            inner = app.accept()
            answer_101(inner)
            assert "open" in process.read()
            process.signal(signal.SIGKILL)
            assert inner.end() in (FIN, RESET)
            inner.close()
        sidebeat.wait_closed(client_gone=1)
        until(lambda: sidebeat.connections() == 0, 10, what="the sockets to be given back")


def test_the_end_of_the_process_is_a_drain_for_every_stream(app):
    with Sidebeat({"ws": listener("ws", app.url()), "tcp": listener("tcp", app.url("tcp"))}) as sidebeat:
        websocket, raw = open_ws(sidebeat, app, "ws"), open_tcp(sidebeat, app, "tcp")
        echo_ws(*websocket)
        echo_tcp(*raw)
        sidebeat.kill(signal.SIGTERM)
        assert websocket[0].read_close() == (1012, "drain")
        websocket[0].send_close(1012)
        assert websocket[1].read_close()[1] == "drain"
        websocket[1].close()
        assert websocket[0].end() == FIN
        for wire in raw:
            assert wire.rest()[1] in (FIN, RESET)
            wire.close()
        assert sidebeat.ended() == 0


def short_streams(sidebeat, app, authority, number):
    """One stream of some kind, opened, used, and ended in some way."""
    kind = ("ws", "tcp", "wss", "ws")[number % 4]
    if kind == "tcp":
        outer, inner = open_tcp(sidebeat, app, kind)
        echo_tcp(outer, inner)
    else:
        outer, inner = open_ws(sidebeat, app, kind, tls=authority.client_context if kind == "wss" else None)
        echo_ws(outer, inner, "x" * 500)
        if number % 8 < 4:
            outer.send_close(1000)
            inner.read_close()
            inner.send_close(1000)
            outer.read_close()
    if number % 16 == 3 and kind != "wss":
        outer.reset()
    else:
        outer.close()
    inner.rest()
    inner.close()


@pytest.mark.timeout(400)
def test_memory_and_fds_are_flat_over_thousands_of_short_streams(app, authority):
    """5,000 streams; the first 1,000 fill what is kept by design (the last 1,000 closing records, pools)."""
    authority.client_context = authority.client()
    with Sidebeat(
        {
            "ws": listener("ws", app.url()),
            "wss": listener("wss", app.url(), tls=authority.tls()),
            "tcp": listener("tcp", app.url("tcp")),
        }
    ) as sidebeat:
        samples = []
        for number in range(5000):
            short_streams(sidebeat, app, authority, number)
            if number == 999:
                until(lambda: sidebeat.connections() == 0, 10, what="the sockets to be given back")
                before = sidebeat.metric("process_open_fds")
            if number >= 1000 and number % 250 == 0:
                samples.append((number, sidebeat.metric("process_resident_memory_bytes")))
        until(lambda: sidebeat.connections() == 0, 10, what="the sockets to be given back")
        until(lambda: sidebeat.metric("process_open_fds") <= before, 10, what="the fds to be given back")
        assert sum(sidebeat.closed().values()) == 5000
        grown = slope(samples) * 4000
        assert grown < 1 << 20, f"{grown / 4000:.0f} bytes stay of each stream: {samples}"


def slope(samples):
    """Bytes per stream by least squares."""
    count = len(samples)
    mean_x = sum(x for x, _ in samples) / count
    mean_y = sum(y for _, y in samples) / count
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / sum((x - mean_x) ** 2 for x, _ in samples)


def test_refused_apps_leave_nothing_behind(authority):
    with App() as app:
        port = app.port
    with Sidebeat({"main": listener("ws", f"ws://127.0.0.1:{port}")}) as sidebeat:
        for _ in range(500):
            with Client(sidebeat.at()) as client:
                client.open()
                assert client.read_head().status == 502
        until(lambda: sidebeat.connections() == 0, 10, what="the sockets to be given back")
        assert sidebeat.rejected() == {"upstream_unreachable": 500}
