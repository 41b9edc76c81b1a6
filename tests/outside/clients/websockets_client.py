"""A conversation of the Python library `websockets`, its messages in random fragments, with keepalive pings of its own."""

import asyncio

from websockets.asyncio.client import connect

from conversation import Conversation, both, pieces


async def main():
    talk = Conversation()
    async with connect(talk.url, ssl=talk.tls, max_size=None, ping_interval=1, ping_timeout=20) as socket:

        async def put(data):
            parts = pieces(talk.rng, data)
            talk.fragmented += len(parts) > 1
            await socket.send(parts if len(parts) > 1 else data)

        async def send():
            await talk.send(put)
            await socket.close()

        async def receive():
            async for data in socket:
                talk.got(data)

        await both(send(), receive())
    assert socket.close_code == 1000, (socket.close_code, socket.close_reason)
    talk.told(socket.response.headers["Sec-WebSocket-Extensions"])


asyncio.run(main())
