"""The heartbeat rules, each seen once on real sockets. To the instant, and in every situation, they are tested in virtual time.

| rule | seen by |
|---|---|
| 1 idle | test_frozen, test_partition; messages: below and test_profiles; no limit on raw tcp: below |
| 2 ping | `when`: below; first ping, round trip: test_partition; `reply`: test_profiles |
| 3 where | below; test_clients under load |
| 4 transparency | test_endings; masked and compressed conversations: test_clients; taken out offers: tests/cases/http/ws-extension-read.case |
| 5 upstream_idle_limit | test_partition |
| 6 quiet_limit, first_message_limit | below |
| 7 max_age | below |
| 8 stall | test_frozen, each side; clocks that stand still, progress as a sign of life, kernel options: below |
| 9 half-close | test_raw |
| 10 ending | test_endings |
| 11 observe | below |
| 12 own pauses | test_frozen |
| reload | below |
"""

import json
import signal
import struct
import subprocess
import threading
import time

import pytest

from harness.sidebeat import Sidebeat, listener
from harness.wait import holds, until
from harness.wire import BINARY, CLOSE, PING, PONG, TEXT, echo_tcp, echo_ws, frame, open_tcp, open_ws

# How late a verdict may be on a busy machine; that it is never early is exact.
LATE = 2.0


def ws(app, name="main", **heartbeat):
    # The end of a test need not wait long for those who do not answer.
    return {name: listener("ws", app.url(), heartbeat={"close_timeout": "500ms", **heartbeat})}


class Answering(threading.Thread):
    """Answers the pings of one end until the connection ends; `close` is the Close frame that came, `data` what came besides."""

    def __init__(self, wire):
        super().__init__(daemon=True)
        self.wire, self.pings, self.data, self.close, self.ended = wire, 0, [], None, None
        self.start()

    def run(self):
        try:
            while True:
                got = self.wire.read_frame(60)
                if got.opcode == PING:
                    self.pings += 1
                    self.wire.send_frame(PONG, got.payload)
                elif got.opcode == CLOSE:
                    self.close = (int.from_bytes(got.payload[:2]), got.payload[2:].decode())
                    self.ended = time.monotonic()
                    self.wire.send_frame(CLOSE, got.payload[:2])
                else:
                    self.data.append(got)
        except (AssertionError, OSError):
            pass


def closed_within(client, since, limit, reason, early=0.0):
    """Asserts that this client got its Close at the limit."""
    until(lambda: client.close, limit + LATE + 5, what=reason)
    assert client.close == (1001, reason)
    assert limit - early <= client.ended - since <= limit + LATE, client.ended - since


def test_rule_1_a_pong_is_no_message_and_traffic_is_enough(app):
    idle = {"idle_limit": "2s", "ping": {"interval": "500ms"}}
    listeners = {**ws(app, "messages", idle_counts="messages", **idle), **ws(app, "traffic", **idle)}
    with Sidebeat(listeners) as sidebeat:
        other, its_app = open_ws(sidebeat, app, "traffic")
        lively = Answering(other)
        outer, inner = open_ws(sidebeat, app, "messages")
        before = time.monotonic()
        outer.send_text("last words")
        assert inner.read_message().payload == b"last words"
        client = Answering(outer)
        closed_within(client, before, 2, "client_idle")
        assert client.pings > 0, "it was asked and answered"
        seen = lively.pings
        until(lambda: lively.pings >= seen + 4, 10)
        assert sidebeat.closed() == {"client_idle": 1} and its_app.ended is None


def test_rule_1_and_8_raw_tcp_has_no_limit_and_the_kernel_watches(app):
    """What the options are worth in seconds is the kernel's affair; that they are set on both legs is ours."""
    with Sidebeat({"main": listener("tcp", app.url("tcp"), heartbeat={"close_timeout": "500ms"})}) as sidebeat:
        outer, inner = open_tcp(sidebeat, app)
        echo_tcp(outer, inner)
        for port in (sidebeat.at()[1], app.port):
            shown = subprocess.run(["ss", "-tno", "state", "established"], check=True, capture_output=True, text=True).stdout
            timers = [line for line in shown.splitlines() if f":{port} " in line and "timer:(keepalive," in line]
            assert timers, shown
        holds(lambda: sidebeat.closed() == {}, 1)
        echo_tcp(outer, inner)
        outer.close()


def test_rule_2_idle_asks_the_silent_and_always_asks_everybody(app):
    ping = {"interval": "1s", "jitter": "0%"}
    listeners = {**ws(app, "idle", idle_limit="10s", ping=ping), **ws(app, "always", idle_limit="10s", ping={**ping, "when": "always"})}
    with Sidebeat(listeners) as sidebeat:
        talking = [open_ws(sidebeat, app, name) for name in listeners]
        began = time.monotonic()
        longest, last = 0.0, began
        while (now := time.monotonic()) < began + 4:
            for outer, _ in talking:
                outer.send_text("busy")
            longest, last = max(longest, now - last), now
            time.sleep(0.05)  # the pace of the talk
        assert sidebeat.metric("pings_sent_total", to="client", listener="always") >= 3
        # A machine that held up the talk for half an interval made it silent, and then a ping is right.
        assert sidebeat.metric("pings_sent_total", to="client", listener="idle") == 0 or longest >= 0.5
        for outer, _ in talking:
            outer.close()


def test_rule_3_never_inside_a_frame_and_between_messages_first(app):
    with Sidebeat(ws(app, idle_limit="20s", ping={"interval": "500ms", "jitter": "0%"})) as sidebeat:
        outer, inner = open_ws(sidebeat, app)
        whole = frame(BINARY, b"x" * 1000, masked=False)
        inner.send(whole[:500])
        assert outer.read(500) == whole[:500]
        outer.silent(1.5)
        inner.send(whole[500:])
        assert outer.read(len(whole) - 500) == whole[500:]
        assert outer.read_frame().opcode == PING, "as soon as the frame is over"
        # A message that does not end: after half an interval more, between two of its frames.
        inner.send_frame(TEXT, b"begun", fin=False)
        assert outer.read_frame().payload == b"begun"
        assert outer.read_frame(3).opcode == PING
        inner.send_frame(0, b"ended")
        assert outer.read_frame().payload == b"ended"
        outer.close()


def test_rule_3_a_ping_of_the_app_is_answered_first(app):
    with Sidebeat(ws(app, idle_limit="20s", ping={"interval": "500ms", "jitter": "0%"})) as sidebeat:
        outer, inner = open_ws(sidebeat, app)
        inner.send_frame(PING, b"of the app")
        assert outer.read_frame() == (True, 0, PING, False, b"of the app")
        outer.silent(2)
        outer.send_frame(PONG, b"of the app")
        assert inner.read_frame() == (True, 0, PONG, True, b"of the app")
        ours = outer.read_frame(3)
        assert (ours.opcode, len(ours.payload)) == (PING, 8)
        outer.send_frame(PONG, ours.payload)
        inner.silent(0.3)
        outer.close()


def test_rule_6_quiet_is_no_data_either_way(app):
    with Sidebeat(ws(app, quiet_limit="2s", idle_limit="10s", ping={"interval": "300ms"})) as sidebeat:
        outer, inner = open_ws(sidebeat, app)
        before = time.monotonic()
        inner.send_text("the last message")
        client = Answering(outer)
        closed_within(client, before, 2, "quiet")
        assert client.pings >= 2 and len(client.data) == 1
        assert inner.read_close() == (1001, "quiet")
        sidebeat.wait_closed(quiet=1)


def test_rule_6_half_a_login_is_none(app):
    with Sidebeat(ws(app, first_message_limit="2s")) as sidebeat:
        before = time.monotonic()
        stranger, its_app = open_ws(sidebeat, app)
        known, inner = open_ws(sidebeat, app)
        known.send_text("login")
        assert inner.read_message().payload == b"login"
        stranger.send_frame(TEXT, b"log", fin=False)
        client = Answering(stranger)
        closed_within(client, before, 2, "no_first_message")
        # The message of the stranger is not over, but between two of its frames a Close may stand.
        assert its_app.read_frame().payload == b"log"
        assert its_app.read_close() == (1001, "no_first_message")
        sidebeat.wait_closed(no_first_message=1)
        echo_ws(known, inner)
        known.close()


def test_rule_7_max_age_is_drawn(app):
    with Sidebeat(ws(app, max_age="3s", max_age_jitter="50%")) as sidebeat:
        before = time.monotonic()
        streams = [open_ws(sidebeat, app) for _ in range(12)]
        for client in [Answering(outer) for outer, _ in streams]:
            closed_within(client, before, 3, "max_age", early=1.5)
        sidebeat.wait_closed(max_age=12)
        records = json.loads(sidebeat.get("/v1/closed")[2])["items"]
        ages = [record["duration_ms"] - record["lateness_ms"] for record in records]
        assert all(1500 <= age <= 3001 for age in ages) and max(ages) - min(ages) > 100, ages


def test_rule_8_the_clock_of_a_side_that_is_not_read_stands_still(app):
    """An app that takes nothing for longer than the client's limit: the client cannot be heard, and is not judged."""
    with Sidebeat(ws(app, idle_limit="2s", ping="off", stall_limit="30s")) as sidebeat:
        outer, inner = open_ws(sidebeat, app)
        block = frame(BINARY, b"x" * 65536, masked=True)
        assert outer.send_until_full(block, seconds=1) > 1 << 16
        holds(lambda: sidebeat.closed() == {}, 4, what="nobody closed")
        drained = threading.Event()
        threading.Thread(target=drain, args=(inner, drained), daemon=True).start()
        assert drained.wait(10), "the app got what had waited"
        # Read again, the client has its limit, of which a part was over before.
        resumed = time.monotonic()
        sidebeat.wait_closed(client_idle=1, within=2 + LATE + 5)
        assert time.monotonic() - resumed <= 2 + LATE
        outer.close()


def drain(wire, drained):
    """Reads until nothing has come for 300 ms."""
    wire.socket.settimeout(0.3)
    try:
        while wire.socket.recv(1 << 18):
            pass
    except OSError:
        drained.set()


def test_rule_8_a_slow_reader_of_one_huge_frame_is_alive(app):
    """It cannot be asked in the middle of a frame; that its kernel takes bytes says that it lives."""
    with Sidebeat(ws(app, idle_limit="2s", stall_limit="2s", ping={"interval": "500ms"})) as sidebeat:
        outer, inner = open_ws(sidebeat, app)
        size = 64 << 20
        sender = threading.Thread(target=send_quietly, args=(inner, b"\x82\x7f" + struct.pack("!Q", size) + bytes(size)), daemon=True)
        sender.start()
        began = time.monotonic()
        taken = 0
        while time.monotonic() < began + 6:
            outer.socket.settimeout(5)
            taken += len(outer.socket.recv(1 << 18))
            time.sleep(0.03)  # the pace of the reader
        assert taken < size, "the frame was to last"
        assert sidebeat.closed() == {}
        stopped = time.monotonic()
        until(sidebeat.closed, 2 + LATE + 5)
        assert 1.5 <= time.monotonic() - stopped <= 2 + LATE
        assert set(sidebeat.closed()) <= {"client_idle", "client_stalled"}
        outer.close()


def send_quietly(wire, data):
    try:
        wire.send(data)
    except OSError:
        pass


def test_rule_11_observe_reports_and_closes_nobody(app, hooks, tmp_path):
    with Sidebeat(ws(app, mode="observe", idle_limit="1s", ping="off"), hooks=hooks.config(tmp_path, ["overdue"])) as sidebeat:
        outer, inner = open_ws(sidebeat, app)
        until(lambda: hooks.events, 5, what="the overdue hook")
        holds(lambda: sidebeat.closed() == {}, 2)
        event = hooks.events[0].event
        assert (event["type"], event["data"]["reason"], event["data"]["state"]) == ("sidebeat.stream.overdue", "client_idle", "overdue")
        assert sidebeat.metric("streams_overdue_total", reason="client_idle") == len(hooks.events) == 1, "once a silence"
        echo_ws(outer, inner)
        sidebeat.wait_metric(1, "overdue_heard_again_seconds_count")
        assert 2 <= sidebeat.metric("overdue_heard_again_seconds_sum") <= 2 + 2 * LATE
        outer.close()


def test_a_reload_shortens_limits_and_gives_each_stream_the_whole_new_one(app):
    with Sidebeat(ws(app, idle_limit="1h", ping="off")) as sidebeat:
        outer, inner = open_ws(sidebeat, app)
        client = Answering(outer)
        holds(lambda: sidebeat.closed() == {}, 2.5)
        sidebeat.config["listeners"]["main"]["heartbeat"]["idle_limit"] = "2s"
        sidebeat.write(sidebeat.config)
        asked = time.monotonic()
        sidebeat.kill(signal.SIGHUP)
        closed_within(client, asked, 2, "client_idle")
        inner.close()


@pytest.mark.parametrize("many", [True, False], ids=["many", "few"])
def test_many_deaths_at_once_are_on_time_and_told_once(app, many):
    """Nine of them are chance, and so are those who say goodbye."""
    count = 40 if many else 9
    with Sidebeat(ws(app, idle_limit="3s", ping="off")) as sidebeat:
        streams = [open_ws(sidebeat, app) for _ in range(count)]
        for outer, _ in streams:
            outer.send_text("last words")
        last = time.monotonic()
        sidebeat.wait_metric(count, "stream_messages_total", **{"from": "client"}, within=2.5)
        sidebeat.wait_closed(client_idle=count, within=3 + LATE + 5)
        assert time.monotonic() - last <= 3 + LATE
        goodbyes = [open_ws(sidebeat, app) for _ in range(20)]
        for outer, inner in goodbyes:
            outer.close()
            inner.end()
        sidebeat.wait_closed(client_idle=count, client_gone=20)

        def is_warning(line):
            return "the network is the likelier cause" in line.get("message", "")

        if many:
            sidebeat.wait_log(is_warning)
        warnings = [line for _, line in sidebeat.lines if is_warning(line)]
        assert [(line["level"], line["listener"]) for line in warnings] == ([("warn", "main")] if many else [])
        assert all(10 <= line["died"] and line["died"] + line["left"] <= count for line in warnings)
        for outer, inner in streams:
            outer.close()
            inner.close()


def test_each_rule_has_its_test():
    rules = {line.split("|")[1].split()[0] for line in __doc__.splitlines() if line.startswith("| ") and line[2].isdigit()}
    assert rules == {str(number) for number in range(1, 13)}
    for row in [line for line in __doc__.splitlines() if "below" in line and line[2].isdigit()]:
        number = row.split("|")[1].split()[0]
        here = [name for name in globals() if f"rule_{number}_" in name or f"and_{number}_" in name]
        assert here, row
