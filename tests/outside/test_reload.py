"""Listeners are added, removed, moved and renamed by a reload, and no open stream notices.

SIDEBEAT_TEST_STREAMS=5000 SIDEBEAT_TEST_RELOADS=100 is the long form, of some minutes.
"""

import asyncio
import collections
import functools
import json
import os
import pathlib
import resource
import socket
import subprocess
import sys

import pytest

from harness.sidebeat import Metrics, Sidebeat, listener
from harness.talk import Talker
from harness.wait import until
from harness.wire import Client, accept_of, echo_tcp, echo_ws, open_tcp, open_ws

HERE = pathlib.Path(__file__).resolve().parent
STREAMS = int(os.environ.get("SIDEBEAT_TEST_STREAMS", "300"))
RELOADS = int(os.environ.get("SIDEBEAT_TEST_RELOADS", "10"))
QUIET = {"idle_limit": "off"}


@pytest.fixture
def echo_port():
    """The port of an app that says everything back, in a process of its own."""
    app = subprocess.Popen([sys.executable, "-m", "harness.talk"], cwd=HERE, stdout=subprocess.PIPE)
    yield json.loads(app.stdout.readline())["port"]
    app.kill()
    app.wait()
    app.stdout.close()


def reload(sidebeat, listeners, **top):
    """Puts these listeners to use; returns the answer."""
    sidebeat.write({**sidebeat.config, "listeners": listeners, **top})
    status, _, body = sidebeat.get("/v1/reload", method="POST", within=60)
    return status, json.loads(body)


def reloaded(sidebeat, listeners, **top):
    status, answer = reload(sidebeat, listeners, **top)
    assert status == 200, answer
    assert answer["restart_required"] == []


def moved(config, listen):
    return {**config, "listen": listen}


def url(scheme, port, host="127.0.0.1"):
    return f"{scheme}://{host}:{port}"


def opened(sidebeat):
    """How many streams each listener has opened."""
    status, _, body = sidebeat.get("/metrics", at="telemetry", within=60)
    assert status == 200
    return collections.Counter(Metrics(body.decode()).by("listener", "sidebeat_streams_opened_total"))


async def churn(sidebeat, upstream):
    """The streams of three listeners talk while every reload moves two, turns one into another protocol and renames a fourth."""
    loop = asyncio.get_running_loop()
    ports = {name: sidebeat.at(name)[1] for name in ("raw", "chat", "odd", "extra-0")}
    talkers = []
    for begin in range(0, STREAMS, 50):
        numbers = range(begin, min(begin + 50, STREAMS))
        kinds = [("raw", False), ("chat", True), ("odd", False)]
        opening = [Talker.open(n, sidebeat.at(kinds[n % 3][0]), kinds[n % 3][1]) for n in numbers]
        talkers += await asyncio.gather(*opening)
    done = asyncio.Event()
    # Some hundred texts a second in all, so that the loop of this test is not what is measured.
    rest = STREAMS / 200
    tasks = [asyncio.create_task(talker.talk(done, rest)) for talker in talkers]
    removed = await Talker.open(-1, ("127.0.0.1", ports["extra-0"]), False)
    await removed.say()
    for number in range(1, RELOADS + 1):
        here, there = ("raw", "chat") if number % 2 == 0 else ("chat", "raw")
        odd = "ws" if number % 2 else "tcp"
        quiet = {**QUIET, "close_timeout": f"{1 + number % 5}s"}
        listeners = {
            "raw": listener(url("tcp", ports[here]), f"tcp://{upstream}", heartbeat=quiet),
            "chat": listener(url("ws", ports[there]), f"ws://{upstream}", heartbeat={**quiet, "ping": "off"}),
            "odd": listener(url(odd, ports["odd"]), f"{odd}://{upstream}", heartbeat=quiet),
            f"extra-{number % 2}": listener(url("tcp", ports["extra-0"]), f"tcp://{upstream}"),
        }
        before = await loop.run_in_executor(None, opened, sidebeat)
        await loop.run_in_executor(None, functools.partial(reloaded, sidebeat, listeners))
        # Whoever comes now is served by the listener that has the address now.
        places = [("raw", here, False), ("chat", there, True), ("odd", "odd", odd == "ws"), (f"extra-{number % 2}", "extra-0", False)]
        newcomers = []
        for name, place, websocket in places:
            newcomer = await Talker.open(number, ("127.0.0.1", ports[place]), websocket)
            await newcomer.say()
            newcomers.append(newcomer)
        after = await loop.run_in_executor(None, opened, sidebeat)
        for name, _, _ in places:
            assert after[name] - before[name] == 1, (number, name, before, after)
        assert await removed.ended() == b"", "of a removed listener"
        removed = newcomers.pop()
        for newcomer in newcomers:
            await newcomer.close()
        assert not [task for task in tasks if task.done()], [task for task in tasks if task.done()][0]
    done.set()
    await asyncio.gather(*tasks)
    # Nobody's stream has ended but those of the newcomers, by themselves, and those of the removed listeners.
    until(lambda: sum(sidebeat.closed().values()) == 4 * RELOADS, within=60, what="the newcomers end")
    closed = sidebeat.closed()
    assert closed.pop("drain") == RELOADS and set(closed) <= {"client_gone", "client_close"}, closed
    for talker in [*talkers, removed]:
        await talker.close()
    return sum(talker.said for talker in talkers)


@pytest.mark.timeout(1800)
def test_open_streams_go_on_byte_for_byte_through_reloads_of_their_listeners(echo_port):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    upstream = f"127.0.0.1:{echo_port}"
    listeners = {
        "raw": listener("tcp", f"tcp://{upstream}", heartbeat=QUIET),
        "chat": listener("ws", f"ws://{upstream}", heartbeat={**QUIET, "ping": "off"}),
        "odd": listener("tcp", f"tcp://{upstream}", heartbeat=QUIET),
        "extra-0": listener("tcp", f"tcp://{upstream}"),
    }
    with Sidebeat(listeners) as sidebeat:
        descriptors = len(os.listdir(f"/proc/{sidebeat.pid}/fd"))
        said = asyncio.run(churn(sidebeat, upstream))
        until(lambda: sidebeat.metric("streams_active") == 0, 30)
        print(f"{STREAMS} streams said {said} bytes through {RELOADS} reloads")
        assert said >= STREAMS * 2 * 126
        # Nothing of a listener that is gone stays: neither a socket nor what it kept in reserve.
        until(lambda: len(os.listdir(f"/proc/{sidebeat.pid}/fd")) <= descriptors + 4, what="descriptors come back")


def test_an_address_goes_from_a_listener_to_another_of_another_name(app):
    with Sidebeat({"old": listener("ws", app.url())}) as sidebeat:
        at = sidebeat.at("old")
        outer, inner = open_ws(sidebeat, app, "old")
        with outer, inner:
            reloaded(sidebeat, {"new": listener(url("ws", at[1]), app.url())})
            assert outer.read_close() == (1012, "drain"), "a removed listener drains"
        sidebeat.addresses["new"] = sidebeat.addresses["old"]
        for pair in [open_ws(sidebeat, app, "new")]:
            with pair[0], pair[1]:
                echo_ws(*pair)
                assert sidebeat.metric("streams_active", listener="new") == 1


def test_a_moved_listener_keeps_its_streams_and_leaves_its_old_address(app):
    with Sidebeat({"main": listener("tcp", app.url("tcp"))}) as sidebeat, socket.create_server(("127.0.0.1", 0)) as free:
        at = sidebeat.at()
        outer, inner = open_tcp(sidebeat, app)
        new = free.getsockname()[1]
        free.close()
        with outer, inner:
            reloaded(sidebeat, {"main": listener(url("tcp", new), app.url("tcp"))})
            echo_tcp(outer, inner)
            later, its_end = Client(("127.0.0.1", new)), app.accept()
            with later, its_end:
                echo_tcp(later, its_end)
                assert sidebeat.metric("streams_active", listener="main") == 2

        def closed():
            try:
                Client(at).close()
            except ConnectionRefusedError:
                return True

        until(closed, what="nobody listens where it was")


def test_an_address_widens_over_itself(app):
    with Sidebeat({"main": listener("tcp", app.url("tcp"))}) as sidebeat:
        at = sidebeat.at()
        outer, inner = open_tcp(sidebeat, app)
        for host in ("0.0.0.0", "[::]", "127.0.0.1"):
            reloaded(sidebeat, {"main": listener(url("tcp", at[1], host), app.url("tcp"))})
            later, its_end = open_tcp(sidebeat, app)
            with later, its_end:
                echo_tcp(later, its_end)
        with outer, inner:
            echo_tcp(outer, inner)


def test_streams_of_a_listener_that_speaks_another_protocol_now_stay(app):
    with Sidebeat({"main": listener("tcp", app.url("tcp"))}) as sidebeat:
        outer, inner = open_tcp(sidebeat, app)
        with outer, inner:
            reloaded(sidebeat, {"main": listener(url("ws", sidebeat.at()[1]), app.url("ws"))})
            for pair in [open_ws(sidebeat, app)]:
                with pair[0], pair[1]:
                    echo_ws(*pair)
                    echo_tcp(outer, inner)
                    assert sidebeat.metric("streams_active", listener="main") == 2


def test_what_cannot_be_bound_changes_nothing(app):
    with Sidebeat({"main": listener("tcp", app.url("tcp"))}) as sidebeat, socket.create_server(("127.0.0.1", 0)) as other:
        at = sidebeat.at()
        outer, inner = open_tcp(sidebeat, app)
        taken = url("tcp", other.getsockname()[1])
        listeners = {
            "main": listener(url("tcp", at[1]), app.url("tcp"), limits={"streams": 1}),
            "second": listener("tcp", app.url("tcp")),
            "third": listener(taken, app.url("tcp")),
        }
        status, answer = reload(sidebeat, listeners)
        assert status >= 400 and taken.removeprefix("tcp://") in json.dumps(answer), answer
        shown = json.loads(sidebeat.get("/v1/config")[2])
        assert list(shown["listeners"]) == ["main"] and shown["listeners"]["main"]["limits"]["streams"] == 100000
        with outer, inner:
            echo_tcp(outer, inner)
            later, its_end = open_tcp(sidebeat, app)
            with later, its_end:
                echo_tcp(later, its_end)
        # Nor is anybody let in on sockets that were bound for nothing.
        assert sidebeat.metric("config_last_reload_successful") == 0
        assert list(json.loads(sidebeat.get("/v1/status")[2])["listeners"]) == ["main"]


def test_the_openings_of_a_removed_listener_end_with_it(app):
    """The stream that is being opened while its listener goes away is drained as well."""
    with Sidebeat({"old": listener("ws", app.url()), "stays": listener("ws", app.url())}) as sidebeat:
        late = Client(sidebeat.at("old"))
        late.open()
        inner = app.accept()
        head = inner.read_head()
        reloaded(sidebeat, {"stays": {**sidebeat.config["listeners"]["stays"], "listen": url("ws", sidebeat.at("stays")[1])}})
        accept = accept_of(head.one("sec-websocket-key"))
        inner.send(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode())
        with late, inner:
            late.opened()
            assert late.read_close() == (1012, "drain")
        until(lambda: sidebeat.metric("streams_active", listener="old") == 0)
