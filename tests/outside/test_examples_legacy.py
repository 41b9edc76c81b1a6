"""examples/legacy: apps without heartbeats, each behind sidebeat, each started by its one command."""

import filecmp
import re
import struct
import urllib.error
import urllib.request

import pytest

from harness.demo import EXAMPLES, Demo, copy
from harness.wait import until
from harness.wire import CLOSE, PING, Client, Ended

LEGACY = EXAMPLES / "legacy"
APPS = ["node", "php", "python"]
RECEIVERS = {"node": "receiver.js", "php": "receiver.php", "python": "receiver.py"}
PUSHED = {"node": "carla got: lunch", "php": "carla got: lunch", "python": 'carla got: {"type": "push", "text": "lunch'}


def record(text):
    return struct.pack(">I", len(text) + 4) + text.encode()


def enter(app, port, name):
    """A client of the test's own, which answers nothing by itself."""
    wire = Client(("127.0.0.1", port))
    if app == "node":
        wire.open(f"/?key=key-{name}")
        wire.opened()
    elif app == "php":
        wire.send(f"{name}\n".encode())
    else:
        wire.send(record(f'{{"type":"login","name":"{name}","password":"two"}}'))
    return wire


def heartbeats(app, wire):
    """Counts what it is asked without answering, until the connection ends."""
    asked = 0
    try:
        while True:
            if app == "node":
                got = wire.read_frame(30)
                if got.opcode == CLOSE:
                    assert got.payload[2:] == b"client_idle"
                    return asked
                asked += got.opcode == PING
            elif app == "php":
                asked += wire.read_until(b"\n", 30) == b"ping\n"
            else:
                asked += wire.read(int.from_bytes(wire.read(4, 30)) - 4, 30) == b'{"type":"ping"}'
    except Ended:
        return asked


@pytest.mark.parametrize("app", APPS)
def test_a_dead_client_goes_offline_and_a_live_one_stays(app, tmp_path):
    folder = copy(f"legacy/{app}", tmp_path)
    with Demo(folder, "./run") as demo:
        demo.find("Ctrl-C ends it")
        listed = re.findall(r"^  (\w+) (online|offline \(\w+\))$", demo.text(), re.MULTILINE)
        everybody = [(name, "online") for name in ("anna", "ben", "carla", "dora")]
        assert listed == everybody + [("anna", "online"), ("ben", "online"), ("carla", "online"), ("dora", "offline (client_idle)")]
        assert f'  {{"matched":1,"done":1,"failed":0}}\n  {PUSHED[app]}' in demo.text()

        # The same by a client that the example does not know: it is asked, does not answer, and is listed as offline.
        port, list_url = int(demo.find(r"sidebeat before it 127.0.0.1:(\d+)")), demo.find(r"http://\S+/online")
        http = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def online():
            return http.open(list_url, timeout=10).read().decode().splitlines()

        stranger = enter(app, port, "ben")
        # Ben, who is dead, and Ben, who has come back.
        until(lambda: online().count("ben online") == 2, within=10, what="the second Ben")
        assert heartbeats(app, stranger) >= 2
        until(lambda: online() == ["anna online", "ben offline (client_idle)", "ben online", "carla online", "dora offline (client_idle)"], within=10)


@pytest.mark.parametrize("app", APPS)
def test_nobody_forges_a_hook(app, tmp_path):
    folder = copy(f"legacy/{app}", tmp_path)
    with Demo(folder, "./run") as demo:
        url = demo.find(r"(http://\S+)/online") + "/_sidebeat"
        request = urllib.request.Request(url, data=b'{"data":{}}', headers={"webhook-id": "x", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10)
        assert refused.value.code == 401


def test_each_app_checks_signatures_with_the_tested_receiver():
    assert sorted(path.name for path in LEGACY.iterdir()) == APPS
    for app, name in RECEIVERS.items():
        assert filecmp.cmp(LEGACY / app / name, EXAMPLES / "receivers" / name, shallow=False)
