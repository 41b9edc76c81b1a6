"""A client to try with: python3 chat.py URL [SILENCE]. It sends the lines of its input, and prints what it gets and its states as JSON."""

import asyncio
import json
import sys
import threading

from sidebeat_client import Connection


def tell(**what):
    print(json.dumps(what), flush=True)


async def main(url, silence=60.0):
    loop = asyncio.get_running_loop()

    def told(state):
        ended = {} if state.code is None else {"code": state.code, "reason": state.reason}
        tell(state=state.name, **ended, **({} if state.delay is None else {"delay": state.delay}))

    async with Connection(url, on_state=told, silence=float(silence)) as chat:

        def read():
            for line in open(0):  # not sys.stdin, which the end of the process would wait for
                loop.call_soon_threadsafe(chat.send, line.rstrip("\n"))

        threading.Thread(target=read, daemon=True).start()
        async for message in chat:
            tell(message=message)


asyncio.run(main(*sys.argv[1:]))
