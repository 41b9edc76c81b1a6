"""The two ends of a stream as plain sockets, so that a test decides about every byte and sees every one."""

import base64
import collections
import hashlib
import os
import socket
import ssl
import struct
import time

from . import netns as networks
from .wait import Late

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
CONTROL = (CLOSE, PING, PONG)
FIN, RESET = "fin", "reset"

Frame = collections.namedtuple("Frame", "fin rsv opcode masked payload")


class Ended(AssertionError):
    """The peer ended the connection where a test expected bytes; `how` is FIN or RESET."""

    def __init__(self, how, rest=b""):
        super().__init__(f"the peer ended the connection by {how}; unread: {rest[:200]!r}")
        self.how = how


def frame(opcode, payload=b"", *, masked, fin=True, rsv=0):
    """One WebSocket frame on the wire (RFC 6455 5.2)."""
    head = bytearray([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if masked else 0
    if len(payload) < 126:
        head.append(bit | len(payload))
    elif len(payload) < 1 << 16:
        head += struct.pack("!BH", bit | 126, len(payload))
    else:
        head += struct.pack("!BQ", bit | 127, len(payload))
    if not masked:
        return bytes(head) + payload
    key = os.urandom(4)
    return bytes(head) + key + mask(payload, key)


def mask(payload, key):
    """XORs a payload with a repeated key (RFC 6455 5.3)."""
    size = len(payload)
    repeated = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


def accept_of(key):
    """The Sec-WebSocket-Accept for a Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()


class Head:
    """An HTTP/1.1 head: the first line, and the headers in their order with the case they came in."""

    def __init__(self, raw):
        self.raw = raw
        first, *lines = raw.decode("latin-1").split("\r\n")
        self.first = first
        self.fields = [tuple(part.strip() for part in line.split(":", 1)) for line in lines if line]

    @property
    def status(self):
        return int(self.first.split()[1])

    def all(self, name):
        return [value for field, value in self.fields if field.lower() == name.lower()]

    def one(self, name):
        values = self.all(name)
        return values[0] if values else None


class Wire:
    """One end of a TCP connection with a buffer; every read has a deadline."""

    masked = False

    def __init__(self, sock):
        self.socket = sock
        self.buffer = bytearray()
        self.ended = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Closes the socket as the kernel closes that of a process that ends."""
        self.socket.close()

    def reset(self):
        """Ends the connection by RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def finish(self):
        """Sends FIN and stays readable."""
        self.socket.shutdown(socket.SHUT_WR)

    def send(self, data, within=30.0):
        self.socket.settimeout(within)
        self.socket.sendall(data)

    def send_until_full(self, data, seconds=1.0):
        """Sends without end until the connection has taken nothing for `seconds`; returns how many bytes it took."""
        taken, since = 0, time.monotonic()
        self.socket.setblocking(False)
        while time.monotonic() - since < seconds:
            try:
                taken += self.socket.send(data[taken % len(data):])
                since = time.monotonic()
            except (BlockingIOError, ssl.SSLWantWriteError):
                time.sleep(0.01)
        return taken

    def _more(self, deadline):
        """Reads once into the buffer; False at the end of the connection."""
        if self.ended:
            return False
        left = deadline - time.monotonic()
        if left <= 0:
            raise Late(f"nothing more arrived in time; unread: {bytes(self.buffer[:200])!r}")
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(1 << 18)
        except TimeoutError:
            raise Late(f"nothing more arrived in time; unread: {bytes(self.buffer[:200])!r}") from None
        except (ConnectionResetError, BrokenPipeError):
            self.ended = RESET
            return False
        except ssl.SSLError as error:
            # A TCP end without close_notify reads as this; anything else is a fault of its own.
            if "EOF" not in str(error):
                raise
            self.ended = RESET
            return False
        if not data:
            self.ended = FIN
            return False
        self.buffer += data
        return True

    def take(self, size):
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def read(self, size, within=5.0):
        """Exactly `size` bytes."""
        deadline = time.monotonic() + within
        while len(self.buffer) < size:
            if not self._more(deadline):
                raise Ended(self.ended, bytes(self.buffer))
        return self.take(size)

    def read_until(self, mark, within=5.0):
        """All bytes up to and with `mark`."""
        deadline = time.monotonic() + within
        while (at := self.buffer.find(mark)) < 0:
            if not self._more(deadline):
                raise Ended(self.ended, bytes(self.buffer))
        return self.take(at + len(mark))

    def read_head(self, within=5.0):
        return Head(self.read_until(b"\r\n\r\n", within))

    def read_body(self, head, within=5.0):
        """The body of an answer that has a Content-Length, else all to the end of the connection."""
        length = head.one("content-length")
        if length is not None:
            return self.read(int(length), within)
        return self.rest(within)[0]

    def rest(self, within=5.0):
        """All that still comes, and how the connection ended."""
        deadline = time.monotonic() + within
        while self._more(deadline):
            pass
        return self.take(len(self.buffer)), self.ended

    def end(self, within=5.0):
        """How the connection ended; bytes before the end are an error."""
        data, how = self.rest(within)
        assert not data, f"bytes before the end of the connection: {data[:200]!r}"
        return how

    def silent(self, seconds):
        """Asserts that neither a byte nor an end arrives for `seconds`."""
        assert not self.buffer, f"unread: {bytes(self.buffer[:200])!r}"
        try:
            self._more(time.monotonic() + seconds)
        except Late:
            return
        raise AssertionError(f"something arrived: {bytes(self.buffer[:200])!r}, end: {self.ended}")

    # --- WebSocket -------------------------------------------------------------------------------------------------

    def send_frame(self, opcode, payload=b"", **bits):
        self.send(frame(opcode, payload, masked=self.masked, **bits))

    def send_text(self, text):
        self.send_frame(TEXT, text.encode())

    def read_frame(self, within=5.0):
        """The next frame, unmasked."""
        deadline = time.monotonic() + within

        def left():
            return max(0.0, deadline - time.monotonic())

        first, second = self.read(2, left())
        length = second & 0x7F
        if length == 126:
            length = int.from_bytes(self.read(2, left()), "big")
        elif length == 127:
            length = int.from_bytes(self.read(8, left()), "big")
        key = self.read(4, left()) if second & 0x80 else None
        payload = self.read(length, left())
        return Frame(bool(first & 0x80), first >> 4 & 7, first & 15, key is not None, mask(payload, key) if key else payload)

    def read_message(self, within=5.0, answer=True):
        """The next frame that is no ping or pong; pings on the way are answered."""
        deadline = time.monotonic() + within
        while True:
            got = self.read_frame(max(0.0, deadline - time.monotonic()))
            if got.opcode == PING and answer:
                self.send_frame(PONG, got.payload)
            elif got.opcode not in (PING, PONG):
                return got

    def read_close(self, within=5.0):
        """(code, reason) of a Close frame, which must be the next frame that is no ping or pong."""
        got = self.read_message(within)
        assert got.opcode == CLOSE, f"expected a Close frame, got {got!r}"
        if not got.payload:
            return None, ""
        return int.from_bytes(got.payload[:2], "big"), got.payload[2:].decode()

    def send_close(self, code=1000, reason=""):
        self.send_frame(CLOSE, code.to_bytes(2, "big") + reason.encode())


class Client(Wire):
    """A client's end: connected to a listener of the sidecar."""

    masked = True

    def __init__(self, at, *, tls=None, netns=None, host=None, within=5.0, options=()):
        with networks.inside(netns):
            sock = socket.socket()
        try:
            for option in options:
                sock.setsockopt(*option)
            sock.settimeout(within)
            sock.connect(at)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                sock = tls.wrap_socket(sock, server_hostname=host or "localhost", suppress_ragged_eofs=False)
        except BaseException:
            sock.close()
            raise
        super().__init__(sock)
        self.host = f"{at[0]}:{at[1]}"

    @property
    def address(self):
        return "%s:%d" % self.socket.getsockname()[:2]

    def request(self, path="/", headers=(), method="GET", version="HTTP/1.1", body=b""):
        """Sends one request with Host."""
        lines = [f"{method} {path} {version}", f"Host: {self.host}", *(f"{name}: {value}" for name, value in headers), "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + body)

    def open(self, path="/", headers=(), version="13"):
        """Sends a WebSocket opening."""
        self.key = base64.b64encode(os.urandom(16)).decode()
        upgrade = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", self.key), ("Sec-WebSocket-Version", version)]
        self.request(path, [*upgrade, *headers])

    def opened(self, within=5.0):
        """Reads the answer to an opening, which must be a good 101."""
        head = self.read_head(within)
        assert head.status == 101, f"expected 101: {head.raw!r}"
        assert head.one("sec-websocket-accept") == accept_of(self.key)
        return head


class App:
    """An upstream under the test's control: a listening socket whose connections the test accepts when it wants."""

    def __init__(self, netns=None, host="127.0.0.1", backlog=1024):
        with networks.inside(netns):
            self.socket = socket.create_server((host, 0), backlog=backlog)
        self.host, self.port = self.socket.getsockname()[:2]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def url(self, scheme="ws"):
        return f"{scheme}://{self.host}:{self.port}"

    def accept(self, within=5.0):
        self.socket.settimeout(within)
        try:
            sock, _ = self.socket.accept()
        except TimeoutError:
            raise Late(f"the sidecar did not connect to the app within {within} s") from None
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Wire(sock)

    def no_connection(self, seconds=0.3):
        """Asserts that nobody connects for `seconds`."""
        self.socket.settimeout(seconds)
        try:
            sock, _ = self.socket.accept()
        except TimeoutError:
            return
        sock.close()
        raise AssertionError("the sidecar connected to the app")


def answer_101(wire, headers=(), within=5.0):
    """Reads an opening on the app's end and accepts it; returns the request's head."""
    head = wire.read_head(within)
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_of(head.one('sec-websocket-key'))}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    wire.send(("\r\n".join(lines) + "\r\n\r\n").encode())
    return head


def open_ws(sidebeat, app, name="main", *, path="/", headers=(), app_headers=(), **client):
    """One WebSocket stream through the sidecar: (client's end, app's end)."""
    outer = Client(sidebeat.at(name), **client)
    outer.open(path, headers)
    inner = app.accept()
    inner.opening = answer_101(inner, app_headers)
    outer.answer = outer.opened()
    return outer, inner


def open_tcp(sidebeat, app, name="main", **client):
    """One raw stream through the sidecar: (client's end, app's end)."""
    outer = Client(sidebeat.at(name), **client)
    return outer, app.accept()


def echo_ws(outer, inner, text="still here"):
    """Asserts that a WebSocket stream carries a message both ways."""
    outer.send_text(text)
    assert inner.read_message() == Frame(True, 0, TEXT, True, text.encode())
    inner.send_text(text)
    assert outer.read_message() == Frame(True, 0, TEXT, False, text.encode())


def echo_tcp(outer, inner, data=b"still here\n"):
    """Asserts that a raw stream carries bytes both ways."""
    outer.send(data)
    assert inner.read(len(data)) == data
    inner.send(data)
    assert outer.read(len(data)) == data
