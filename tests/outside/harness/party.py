"""Clients in a process of their own that talk without a pause and compare every byte that comes back.

    python -m harness.party CA          prints {"ready": true}; answers each line of stdin, which is JSON:

    {"open": [[SCHEME, HOST, PORT, COUNT], …]}   opens streams; {"open": how many are open, "opened": how many of these, "refused": […]}
    {"pace": SECONDS}                            the rest between two texts of a client, 0 for none at all; {"pace": …}
    {"report": true}                             {"open", "said", "wrong", "ended", "waiting"}: see `Party.report`
    {"leave": true}                              every client says goodbye; {"left": how many}
    {"forget": true}                             what has ended is no longer reported; {"forget": true}

wss and tls trust CA; raw clients speak lines, and answer the line PING with PONG.
"""

import asyncio
import base64
import contextlib
import json
import os
import random
import ssl
import sys
import time

from .talk import frames
from .wire import CLOSE, PING, PONG, TEXT, frame


class Client:
    """One stream."""

    def __init__(self, party, scheme, reader, writer):
        self.party, self.scheme, self.reader, self.writer = party, scheme, reader, writer
        self.said, self.over, self.code = 0, False, None
        self.waiting_since = None
        self.answer = asyncio.Queue()
        self.tasks = [asyncio.create_task(self.listen()), asyncio.create_task(self.talk())]

    @classmethod
    async def open(cls, party, scheme, host, port):
        tls = {"ssl": party.tls, "server_hostname": "localhost"} if scheme in ("wss", "tls") else {}
        reader, writer = await asyncio.open_connection(host, port, limit=1 << 20, **tls)
        if scheme.startswith("ws"):
            key = base64.b64encode(os.urandom(16)).decode()
            upgrade = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13"
            writer.write(f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\n{upgrade}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 101 " not in head.split(b"\r\n")[0]:
                writer.close()
                raise ConnectionRefusedError(head.split(b"\r\n")[0].decode())
        return cls(party, scheme, reader, writer)

    @property
    def websocket(self):
        return self.scheme.startswith("ws")

    async def listen(self):
        """Reads until the end."""
        buffer = b""
        try:
            while data := await self.reader.read(1 << 16):
                buffer += data
                if self.websocket:
                    found, buffer = frames(buffer)
                    for opcode, _, payload in found:
                        self.hear(opcode, payload)
                else:
                    *lines, buffer = buffer.split(b"\n")
                    for line in lines:
                        self.hear(PING if line == b"PING" else TEXT, line)
            how = "fin"
        except (OSError, EOFError):
            how = "reset"
        self.over = True
        self.ended(how)
        self.answer.put_nowait(None)
        self.writer.close()

    def ended(self, how):
        self.party.ended.append({"scheme": self.scheme, "code": self.code, "how": how})

    def hear(self, opcode, payload):
        if opcode == CLOSE:
            self.code = int.from_bytes(payload[:2]) or None
        if opcode in (CLOSE, PING):
            # Behind a goodbye nothing more is said.
            if not self.over:
                answer = frame(CLOSE, payload[:2], masked=True) if opcode == CLOSE else frame(PONG, payload, masked=True)
                self.writer.write(answer if self.websocket else b"PONG\n")
        elif opcode != PONG:
            self.answer.put_nowait(payload)

    def put(self, text):
        self.writer.write(frame(TEXT, text, masked=True) if self.websocket else text + b"\n")

    async def talk(self):
        while not self.over:
            if not self.party.pace:
                await asyncio.sleep(0.05)
                continue
            # A line of its own length, never the word of a heartbeat.
            text = base64.b64encode(os.urandom(random.choice((6, 90, 93, 600, 20_000))))
            self.waiting_since = time.monotonic()
            with contextlib.suppress(ConnectionError):
                self.put(text)
                await self.writer.drain()
            got = await self.answer.get()
            if got is None:
                return
            self.waiting_since = None
            self.said += len(text)
            if got != text:
                self.party.wrong.append(f"{self.scheme}: {len(text)} bytes came back as {len(got)}: {text[:40]} {got[:40]}")
            await asyncio.sleep(self.party.pace * random.uniform(0.5, 1.5))

    async def leave(self):
        self.over = True
        with contextlib.suppress(OSError):
            if self.websocket:
                self.writer.write(frame(CLOSE, (1000).to_bytes(2), masked=True))
            elif self.writer.can_write_eof():
                self.writer.write_eof()
            else:
                self.writer.close()
        await self.tasks[0]


class Party:
    def __init__(self, ca):
        self.tls = ssl.create_default_context(cafile=ca)
        self.clients, self.ended, self.wrong = [], [], []
        self.pace = 0.1

    async def open(self, wanted):
        opening = [Client.open(self, scheme, host, port) for scheme, host, port, count in wanted for _ in range(count)]
        told = await asyncio.gather(*opening, return_exceptions=True)
        self.clients += [client for client in told if isinstance(client, Client)]
        refused = [str(error) or type(error).__name__ for error in told if not isinstance(error, Client)]
        return {"open": self.count(), "opened": len(told) - len(refused), "refused": refused}

    def count(self):
        return sum(not client.over for client in self.clients)

    def report(self):
        """Streams that are open, bytes that came back, those that came back wrong, ends that nobody here wanted, the longest wait for an answer."""
        waits = [time.monotonic() - client.waiting_since for client in self.clients if not client.over and client.waiting_since]
        said = sum(client.said for client in self.clients)
        return {"open": self.count(), "said": said, "wrong": self.wrong, "ended": self.ended, "waiting": max(waits, default=0)}

    async def leave(self):
        leaving = [client for client in self.clients if not client.over]
        before = list(self.ended)
        await asyncio.gather(*(client.leave() for client in leaving))
        self.clients, self.ended = [], before
        return {"left": len(leaving)}


async def main():
    party = Party(sys.argv[1])
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    print(json.dumps({"ready": True}), flush=True)
    async for line in stdin:
        asked = json.loads(line)
        if "open" in asked:
            told = await party.open(asked["open"])
        elif "pace" in asked:
            party.pace = asked["pace"]
            told = asked
        elif "forget" in asked:
            party.ended = []
            told = asked
        elif "leave" in asked:
            told = await party.leave()
        else:
            told = party.report()
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
