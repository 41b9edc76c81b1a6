"""A conversation of the Python library `aiohttp`, which sends whole messages, with heartbeat pings of its own."""

import asyncio

import aiohttp

from conversation import Conversation, both


async def main():
    talk = Conversation()
    async with aiohttp.ClientSession() as session:
        tls = {"ssl": talk.tls} if talk.tls else {}
        socket = await session.ws_connect(talk.url, compress=15, max_msg_size=0, heartbeat=10, **tls)

        async def put(data):
            await (socket.send_str(data) if isinstance(data, str) else socket.send_bytes(data))

        async def send():
            await talk.send(put)
            await socket.close()

        async def receive():
            async for got in socket:
                assert got.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), got
                talk.got(got.data)

        await both(send(), receive())
        assert socket.close_code == 1000 and socket.exception() is None, (socket.close_code, socket.exception())
    talk.told(f"permessage-deflate of {socket.compress} bits" if socket.compress else "")


asyncio.run(main())
