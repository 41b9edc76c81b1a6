"""A client that lives on a thread of its own."""

import contextlib
import threading

from .wire import CLOSE, TEXT, Client

# How long an opening may take on a busy machine.
PATIENCE = 120.0


class Reader:
    """A client that answers pings, notes what it reads, and ends when it is closed."""

    def __init__(self, at, path, **client):
        self.wire = Client(at, **client)
        self.wire.open(path)
        self.wire.opened(PATIENCE)
        self.address = self.wire.address
        self.heard, self.closed = [], None
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        # The test is over when the connection ends under it.
        with contextlib.suppress(AssertionError, OSError):
            while True:
                frame = self.wire.read_message(3600)
                if frame.opcode == TEXT:
                    self.heard.append(frame.payload.decode())
                elif frame.opcode == CLOSE:
                    self.closed = (int.from_bytes(frame.payload[:2]), frame.payload[2:].decode())
                    return self.wire.close()
