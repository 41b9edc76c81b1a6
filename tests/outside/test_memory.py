"""Memory stays bounded though clients never read and the app sends on.

SIDEBEAT_TEST_DEAF=1000 SIDEBEAT_TEST_DEAF_SECONDS=60 is the long form.
"""

import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import time

import pytest

from harness.sidebeat import Sidebeat, listener
from harness.wait import until
from harness.wire import Client, echo_ws, open_ws

HERE = pathlib.Path(__file__).resolve().parent
DEAF = int(os.environ.get("SIDEBEAT_TEST_DEAF", "100"))
SECONDS = float(os.environ.get("SIDEBEAT_TEST_DEAF_SECONDS", "2"))
KIB = 1024

# One read of 64 KiB that the client does not take, and what the allocator makes of it; inside TLS also what the session holds of it, of which
# plaintext and records are bounded by 64 KiB each.
BOUND = {"ws": 96 * KIB, "wss": 192 * KIB}


@pytest.fixture
def flood():
    """An app that sends without end: a function that asks how far it got, and its port."""
    app = subprocess.Popen([sys.executable, "-m", "harness.flood"], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask():
        app.stdin.write("\n")
        app.stdin.flush()
        return json.loads(app.stdout.readline())

    ask.port = json.loads(app.stdout.readline())["port"]
    yield ask
    app.kill()
    app.wait()
    app.stdin.close()
    app.stdout.close()


def memory(sidebeat, what):
    """VmRSS (now) or VmHWM (the most so far) in bytes."""
    status = pathlib.Path(f"/proc/{sidebeat.pid}/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+) kB", status)[1]) * KIB


def deaf(sidebeat, name, tls):
    """A client that has its 101 and reads nothing more of its socket."""
    client = Client(sidebeat.at(name), tls=tls)
    client.open()
    # To the letter: whatever TLS decrypts beyond it is not asked for again.
    head = client.socket.recv(1)
    while not head.endswith(b"\r\n\r\n"):
        head += client.socket.recv(1)
    assert b" 101 " in head.splitlines()[0]
    return client


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_clients_that_never_read_cost_no_more_than_one_read_each(scheme, flood, app, authority):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    tls = {"tls": authority.tls()} if scheme == "wss" else {}
    client_tls = authority.client() if scheme == "wss" else None
    heartbeat = {"idle_limit": "off", "ping": "off", "stall_limit": "off"}
    listeners = {
        "deaf": listener(scheme, f"ws://127.0.0.1:{flood.port}", heartbeat=heartbeat, **tls),
        "other": listener("ws", app.url()),
    }
    with Sidebeat(listeners, workers=2) as sidebeat:
        warm = deaf(sidebeat, "deaf", client_tls)
        until(lambda: flood()["blocked"] == 1, 20)
        before = memory(sidebeat, "VmRSS")
        clients = [deaf(sidebeat, "deaf", client_tls) for _ in range(DEAF)]
        until(lambda: flood()["blocked"] == DEAF + 1, 120, every=0.2, what="nothing is taken any more")
        end = time.monotonic() + SECONDS
        taken = flood()["taken"]
        while time.monotonic() < end:
            told = flood()
            assert told["open"] == DEAF + 1, told
            time.sleep(0.2)
        per_stream = (memory(sidebeat, "VmHWM") - before) / DEAF
        print(f"{scheme}: {DEAF} clients, {per_stream / KIB:.1f} KiB each; {taken >> 20} MiB taken by sockets, {flood()['taken'] - taken} bytes more in {SECONDS} s")
        assert per_stream < BOUND[scheme], f"{per_stream / KIB:.1f} KiB each"
        # Whoever reads is served as ever.
        pair = open_ws(sidebeat, app, "other")
        with pair[0], pair[1]:
            echo_ws(*pair)
        for client in [warm, *clients]:
            client.close()
        until(lambda: sidebeat.metric("streams_active") == 0, 30)
