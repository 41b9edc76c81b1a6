"""A broadcast reaches those who read, whoever else does not."""

import asyncio
import json
import pathlib
import resource
import subprocess
import sys

import pytest

from harness.crowd import Member
from harness.sidebeat import Sidebeat, listener

CROWD = 5000
DEAF = 100

# A proxy that waits for the deaf never passes a round; a machine that is slow for some seconds fails one.
ROUNDS = 5
HERE = pathlib.Path(__file__).resolve().parent


async def post(at, target, body):
    """One call of the API, without blocking the loop: the answer's JSON and how long it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    reader, writer = await asyncio.open_connection(*at)
    head = f"POST {target} HTTP/1.1\r\nHost: {at[0]}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0], answer
    return json.loads(body), loop.time() - began


async def broadcast(sidebeat, readers, text):
    """Whether every reader had it while the call still waited for the others."""
    call = asyncio.create_task(post(sidebeat.at("admin"), "/v1/messages?all=true", text.encode()))
    in_time = True
    while not all(text in member.heard for member in readers):
        in_time = not call.done()
        await asyncio.sleep(0.01)
    in_time = in_time and not call.done()
    count, took = await call
    assert count == {"matched": CROWD, "done": CROWD - DEAF, "failed": DEAF}
    assert took > 4.9, f"the others were given up after {took} s"
    return in_time


async def crowd(sidebeat):
    members = []
    for begin in range(0, CROWD, 100):
        paths = ["/?uid=deaf" if n < DEAF else "/?uid=reader" for n in range(begin, begin + 100)]
        members += await asyncio.gather(*(Member.open(sidebeat.at("chat"), path) for path in paths))
    deaf, readers = members[:DEAF], members[DEAF:]
    for member in deaf:
        member.deafen()
    tasks = [asyncio.create_task(member.listen()) for member in readers]

    # What the sockets of the deaf hold is full before it counts: a mebibyte each time, until not one takes it.
    for _ in range(40):
        count, _ = await post(sidebeat.at("admin"), "/v1/messages?uid=deaf", bytes(1 << 20))
        assert count["matched"] == DEAF and count["done"] + count["failed"] == DEAF, count
        if count["done"] == 0:
            break
    assert count["done"] == 0, "the sockets of those who do not read took all of it"

    for n in range(ROUNDS):
        in_time = await broadcast(sidebeat, readers, f"to everyone, {n}")
        if in_time:
            break
    assert in_time, "they had it only after the call had waited for the others"
    for task in tasks:
        task.cancel()
    for member in members:
        await member.close()


@pytest.mark.timeout(600)
def test_a_broadcast_does_not_wait_for_those_who_do_not_read():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    app = subprocess.Popen([sys.executable, "-m", "harness.crowd", "app"], cwd=HERE, stdout=subprocess.PIPE)
    try:
        port = json.loads(app.stdout.readline())["port"]
        heartbeat = {"idle_limit": "off", "ping": "off", "stall_limit": "off"}
        chat = listener("ws", f"ws://127.0.0.1:{port}", heartbeat=heartbeat, identity=[{"query": "uid"}])
        with Sidebeat({"chat": chat}) as sidebeat:
            asyncio.run(crowd(sidebeat))
    finally:
        app.kill()
        app.wait()
        app.stdout.close()
