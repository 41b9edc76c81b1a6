"""Streams that talk without a pause, raw or WebSocket, and an app that says everything back.

    python -m harness.talk [HOST [PORT]]    prints {"port": …}; a connection that begins with GET is a WebSocket, any other is raw
"""

import asyncio
import contextlib
import json
import random
import sys

from .crowd import Member
from .wire import CLOSE, PING, PONG, Head, accept_of, frame, mask

# The mask 0 leaves a payload as it is (RFC 6455 5.3), and a length of two bytes is the only one that is used.
CLIENT_HEAD, APP_HEAD = b"\x82\xfe%b\0\0\0\0", b"\x82\x7e%b"


def frames(buffer):
    """The whole frames at the beginning of a buffer as (opcode, first byte, payload), and what is left of it."""
    found = []
    while len(buffer) >= 2:
        at, size, masked = 2, buffer[1] & 0x7F, buffer[1] & 0x80
        if size >= 126:
            at = 4 if size == 126 else 10
            size = int.from_bytes(buffer[2:at])
        end = at + size + (4 if masked else 0)
        if len(buffer) < max(end, at):
            break
        payload = mask(buffer[at + 4 : end], buffer[at : at + 4]) if masked else buffer[at:end]
        found.append((buffer[0] & 15, buffer[0], payload))
        buffer = buffer[end:]
    return found, buffer


class Echo(asyncio.Protocol):
    """One connection to the app."""

    def connection_made(self, transport):
        self.transport, self.buffer, self.speaks = transport, b"", None

    def data_received(self, data):
        self.buffer += data
        if self.speaks is None and len(self.buffer) >= 4:
            self.speaks = "http" if self.buffer.startswith(b"GET ") else "raw"
        if self.speaks == "http" and b"\r\n\r\n" in self.buffer:
            raw, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            accept = accept_of(Head(raw).one("sec-websocket-key"))
            head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
            self.transport.write((head % accept).encode())
            self.speaks = "ws"
        if self.speaks == "raw":
            self.transport.write(self.buffer)
            self.buffer = b""
        if self.speaks == "ws":
            found, self.buffer = frames(self.buffer)
            for opcode, first, payload in found:
                if opcode == PING:
                    self.transport.write(frame(PONG, payload, masked=False))
                elif opcode != PONG:
                    self.transport.write(frame(opcode, payload, masked=False, fin=bool(first & 0x80)))
                if opcode == CLOSE:
                    self.transport.close()
                    return


class Talker:
    """A client that compares every byte that comes back with what it said."""

    def __init__(self, number, member, websocket):
        self.reader, self.writer = member.reader, member.writer
        self.websocket = websocket
        self.random = random.Random(number)
        self.block = self.random.randbytes(2048)
        self.said = 0

    @classmethod
    async def open(cls, number, at, websocket):
        if websocket:
            return cls(number, await Member.open(at), True)
        return cls(number, Member(*await asyncio.open_connection(*at)), False)

    async def say(self):
        """Says something and hears it back."""
        size = self.random.randrange(126, 1400)
        begin = self.said % len(self.block)
        text = (self.block + self.block)[begin : begin + size]
        self.said += size
        length = size.to_bytes(2)
        self.writer.write(CLIENT_HEAD % length + text if self.websocket else text)
        expected = APP_HEAD % length + text if self.websocket else text
        heard = await self.reader.readexactly(len(expected))
        assert heard == expected, f"after {self.said - size} bytes"

    async def talk(self, until, rest):
        """Talks until the event is set, with `rest` seconds between two texts."""
        while not until.is_set():
            await self.say()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(until.wait(), rest * self.random.uniform(0.5, 1.5))
        await self.say()

    async def ended(self):
        """Reads until the end of the stream; what comes before it is returned."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    async def close(self):
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


async def app(host="127.0.0.1", port=0):
    server = await asyncio.get_running_loop().create_server(Echo, host, int(port), backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(app(*sys.argv[1:]))
