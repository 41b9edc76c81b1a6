"""A receiver of hooks that fails at random: it refuses, is late, or hangs up before or behind its answer.

    python receiver.py     prints {"port": …}; prints what it has for each line of stdin; a fault of sidebeat's own is in `faults`
"""

import asyncio
import collections
import json
import random
import sys

from harness.hooks import Hooks

REFUSES, LATE, HANGS_UP, FORGETS = 0.08, 0.005, 0.01, 0.01
DELAY = 2.0


class Book:
    """Every event that was believed, by a number of eight bytes: what is kept of each is small."""

    def __init__(self):
        self.ids, self.subjects = set(), {"opened": collections.Counter(), "closed": collections.Counter()}
        self.reasons, self.faults = collections.Counter(), []
        self.requests = self.refused = self.again = 0

    def believe(self, event):
        if (number := hash(event["id"])) in self.ids:
            self.again += 1
            return
        self.ids.add(number)
        kind = event["type"].rsplit(".")[-1]
        self.subjects[kind][hash(event["subject"])] += 1
        if kind == "closed":
            self.reasons[event["data"]["reason"]] += 1

    def told(self):
        opened, closed = self.subjects["opened"], self.subjects["closed"]
        twice = sum(count > 1 for kind in (opened, closed) for count in kind.values())
        sums = {"opened": len(opened), "closed": len(closed), "unpaired": len(opened.keys() ^ closed.keys()), "twice": twice}
        counts = {"requests": self.requests, "refused": self.refused, "again": self.again}
        return {**sums, **counts, "reasons": self.reasons, "faults": self.faults[:10]}


async def serve(book, reader, writer):
    try:
        while True:
            raw = await reader.readuntil(b"\r\n\r\n")
            lines = raw.decode("latin-1").split("\r\n")[1:-2]
            headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            book.requests += 1
            chance = random.random()
            if chance < REFUSES:
                book.refused += 1
                writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
                continue
            if chance < REFUSES + HANGS_UP:
                book.refused += 1
                break
            if chance < REFUSES + HANGS_UP + LATE:
                await asyncio.sleep(DELAY)
            try:
                Hooks.check(headers, body)
            except (AssertionError, KeyError) as fault:
                book.faults.append(repr(fault))
            book.believe(json.loads(body))
            if random.random() < FORGETS:
                # Taken, but nobody is told: it comes again under the same id.
                break
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    except (OSError, EOFError):
        pass
    finally:
        writer.close()


async def main():
    book = Book()
    server = await asyncio.start_server(lambda reader, writer: serve(book, reader, writer), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    async for _ in stdin:
        print(json.dumps(book.told()), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
