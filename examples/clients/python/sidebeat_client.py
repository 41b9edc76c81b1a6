"""A WebSocket that comes back, for asyncio: full-jitter backoff, close codes obeyed, silent servers noticed.

    async with Connection("wss://chat.example/ws", on_state=print) as chat:
        chat.send("hello")  # False: not taken
        async for message in chat:
            ...

What a socket had taken when its network vanished is lost: who must know sends again until the app has answered.
"""

import asyncio
import collections
import dataclasses
import random
import time

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

# "retry": after a random time below a bound that doubles with each failure. "soon": below `spread`. "slow": half of `max` at least. "stop": never.
VERDICTS = {1000: "stop", 1008: "stop", 1012: "soon", **dict.fromkeys((1002, 1003, 1007, 1009, 1010, 1013), "slow")}

GRACE = 2.0  # seconds in which a process that slept hears what waited for it


@dataclasses.dataclass(frozen=True)
class State:
    name: str  # connecting, open, waiting, stopped
    code: int | None = None  # of the connection that ended; 1006 also for an attempt that failed and for silence
    reason: str = ""
    delay: float | None = None  # seconds until the next attempt


@dataclasses.dataclass
class Options:
    """All times in seconds."""

    silence: float = 60.0  # without a frame, after which the server counts as gone; needs a heartbeat that comes in any case (`when: always`)
    ping: str | None = None  # the server's text heartbeat, if it has one (`ping.data`); Ping frames count by themselves
    pong: str | None = None  # what answers it (`ping.reply`)
    timeout: float = 10.0  # for one attempt
    base: float = 1.0  # the bound of the first wait
    max: float = 30.0  # the greatest bound
    spread: float = 5.0  # over which clients come back after a restart of the server
    stable: float = 10.0  # that a connection must live before earlier failures are forgotten
    outbox: int = 100  # messages that wait for a connection at most
    codes: dict = dataclasses.field(default_factory=dict)  # what follows which close code, beyond VERDICTS

    def verdict(self, code):
        return self.codes.get(code) or VERDICTS.get(code) or ("retry" if code < 4000 else "stop")

    def wait(self, verdict, failures):
        """(the least, the greatest) time to wait after so many failures."""
        bound = min(self.max, self.base * 2.0 ** min(failures, 30))
        return {"retry": (0.0, bound), "soon": (0.0, max(self.spread, bound)), "slow": (self.max / 2, self.max)}[verdict]


class Watched(ClientConnection):
    """Notes each frame, Ping frames included, which the library answers without telling."""

    heard = 0.0

    def process_event(self, event):
        self.heard = time.monotonic()
        super().process_event(event)


class Connection:
    def __init__(self, url, on_state=lambda state: None, **options):
        self.url, self.options, self.state = url, Options(**options), State("connecting")
        self._on_state, self._failures, self._socket = on_state, 0, None
        self._outbox, self._inbox, self._some = collections.deque(), asyncio.Queue(16), asyncio.Event()

    async def __aenter__(self):
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def __aiter__(self):
        return self

    async def __anext__(self):
        """The next message; the iteration ends when the connection has stopped."""
        message = await self._inbox.get()
        if message is None:
            raise StopAsyncIteration
        return message

    def send(self, data):
        """Sends, or keeps until there is a connection; False if it was not taken."""
        room = self.state.name != "stopped" and len(self._outbox) < self.options.outbox
        if room:
            self._outbox.append(data)
            self._some.set()
        return room

    async def _run(self):
        while True:
            self._tell(State("connecting"))
            code, reason, life = await self._attempt()
            verdict = self.options.verdict(code)
            if verdict == "stop":
                self._tell(State("stopped", code, reason))
                return await self._inbox.put(None)
            # A server that lets everybody in and throws them out at once must not be asked faster for it.
            self._failures = 0 if life >= self.options.stable else self._failures
            delay = random.uniform(*self.options.wait(verdict, self._failures))
            self._failures += 1
            self._tell(State("waiting", code, reason, delay))
            await asyncio.sleep(delay)

    async def _attempt(self):
        """One connection from its opening to its end: (close code, reason, seconds that it lived)."""
        try:
            socket = await connect(self.url, create_connection=Watched, ping_interval=None, open_timeout=self.options.timeout, close_timeout=1)
        except (OSError, InvalidHandshake, EOFError, asyncio.TimeoutError) as error:
            return 1006, str(error) or "timeout", 0.0
        opened = socket.heard = time.monotonic()
        # What the app says when it hears of it, say a login, comes before what waited.
        waited, self._outbox = self._outbox, collections.deque()
        self._tell(State("open"))
        self._outbox.extend(waited)
        tasks = [asyncio.create_task(work) for work in (self._watch(socket), self._read(socket), self._write(socket))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            end = (1006, "silent") if tasks[0].done() else (socket.close_code or 1006, socket.close_reason or "")
            return *end, time.monotonic() - opened
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # On a network that is gone the closing handshake has no end.
            socket.transport.abort()

    async def _watch(self, socket):
        last = False
        while (left := socket.heard + self.options.silence - time.monotonic()) > 0 or not last:
            last = left <= 0
            await asyncio.sleep(GRACE if last else left)
            if self._inbox.full():  # While the app takes nothing, nothing is read, and nothing can be heard.
                socket.heard = time.monotonic()

    async def _read(self, socket):
        try:
            async for message in socket:
                if message != self.options.ping:
                    await self._inbox.put(message)
                elif self.options.pong is not None:
                    await socket.send(self.options.pong)
        except ConnectionClosed:
            pass

    async def _write(self, socket):
        try:
            while True:
                while self._outbox:
                    await socket.send(self._outbox.popleft())
                self._some.clear()
                await self._some.wait()
        except ConnectionClosed:
            await socket.wait_closed()

    def _tell(self, state):
        self.state = state
        try:
            self._on_state(state)
        except Exception as error:  # the app's own fault, which ends no connection
            asyncio.get_running_loop().call_exception_handler({"message": "on_state failed", "exception": error})
