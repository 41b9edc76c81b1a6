"""What the conversations of the Python clients share: random messages, and the account of what came back.

    python …_client.py URL CA SECONDS SEED       prints one line of JSON about a conversation without an error
"""

import asyncio
import json
import random
import ssl
import sys
import time

MESSAGES, BYTES = 8, 4 << 20
EDGES = (0, 1, 125, 126, 127, 65535, 65536, 65537)
WORDS = ("heart", "beat", " ", "\n", "é", "漢字", "🫀", "0123456789", "\0")


def message(rng):
    """Text, or bytes: noise that no compression makes smaller, or words that it does."""
    kind = rng.random()
    if kind < 0.2:
        size = rng.choice(EDGES)
    elif kind < 0.9:
        size = rng.randrange(4000)
    else:
        size = rng.randrange(200_000 if kind < 0.98 else 2_000_000)
    if rng.random() < 0.5:
        return "".join(rng.choices(WORDS, k=size // 4))
    return rng.randbytes(size) if rng.random() < 0.5 else bytes(rng.choices(b"\0\1", k=size))


def pieces(rng, data):
    """`data` in one to five parts, in half of all cases in one."""
    cuts = sorted(rng.randint(0, len(data)) for _ in range(rng.choice((0, 0, 0, 0, 1, 2, 3, 4))))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)])]


class Conversation:
    """The messages on their way; `send` and `receive` run at the same time."""

    def __init__(self):
        self.url, ca, seconds, self.seed = sys.argv[1:]
        self.tls = ssl.create_default_context(cafile=ca) if self.url.startswith("wss:") else None
        self.rng = random.Random(int(self.seed))
        self.seconds = float(seconds)
        self.waiting = []
        self.messages = self.bytes = self.fragmented = 0
        self.heard = asyncio.Event()

    async def send(self, put):
        """Awaits `put` with one message after the other until the time is over and all have come back."""
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            while len(self.waiting) >= MESSAGES or sum(map(len, self.waiting)) > BYTES:
                await self.hear()
            data = message(self.rng)
            self.waiting.append(data)
            await put(data)
            await asyncio.sleep(self.rng.random() * 0.02)
        while self.waiting:
            await self.hear()

    async def hear(self):
        self.heard.clear()
        await self.heard.wait()

    def got(self, data):
        """One message that came back."""
        assert self.waiting, f"seed {self.seed}: a message that was never sent"
        sent = self.waiting.pop(0)
        assert type(sent) is type(data) and sent == data, (
            f"seed {self.seed}, after {self.messages} messages: sent {type(sent).__name__} of {len(sent)}, got {type(data).__name__} of {len(data)}"
        )
        self.messages += 1
        self.bytes += len(data.encode() if isinstance(data, str) else data)
        self.heard.set()

    def told(self, extensions):
        print(json.dumps({"messages": self.messages, "bytes": self.bytes, "fragmented": self.fragmented, "extensions": extensions}))


async def both(sending, receiving):
    """Both at once; the first error is the error, the end of the conversation is the end of both."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sending)
        tasks.create_task(receiving)
