"""Many WebSocket openings at once from one thread: every connection is begun before the first is answered."""

import contextlib
import errno
import selectors
import socket
import struct
import time

from . import netns

HEAD = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)


class Burst:
    """Connections that have sent their opening; they are reset with the end of the block."""

    def __init__(self, namespace, at, count):
        self.namespace, self.at, self.count = namespace, at, count
        self.opened, self.heads = 0, {}

    def __enter__(self):
        self.began = time.monotonic()
        with netns.inside(self.namespace):
            self.sockets = [socket.socket() for _ in range(self.count)]
        self.selector = selectors.DefaultSelector()
        for sock in self.sockets:
            sock.setblocking(False)
            assert sock.connect_ex(self.at) in (0, errno.EINPROGRESS)
            self.selector.register(sock, selectors.EVENT_WRITE)
        self.seconds = time.monotonic() - self.began
        return self

    def __exit__(self, *_):
        self.selector.close()
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

    def all_opened(self):
        """Goes on with whoever can; whether all have their 101."""
        for key, _ in self.selector.select(0.02):
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
        self.opened_after = time.monotonic() - self.began
        return self.opened == self.count
