"""Raw TCP and TLS: bulk both ways byte for byte, half-close and reset each way."""

import collections
import contextlib
import hashlib
import os
import pathlib
import random
import socket
import threading

import pytest

from harness.sidebeat import Sidebeat, listener
from harness.wait import until
from harness.wire import FIN, RESET, echo_tcp, open_tcp

BULK = int(os.environ.get("SIDEBEAT_TEST_BULK_MIB", "1024")) << 20


@pytest.fixture
def sidebeat(app, authority):
    with Sidebeat(
        {
            "tcp": listener("tcp", app.url("tcp"), heartbeat={"half_close_limit": "1s"}),
            "tls": listener("tls", app.url("tcp"), tls=authority.tls(), heartbeat={"half_close_limit": "1s"}),
        }
    ) as sidebeat:
        yield sidebeat


def open_stream(sidebeat, app, authority, name):
    return open_tcp(sidebeat, app, name, tls=authority.client() if name == "tls" else None)


class Sender(threading.Thread):
    """Sends a pattern that repeats nowhere near a buffer size, then FIN; knows its hash."""

    def __init__(self, wire, size, seed):
        super().__init__(daemon=True)
        self.wire, self.size, self.hash = wire, size, hashlib.sha256()
        self.block = random.Random(seed).randbytes((1 << 20) + 7919)
        self.start()

    def run(self):
        left = self.size
        while left:
            piece = self.block[:left]
            self.wire.socket.sendall(piece)
            self.hash.update(piece)
            left -= len(piece)
        self.wire.finish()


class Receiver(threading.Thread):
    """Reads to FIN; knows size and hash."""

    def __init__(self, wire):
        super().__init__(daemon=True)
        self.wire, self.size, self.hash, self.error = wire, 0, hashlib.sha256(), None
        self.start()

    def run(self):
        buffer = memoryview(bytearray(1 << 20))
        try:
            while got := self.wire.socket.recv_into(buffer):
                self.hash.update(buffer[:got])
                self.size += got
        except OSError as error:
            self.error = error


@pytest.mark.timeout(300)
def test_a_gibibyte_each_way_at_once_arrives_byte_for_byte(sidebeat, app):
    outer, inner = open_tcp(sidebeat, app, "tcp")
    for wire in (outer, inner):
        wire.socket.settimeout(120)
    receivers = Receiver(inner), Receiver(outer)
    senders = Sender(outer, BULK, 1), Sender(inner, BULK, 2)
    for sender, receiver in zip(senders, receivers):
        sender.join(280)
        receiver.join(20)
        assert receiver.error is None and receiver.size == BULK, (receiver.error, receiver.size)
        assert receiver.hash.digest() == sender.hash.digest()
    until(lambda: sidebeat.closed() in ({"client_close": 1}, {"upstream_close": 1}), what="the end by both FINs")
    for side in ("client", "upstream"):
        sidebeat.wait_metric(BULK, "stream_bytes_total", listener="tcp", **{"from": side})


@pytest.mark.parametrize("direction", ["up", "down"])
def test_bulk_inside_tls_arrives_byte_for_byte(sidebeat, app, authority, direction):
    outer, inner = open_stream(sidebeat, app, authority, "tls")
    source, sink = (outer, inner) if direction == "up" else (inner, outer)
    for wire in (outer, inner):
        wire.socket.settimeout(60)
    size = BULK // 8
    data = random.Random(3).randbytes((1 << 20) + 7919)
    receiver = Receiver(sink)
    wanted, left = hashlib.sha256(), size
    while left:
        piece = data[:left]
        source.socket.sendall(piece)
        wanted.update(piece)
        left -= len(piece)
    if direction == "up":
        # close_notify, and wait for the other: shutdown() alone would cut TLS off.
        end = threading.Thread(target=source.socket.unwrap, daemon=True)
    else:
        end = threading.Thread(target=source.finish, daemon=True)
    end.start()
    receiver.join(60)
    assert receiver.size == size and receiver.hash.digest() == wanted.digest(), receiver.error
    sink.close()
    end.join(5)
    assert not end.is_alive()


@pytest.mark.parametrize("late", ["client", "upstream", "plain"])
def test_a_late_reader_gets_every_byte(app, authority, late):
    """TLS takes bytes before the socket does, a pipe of splice(2) too: what lies there must be flushed when the reader has gone on, whatever its
    size was. There are more plain readers than pipes."""
    listeners = {
        "client": listener("tls", app.url("tcp"), tls=authority.tls()),
        "upstream": listener("tcp", app.url("tls"), upstream_tls={"ca": authority.ca_file, "server_name": "localhost"}),
        "plain": listener("tcp", app.url("tcp")),
    }
    # The largest are more than a socket takes by itself (net.ipv4.tcp_wmem), whatever the kernel has learned of the way.
    sizes = range(80_000, 8_000_001, 80_000)
    block = random.Random(4).randbytes(sizes[-1])
    trusted, identity = authority.client(), authority.server("localhost")
    with Sidebeat({"main": listeners[late]}, workers=2) as sidebeat, contextlib.ExitStack() as stack:
        before, readers = pipes(sidebeat), []
        for size in sizes:
            outer, inner = open_tcp(sidebeat, app, tls=trusted if late == "client" else None)
            if late == "upstream":
                inner.socket = identity.wrap_socket(inner.socket, server_side=True)
            reader, writer = (outer, inner) if late == "client" else (inner, outer)
            # Nor on the reader's behalf (net.ipv4.tcp_rmem).
            reader.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            stack.enter_context(outer)
            stack.enter_context(inner)
            readers.append(reader)
            # No FIN behind the bytes: nothing but the late reader's progress may bring out the last of them.
            threading.Thread(target=writer.send, args=(block[:size], 60), daemon=True).start()
        until(still(lambda: sidebeat.metric("stream_bytes_total")), 60, every=1.0, what="the standstill of all streams")
        assert sidebeat.metric("stream_bytes_total") < sum(sizes), "nobody had to wait for its reader"
        assert pipes(sidebeat) - before in (range(1, 2 * 32 + 1) if late == "plain" else [0])
        for size, reader in zip(sizes, readers):
            assert reader.read(size, 20) == block[:size]
        assert len(readers) == 100 and sidebeat.closed() == {}


def pipes(sidebeat):
    """How many pipes a process has; each is two descriptors of one name."""
    names = []
    for path in pathlib.Path(f"/proc/{sidebeat.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            names.append(os.readlink(path))
    return sum(count == 2 for count in collections.Counter(name for name in names if name.startswith("pipe:")).values())


def still(figure):
    """A condition that is true when `figure` is what it was the last time, and not zero."""
    last = None

    def stands():
        nonlocal last
        last, before = figure(), last
        return last == before != 0

    return stands


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_a_half_close_is_passed_on_and_the_other_way_stays_open(sidebeat, app, first):
    outer, inner = open_tcp(sidebeat, app, "tcp")
    done, open_side = (outer, inner) if first == "client" else (inner, outer)
    echo_tcp(outer, inner)
    done.send(b"my last words")
    done.finish()
    assert open_side.rest() == (b"my last words", FIN)
    data = os.urandom(1 << 20)
    thread = threading.Thread(target=open_side.send, args=(data,))
    thread.start()
    assert done.read(len(data)) == data
    thread.join(5)
    assert sidebeat.closed() == {}, "half closed is not closed"
    open_side.close()
    assert done.end() == FIN
    sidebeat.wait_closed(**{f"{first}_close": 1})


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_a_half_closed_stream_without_a_byte_ends_at_its_limit(sidebeat, app, first):
    outer, inner = open_tcp(sidebeat, app, "tcp")
    done, open_side = (outer, inner) if first == "client" else (inner, outer)
    done.finish()
    assert open_side.end() == FIN
    assert done.rest(3)[1] in (FIN, RESET)
    sidebeat.wait_closed(half_close_timeout=1)
    outer.close()
    inner.close()


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_the_fin_of_the_app_ends_the_pings_and_not_the_stream(scheme, app, authority):
    """Behind a FIN nothing can be written to the client any more, and so it cannot be asked; what it says still goes to the app."""
    tls = {"tls": authority.tls()} if scheme == "tls" else {}
    heartbeat = {"idle_limit": "1m", "ping": {"interval": "200ms", "data": "PING\n", "reply": "PONG\n"}}
    with Sidebeat({"main": listener(scheme, app.url("tcp"), framing="line", heartbeat=heartbeat, **tls)}) as sidebeat:
        outer, inner = open_tcp(sidebeat, app, tls=authority.client() if tls else None)
        echo_tcp(outer, inner)
        inner.finish()
        assert outer.rest()[1] == FIN
        # Long enough for several pings.
        inner.silent(1)
        outer.send(b"and another thing\n")
        assert inner.read(18) == b"and another thing\n"
        assert sidebeat.closed() == {}
        outer.close()
        assert inner.end() in (FIN, RESET)


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_a_reset_resets_the_other_side(sidebeat, app, first):
    outer, inner = open_tcp(sidebeat, app, "tcp")
    echo_tcp(outer, inner)
    resetting, other = (outer, inner) if first == "client" else (inner, outer)
    resetting.reset()
    assert other.end() == RESET
    sidebeat.wait_closed(**{f"{first}_gone": 1})


def test_an_end_of_tls_is_a_half_close(sidebeat, app, authority):
    """close_notify is TLS' FIN: what the app says after it still arrives."""
    outer, inner = open_stream(sidebeat, app, authority, "tls")
    echo_tcp(outer, inner)
    inner.send(b"bye")
    inner.finish()
    assert outer.rest() == (b"bye", FIN)
    outer.send(b"thanks")
    assert inner.read(6) == b"thanks"
    outer.socket.unwrap().close()
    assert inner.end() == FIN
    sidebeat.wait_closed(upstream_close=1)


def test_an_end_of_tcp_without_the_end_of_tls_is_a_client_gone(sidebeat, app, authority):
    """RFC 8446 6.1: without close_notify the data may have been cut."""
    outer, inner = open_stream(sidebeat, app, authority, "tls")
    echo_tcp(outer, inner)
    outer.socket.shutdown(1)
    assert inner.rest()[1] in (FIN, RESET)
    sidebeat.wait_closed(client_gone=1)
