"""Clients of Python libraries and of programs that Python starts, and apps of the libraries that have a server.

    python peers/libraries.py app KIND              prints {"port": …}, echoes, then {"end": CODE} for each conversation
    python peers/libraries.py client KIND URL       prints {"open": true}, {"message": …}, {"end": CODE}; sends each line of stdin and closes
                                                    with 1000 at its end

KIND is aiohttp, tornado or websockets; as a client also curl (libcurl) or websocat.
"""

import asyncio
import contextlib
import json
import pathlib
import sys

LARGEST = 1 << 20


def say(**what):
    print(json.dumps(what), flush=True)


# --- clients: send(text), close() and an iteration over what comes --------------------------------------------------------


class Websockets:
    @classmethod
    async def open(cls, url):
        from websockets.asyncio.client import connect

        self = cls()
        self.socket = await connect(url, max_size=None, ping_interval=None)
        return self

    async def send(self, text):
        await self.socket.send(text)

    async def receive(self):
        from websockets.exceptions import ConnectionClosed

        # An iteration takes only 1000 and 1001 for an end.
        try:
            while True:
                say(message=await self.socket.recv())
        except ConnectionClosed:
            pass

    async def close(self):
        await self.socket.close(1000)


class Aiohttp:
    @classmethod
    async def open(cls, url):
        import aiohttp

        self = cls()
        self.session = aiohttp.ClientSession()
        self.socket = await self.session.ws_connect(url, max_msg_size=0)
        return self

    async def send(self, text):
        await self.socket.send_str(text)

    async def receive(self):
        async for got in self.socket:
            say(message=got.data)

    async def close(self):
        await self.socket.close()


class Tornado:
    @classmethod
    async def open(cls, url):
        from tornado.websocket import websocket_connect

        self = cls()
        self.socket = await websocket_connect(url)
        return self

    async def send(self, text):
        await self.socket.write_message(text)

    async def receive(self):
        while (text := await self.socket.read_message()) is not None:
            say(message=text)

    async def close(self):
        self.socket.close(1000)


class Curl:
    """libcurl under `curl_ws_recv`, which writes the answer to a ping with the next frame that is sent: whoever only reads has to send something."""

    FLUSH = 0.3

    @classmethod
    async def open(cls, url):
        from curl_cffi.requests import AsyncSession

        self = cls()
        self.session = AsyncSession()
        self.socket = await self.session.ws_connect(url)
        self.flushing = asyncio.create_task(self.flush())
        return self

    async def flush(self):
        from curl_cffi.requests import WebSocketError

        with contextlib.suppress(WebSocketError):
            while True:
                await asyncio.sleep(self.FLUSH)
                await self.socket.ping(b"")

    async def send(self, text):
        await self.socket.send_str(text)

    async def receive(self):
        from curl_cffi.requests import WebSocketError

        try:
            while True:
                say(message=await self.socket.recv_str())
        except WebSocketError:
            self.flushing.cancel()

    async def close(self):
        self.flushing.cancel()
        await self.socket.close(1000)


class Websocat:
    """The program, a line a message."""

    class socket:
        close_code = None  # it does not tell

    @classmethod
    async def open(cls, url):
        self = cls()
        command = [pathlib.Path(sys.executable).with_name("websocat"), "--text", "--exit-on-eof", "--buffer-size", str(LARGEST), url]
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=LARGEST)
        # It says nothing about its opening: a message that comes back does.
        await self.send("opened")
        assert await self.process.stdout.readline() == b"opened\n"
        return self

    async def send(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        await self.process.stdin.drain()

    async def receive(self):
        async for line in self.process.stdout:
            say(message=line.decode().rstrip("\n"))
        await self.process.wait()

    async def close(self):
        self.process.stdin.close()


CLIENTS = {"aiohttp": Aiohttp, "curl": Curl, "tornado": Tornado, "websocat": Websocat, "websockets": Websockets}


async def client(kind, url):
    peer = await CLIENTS[kind].open(url)
    say(open=True)
    stdin = asyncio.StreamReader(limit=LARGEST)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)

    async def speak():
        async for line in stdin:
            await peer.send(line.decode().rstrip("\n"))
        await peer.close()

    speaking = asyncio.create_task(speak())
    await peer.receive()
    # Some stop receiving before their Close is answered.
    if stdin.at_eof():
        await speaking
    say(end=peer.socket.close_code)


# --- apps -----------------------------------------------------------------------------------------------------------------


async def websockets_app():
    from websockets.asyncio.server import serve
    from websockets.exceptions import ConnectionClosed

    async def echo(socket):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.send(await socket.recv())
        say(end=socket.close_code)

    async with serve(echo, "127.0.0.1", 0, ping_interval=None, max_size=None) as server:
        say(port=next(iter(server.sockets)).getsockname()[1])
        await asyncio.Future()


async def aiohttp_app():
    from aiohttp import web

    async def echo(request):
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        async for got in socket:
            await socket.send_str(got.data)
        say(end=socket.close_code)
        return socket

    server = web.Application()
    server.add_routes([web.get("/", echo)])
    runner = web.AppRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    say(port=runner.addresses[0][1])
    await asyncio.Future()


async def tornado_app():
    from tornado import httpserver, netutil, web, websocket

    class Echo(websocket.WebSocketHandler):
        def check_origin(self, origin):
            return True

        def on_message(self, message):
            self.write_message(message)

        def on_close(self):
            say(end=self.close_code)

    sockets = netutil.bind_sockets(0, "127.0.0.1")
    server = httpserver.HTTPServer(web.Application([("/", Echo)]))
    server.add_sockets(sockets)
    say(port=sockets[0].getsockname()[1])
    await asyncio.Future()


APPS = {"aiohttp": aiohttp_app, "tornado": tornado_app, "websockets": websockets_app}


if __name__ == "__main__":
    role, kind, *rest = sys.argv[1:]
    asyncio.run(APPS[kind]() if role == "app" else client(kind, *rest))
