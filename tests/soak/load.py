"""Clients of every kind that come and go: python load.py CA RATE SCHEME=HOST:PORT …

Each is of a random scheme and does one of four things: it talks and leaves in good order, it has nothing to say but answers pings for a while, it
talks and resets, or it says nothing more at all and has to be closed. Prints a line of JSON about all of them for each line of stdin, and ends with
it once everybody has left, after the line `end`.
"""

import asyncio
import collections
import json
import random
import ssl
import socket
import struct
import sys
import time

from harness.party import Client
from harness.wire import CLOSE, PING

WAYS = {"talks": 45, "idles": 25, "resets": 20, "silent": 10}


class Tally:
    """What became of everybody; what is kept does not grow with time."""

    def __init__(self, ca):
        self.tls = ssl.create_default_context(cafile=ca)
        self.opened, self.failed, self.cut = collections.Counter(), collections.Counter(), collections.Counter()
        self.wrong, self.silences, self.said, self.open, self.lag = [], [], 0, 0, 0.0
        self.pace = 0.3


class Guest(Client):
    """A client with one of the ways to behave."""

    def __init__(self, party, scheme, reader, writer):
        self.way = random.choices(list(WAYS), WAYS.values())[0]
        self.wanted = False
        party.opened[f"{scheme} {self.way}"] += 1
        party.open += 1
        super().__init__(party, scheme, reader, writer)

    def ended(self, how):
        pass

    def hear(self, opcode, payload):
        if self.way != "silent" or opcode not in (CLOSE, PING):
            super().hear(opcode, payload)
        elif opcode == CLOSE:
            self.code = int.from_bytes(payload[:2])

    async def talk(self):
        try:
            if self.way in ("talks", "resets"):
                for _ in range(random.randrange(2, 12)):
                    await self.say()
                    await asyncio.sleep(self.party.pace * random.uniform(0.5, 1.5))
            elif self.way == "idles":
                await asyncio.sleep(random.uniform(2, 20))
                await self.say()
            else:
                # What it says last is heard after this and not before.
                spoke = time.monotonic()
                await self.say()
                # Nothing more; the limit of the proxy is what ends it.
                await self.tasks[0]
                self.party.silences.append(time.monotonic() - spoke)
                return
            self.wanted = True
            if self.way == "resets":
                self.over = True
                sock = self.writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.writer.transport.abort()
            else:
                await self.leave()
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            if not self.wanted and self.way != "silent":
                self.party.cut[f"{self.scheme} {self.way} {self.code}"] += 1
            self.party.open -= 1

    async def say(self):
        text = random.randbytes(random.choice((5, 60, 400, 9_000))).hex().encode()
        self.put(text)
        await self.writer.drain()
        got = await self.answer.get()
        if got is None:
            raise EOFError
        self.party.said += len(text)
        if got != text:
            self.party.wrong.append(f"{self.scheme} {self.way}: {len(text)} bytes came back as {len(got)}")


async def come(tally, places, tasks):
    scheme = random.choice(list(places))
    try:
        guest = await Guest.open(tally, scheme, *places[scheme])
        tasks.update(guest.tasks)
        for task in guest.tasks:
            task.add_done_callback(tasks.discard)
    except (OSError, EOFError) as error:
        tally.failed[f"{scheme}: {error or type(error).__name__}"] += 1


async def main():
    ca, rate, *pairs = sys.argv[1:]
    places = {scheme: tuple(at.split(":")) for scheme, at in (pair.split("=") for pair in pairs)}
    tally, tasks, opening = Tally(ca), set(), set()
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    over = asyncio.Event()

    def tell():
        told = {key: getattr(tally, key) for key in ("opened", "failed", "cut", "wrong", "silences", "said", "open", "lag")}
        print(json.dumps(told), flush=True)
        tally.silences = []

    async def listen():
        async for line in stdin:
            if line.strip() == b"end":
                break
            tell()
        over.set()

    async def watch():
        """How late this process itself is at worst."""
        while True:
            asked = time.monotonic()
            await asyncio.sleep(0.1)
            tally.lag = max(tally.lag, time.monotonic() - asked - 0.1)

    listening, watching = asyncio.create_task(listen()), asyncio.create_task(watch())
    due = time.monotonic()
    while not over.is_set():
        due += random.expovariate(float(rate))
        # Whoever is late does not come in a crowd later: then the rate is lower, and is said to be.
        due = max(due, time.monotonic() - 0.5)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        task = asyncio.create_task(come(tally, places, tasks))
        opening.add(task)
        task.add_done_callback(opening.discard)
    await listening
    while opening or tasks:
        await asyncio.wait([*opening, *tasks])
    watching.cancel()
    tell()


if __name__ == "__main__":
    asyncio.run(main())
