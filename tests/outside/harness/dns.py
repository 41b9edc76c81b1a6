"""A name server that knows one address and can fall silent."""

import pathlib
import shutil
import socket
import threading

from . import netns

A, ANSWER, POINTER = 1, b"\x81\x80", b"\xc0\x0c"


class Names:
    """Serves a network namespace: whatever is asked there is `address`; ended with the block."""

    def __init__(self, namespace, address):
        self.address, self.silent, self.asked, self.over = address, False, 0, False
        self.directory = pathlib.Path("/etc/netns") / namespace
        with netns.inside(namespace):
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.bind(("127.0.0.1", 53))
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def __enter__(self):
        # `ip netns exec` puts this in the place of /etc/resolv.conf.
        self.directory.mkdir(parents=True)
        (self.directory / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join(5)
        self.socket.close()
        shutil.rmtree(self.directory)

    def serve(self):
        self.socket.settimeout(0.2)
        while not self.over:
            try:
                asked, client = self.socket.recvfrom(512)
            except TimeoutError:
                continue
            self.asked += 1
            if not self.silent:
                self.socket.sendto(self.answer(asked), client)

    def answer(self, asked):
        """One A record with a life of no time, or none for any other kind (RFC 1035 4.1)."""
        end = asked.index(b"\0", 12) + 5
        known = int.from_bytes(asked[end - 4 : end - 2]) == A
        record = POINTER + A.to_bytes(2) + (1).to_bytes(2) + (0).to_bytes(4) + (4).to_bytes(2) + socket.inet_aton(self.address)
        counts = (1).to_bytes(2) + int(known).to_bytes(2) + bytes(4)
        return asked[:2] + ANSWER + counts + asked[12:end] + (record if known else b"")
