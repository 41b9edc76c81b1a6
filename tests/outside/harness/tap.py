"""A wire tap: a forwarder that keeps every byte of every connection through it."""

import contextlib
import socket
import threading


class Tapped:
    """One connection: what its client has said, and what was said to it."""

    def __init__(self):
        self.said, self.heard = bytearray(), bytearray()


class Tap:
    """Listens on a port of its own and forwards to `target`; ended with the block."""

    def __init__(self, target):
        self.target = target
        self.connections = []
        self.sockets = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.at = self.server.getsockname()[:2]
        self.accepting = threading.Thread(target=self.accept, daemon=True)

    def __enter__(self):
        self.accepting.start()
        return self

    def __exit__(self, *_):
        # Wakes those who wait; a descriptor that is closed under them may be somebody else's by then.
        for sock in [self.server, *self.sockets]:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self.accepting.join(5)
        self.server.close()

    def accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            upstream = socket.create_connection(self.target)
            self.sockets += [client, upstream]
            tapped = Tapped()
            self.connections.append(tapped)
            for source, sink, seen in [(client, upstream, tapped.said), (upstream, client, tapped.heard)]:
                sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.forward, args=(source, sink, seen), daemon=True).start()

    @staticmethod
    def forward(source, sink, seen):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                seen += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
