"""Thousands of WebSocket clients and the app behind them, on one event loop.

    python -m harness.crowd app [port=PORT] [NAME=VALUE …]
                                prints {"port": …}; answers openings with these headers and then only reads, but gives a Close back
"""

import asyncio
import base64
import contextlib
import json
import os
import sys
import time

from .wire import accept_of


async def head_of(reader):
    """The lines of one HTTP head, lower-case names."""
    raw = await reader.readuntil(b"\r\n\r\n")
    first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
    return first, {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


async def app(port, headers):
    """Serves until it is killed."""

    async def serve(reader, writer):
        try:
            _, head = await head_of(reader)
            lines = [
                "HTTP/1.1 101 Switching Protocols",
                "Upgrade: websocket",
                "Connection: Upgrade",
                f"Sec-WebSocket-Accept: {accept_of(head['sec-websocket-key'])}",
                *headers,
            ]
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            while data := await reader.read(1 << 16):
                if data[0] == 0x88:
                    writer.write(b"\x88\x00")
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


class Member:
    """One client. It notes the texts that it heard; it reads nothing while its transport is paused."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.heard = set()

    @classmethod
    async def open(cls, at, path="/"):
        reader, writer = await asyncio.open_connection(*at)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {at[0]}:{at[1]}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        first, _ = await head_of(reader)
        assert " 101 " in first, first
        return cls(reader, writer)

    def deafen(self):
        """Reads nothing from here on."""
        self.writer.transport.pause_reading()

    async def listen(self):
        """Reads messages until the end of the connection."""
        try:
            while True:
                first, size = await self.reader.readexactly(2)
                if size == 126:
                    size = int.from_bytes(await self.reader.readexactly(2))
                elif size == 127:
                    size = int.from_bytes(await self.reader.readexactly(8))
                payload = await self.reader.readexactly(size)
                if first == 0x81:
                    self.heard.add(payload.decode())
        except (OSError, EOFError):
            pass

    async def farewell(self):
        """Answers pings until a Close comes, and that; returns (code, reason, monotonic instant). Anything else is an error."""
        while True:
            first, size = await self.reader.readexactly(2)
            payload = await self.reader.readexactly(size)
            self.writer.write(bytes([0x8A if first == 0x89 else 0x88, 0x80 | size, 0, 0, 0, 0]) + payload)
            if first == 0x88:
                at = time.monotonic()
                break
            assert first == 0x89, f"a frame that begins with {first:#x}"
        assert await self.reader.read() == b"", "bytes behind the Close"
        self.writer.close()
        return int.from_bytes(payload[:2], "big"), payload[2:].decode(), at

    async def close(self):
        """Resets the connection."""
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


if __name__ == "__main__":
    assert sys.argv[1] == "app"
    pairs = dict(pair.split("=", 1) for pair in sys.argv[2:])
    port = int(pairs.pop("port", 0))
    asyncio.run(app(port, [f"{name}: {value}" for name, value in pairs.items()]))
