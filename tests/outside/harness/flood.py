"""An app that sends a mebibyte a second to everyone who connects, as far as it is taken.

    python -m harness.flood       prints {"port": …}; answers each line of stdin with {"open", "blocked", "taken"}: connections, those of
                                  them that do not take what is sent, and the bytes that all of them took
"""

import asyncio
import json
import socket
import sys

from .wire import Head, accept_of

RATE = 1 << 20
# The shortest payload whose length takes eight bytes (RFC 6455 5.2).
FRAME = b"\x82\x7f" + (1 << 16).to_bytes(8) + bytes(1 << 16)


class Flood(asyncio.Protocol):
    """One WebSocket."""

    everyone = set()
    taken = 0

    def connection_made(self, transport):
        self.transport, self.head = transport, b""
        # Else the kernel alone takes tens of mebibytes before anybody has to wait.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
        # Blocked from the first byte that the kernel does not take, free again when it has taken all.
        transport.set_write_buffer_limits(high=0)
        self.blocked = False

    def data_received(self, data):
        self.head += data
        if self not in self.everyone and self.head.endswith(b"\r\n\r\n"):
            accept = accept_of(Head(self.head).one("sec-websocket-key"))
            head = f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            self.transport.write(head.encode())
            self.everyone.add(self)

    def pause_writing(self):
        self.blocked = True

    def resume_writing(self):
        self.blocked = False

    def connection_lost(self, error):
        self.everyone.discard(self)

    def send(self):
        if not self.blocked:
            self.transport.write(FRAME)
            Flood.taken += len(FRAME)


async def app():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Flood, "127.0.0.1", 0, backlog=4096)
    stdin = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)

    async def answer():
        while await stdin.readline():
            everyone = Flood.everyone
            waiting = sum(one.transport.get_write_buffer_size() for one in everyone)
            told = {"open": len(everyone), "blocked": sum(one.blocked for one in everyone), "taken": Flood.taken - waiting}
            print(json.dumps(told), flush=True)

    answering = asyncio.create_task(answer())
    while not answering.done():
        for one in list(Flood.everyone):
            one.send()
        await asyncio.sleep(len(FRAME) / RATE)


if __name__ == "__main__":
    asyncio.run(app())
