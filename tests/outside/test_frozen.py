"""kill -STOP of the client, of the app and of the sidecar itself: who is closed, when, and who is not."""

import os
import pathlib
import signal
import time

import pytest

from harness.peer import Peer
from harness.sidebeat import Sidebeat, listener
from harness.wait import holds, until
from harness.wire import FIN, RESET, Client, echo_ws, open_tcp, open_ws

FROZEN_HEARTBEAT = {"idle_limit": "2s", "ping": {"interval": "500ms"}}
# Seconds after which a limit of two has run out once and not twice: how late a verdict may be on a busy machine.
TWICE = 4


@pytest.fixture
def app_process():
    with Peer("app", "ws") as peer:
        peer.port = peer.read()["port"]
        yield peer


def test_a_frozen_client_is_closed_at_the_limit_though_its_kernel_still_acknowledges(app_process):
    with Sidebeat({"main": listener("ws", f"ws://127.0.0.1:{app_process.port}", heartbeat=FROZEN_HEARTBEAT)}) as sidebeat:
        with Peer("client", *sidebeat.at()) as frozen, Peer("client", *sidebeat.at()) as lively:
            assert "open" in frozen.read() and "open" in lively.read()
            lively.echoed("hello")
            before = time.monotonic()
            frozen.echoed("hello")
            frozen.signal(signal.SIGSTOP)
            stopped = time.monotonic()
            until(lambda: sidebeat.closed(), within=10, every=0.01)
            over = time.monotonic()
            assert sidebeat.closed() == {"client_idle": 1}
            assert before + 2 <= over < stopped + TWICE, (over - before, over - stopped)
            frozen.signal(signal.SIGCONT)
            # What waited in its kernel while it was frozen: the Close frame with the reason.
            assert frozen.read() == {"close": 1001, "reason": "client_idle"}
            lively.echoed("still here")
            assert sidebeat.closed() == {"client_idle": 1}


def test_a_frozen_app_without_traffic_is_no_reason_to_close(app_process):
    with Sidebeat({"main": listener("ws", f"ws://127.0.0.1:{app_process.port}", heartbeat={**FROZEN_HEARTBEAT, "stall_limit": "1s"})}) as sidebeat:
        with Peer("client", *sidebeat.at()) as client:
            assert "open" in client.read()
            client.echoed("before")
            app_process.signal(signal.SIGSTOP)
            holds(lambda: sidebeat.closed() == {}, seconds=5, what="no stream closed")
            app_process.signal(signal.SIGCONT)
            client.echoed("after")


def test_a_frozen_app_that_takes_nothing_is_a_stall_at_its_limit(app_process):
    with Sidebeat({"main": listener("ws", f"ws://127.0.0.1:{app_process.port}", heartbeat={"idle_limit": "20s", "stall_limit": "2s"})}) as sidebeat:
        with Client(sidebeat.at()) as client:
            client.open()
            client.opened()
            client.send_text("before")
            assert client.read_message().payload == b"before"
            app_process.signal(signal.SIGSTOP)
            taken = client.send_until_full(client_frames(), seconds=0.5)
            assert taken > 1 << 16
            full = time.monotonic()
            assert client.read_close(10) == (1001, "upstream_stalled")
            assert time.monotonic() - full < TWICE
            sidebeat.wait_closed(upstream_stalled=1)
            app_process.signal(signal.SIGCONT)


def client_frames():
    """Masked frames with an all-zero key, end to end, so that any prefix of a repetition is well formed but for its last frame."""
    return (b"\x82\xfe\x04\x00" + b"\0" * 4 + b"x" * 1024) * 64


def test_a_client_that_takes_nothing_is_a_stall_and_the_app_is_told(app):
    """The app sends more than all buffers hold; the client is awake but never reads."""
    with Sidebeat({"main": listener("ws", app.url(), heartbeat={"idle_limit": "20s", "stall_limit": "2s"})}) as sidebeat:
        outer, inner = open_ws(sidebeat, app)
        taken = inner.send_until_full((b"\x82\x7e\x04\x00" + b"x" * 1024) * 64, seconds=0.5)
        assert taken > 1 << 16
        full = time.monotonic()
        assert inner.read_close(10) == (1001, "client_stalled")
        assert time.monotonic() - full < TWICE
        sidebeat.wait_closed(client_stalled=1)
        outer.close()


def test_a_raw_stream_stalls_by_the_same_rule(app):
    with Sidebeat({"main": listener("tcp", app.url("tcp"), heartbeat={"stall_limit": "2s"})}) as sidebeat:
        outer, inner = open_tcp(sidebeat, app)
        assert outer.send_until_full(b"x" * 65536, seconds=0.5) > 1 << 16
        full = time.monotonic()
        assert outer.rest(10)[1] in (FIN, RESET)
        assert time.monotonic() - full < TWICE
        sidebeat.wait_closed(upstream_stalled=1)
        inner.close()


@pytest.mark.parametrize("pause", [1.5, 5.0])
def test_nobody_is_closed_for_a_pause_of_the_sidecar_itself(app_process, pause):
    heartbeat = {"idle_limit": "2s", "ping": {"interval": "500ms"}, "quiet_limit": "4s", "stall_limit": "2s"}
    began = time.monotonic()
    with Sidebeat({"main": listener("ws", f"ws://127.0.0.1:{app_process.port}", heartbeat=heartbeat)}) as sidebeat:
        with Peer("client", *sidebeat.at()) as first, Peer("client", *sidebeat.at()) as second:
            for client in (first, second):
                assert "open" in client.read()
                client.echoed("before")
            sidebeat.kill(signal.SIGSTOP)
            time.sleep(pause)  # the length of the pause is what is tested
            sidebeat.kill(signal.SIGCONT)
            for client in (first, second):
                client.echoed("after")
            holds(lambda: sidebeat.closed() == {}, seconds=1.5, what="no stream closed")
            for client in (first, second):
                client.echoed("and later")
            paused = sidebeat.metric("own_pauses_seconds_total")
            # Each worker notes its own, and on a busy machine others than ours.
            assert pause - 0.6 <= paused <= os.cpu_count() * (time.monotonic() - began), paused


def test_a_client_that_died_during_our_pause_gets_its_limit_and_no_more(app):
    """Silent since before a pause of the sidecar: its deadline has moved by the pause, not by another limit."""
    with Sidebeat({"main": listener("ws", app.url(), heartbeat={"idle_limit": "3s", "ping": {"interval": "1s"}})}) as sidebeat:
        outer, inner = open_ws(sidebeat, app)
        echo_ws(outer, inner)
        heard = time.monotonic()
        sidebeat.kill(signal.SIGSTOP)
        time.sleep(4)  # the length of the pause is what is tested
        sidebeat.kill(signal.SIGCONT)
        woken = time.monotonic()
        inner.read_close(10)
        over = time.monotonic()
        # A worker reads its clock at least every 500 ms: so much of the pause's start may be unknown to it.
        assert over - heard >= 4 + 3 - 0.55, over - heard
        assert over - woken < 3 + 3, over - woken
        sidebeat.wait_closed(client_idle=1)


def niceness(pid):
    """By thread: how much nicer it is than this process."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    nice = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        stat = (task / "stat").read_text()
        name, fields = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2 :].split()
        nice[name] = int(fields[16]) - own  # the 19th of all: proc_pid_stat(5)
    return nice


def test_threads_that_carry_no_streams_are_behind_those_that_do(app_process, tmp_path):
    behind = {"sidebeat": 5, "log": 5, "hook-log": 5, "hook-log-sync": 5, "worker-0": 0, "worker-1": 0}
    with Sidebeat({"main": listener("ws", f"ws://127.0.0.1:{app_process.port}")}, workers=2, state_dir=str(tmp_path)) as sidebeat:
        # A thread takes its name and steps back in its first turn, which on a busy machine may come after we are ready.
        until(lambda: niceness(sidebeat.process.pid) == behind, what=f"the threads are {behind}")
