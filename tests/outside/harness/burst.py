"""Many WebSocket openings at once from one thread: every connection is begun before the first is answered."""

import contextlib
import errno
import selectors
import socket
import struct
import time

from . import netns

# Linux, and not in the module `socket` before Python 3.12.
IP_BIND_ADDRESS_NO_PORT = 24

HEAD = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)


class Burst:
    """Connections that send their opening as soon as they stand; they are reset with the end of the block.

    They come from several addresses: what a single one may have of the places for openings is limited.
    """

    def __init__(self, namespace, sources, at, count):
        self.namespace, self.sources, self.at, self.count = namespace, sources, at, count
        self.opened, self.heads = 0, {}
        self.selector = selectors.DefaultSelector()

    def __enter__(self):
        with netns.inside(self.namespace):
            self.sockets = [socket.socket() for _ in range(self.count)]
        for number, sock in enumerate(self.sockets):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((self.sources[number % len(self.sources)], 0))
        self.began = time.monotonic()
        for number, sock in enumerate(self.sockets):
            assert sock.connect_ex(self.at) in (0, errno.EINPROGRESS)
            self.selector.register(sock, selectors.EVENT_WRITE)
            if number % 50 == 0:
                self.go_on(0)
        self.seconds = time.monotonic() - self.began
        return self

    def __exit__(self, *_):
        self.selector.close()
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

    def go_on(self, within):
        """Sends and reads what can be."""
        for key, _ in self.selector.select(within):
            sock = key.fileobj
            if key.events == selectors.EVENT_WRITE:
                sock.sendall(HEAD)
                self.selector.modify(sock, selectors.EVENT_READ)
                continue
            head = self.heads.get(sock, b"") + sock.recv(1 << 12)
            assert head.startswith(b"HTTP/1.1 101 "[: len(head)]) and head, head
            self.heads[sock] = head
            if head.endswith(b"\r\n\r\n"):
                self.selector.unregister(sock)
                self.opened += 1

    def all_opened(self):
        """Whether all have their 101 by now."""
        self.go_on(0.02)
        self.opened_after = time.monotonic() - self.began
        return self.opened == self.count
