"""Faults of the network, on real processes: in each of them the live go on, the dead are closed on time, and all are accounted for.

SIDEBEAT_TEST_LONG=1 is the long form, of some minutes: more streams, longer faults, and every share of lost packets on both sides.
"""

import pytest

from harness.relay import Relay
from harness.wait import until
from harness.wire import Client, frame
from harness.world import EACH, LONG, PATIENCE, World

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

IDLE = 5
# Who is asked, where the fault is (the far app is alone on its host), and what it is to be called.
CLIENT = {"heartbeat": {"idle_limit": f"{IDLE}s"}}
APP = {"heartbeat": {"idle_limit": "1m", "upstream_ping": "500ms", "upstream_idle_limit": f"{IDLE}s"}}
SIDES = {"client": (CLIENT, "far", "near", "client_idle"), "app": (APP, "app", "far", "upstream_idle")}
# Where nobody is to run into a limit: packets that TCP sends again come late, but come, and a busy machine lets a client wait.
# Whose packets are lost for some seconds is silent for twice as long, since TCP waits twice as long before each further try.
LIMIT = "3m" if LONG else "30s"
PATIENT = {
    "client": {"heartbeat": {"idle_limit": LIMIT}},
    "app": {"heartbeat": {"idle_limit": "5m", "upstream_ping": "500ms", "upstream_idle_limit": LIMIT}},
}


def unharmed(world):
    """Everybody lives, new ones are served, and whoever went then said goodbye."""
    world.everybody_lives()
    world.works()
    assert set(world.settle()) == {"client_close"}


both_sides = pytest.mark.parametrize("side", SIDES)


@both_sides
def test_blackhole(side, tmp_path):
    """Packets vanish: whoever is behind the hole is closed on time and called by its name, and nobody else is."""
    settings, host, app, reason = SIDES[side]
    with World(tmp_path, **settings) as world:
        world.fill(app)
        world.net.vanish(host)
        world.under()
        until(lambda: world.sidebeat.closed().get(reason) == 4 * EACH, IDLE + PATIENCE, what="the dead are closed")
        assert world.sidebeat.closed() == {reason: 4 * EACH}
        assert world.net.dropped(host) > 0
        world.net.heal(host)
        # A client that only waits for its answer cannot know of it.
        until(lambda: side == "client" or world.far.report()["open"] == 0, PATIENCE, what="those behind whom the app is gone are told")
        world.works()
        assert world.settle()[reason] == 4 * EACH
        assert len(world.lateness_ms) == 4 * EACH and world.on_time(), world.lateness_ms


@pytest.mark.parametrize("side, percent", [(side, percent) for side in SIDES for percent in (1, 10, 30) if LONG or side == "client" or percent == 10])
def test_lost_packets(side, percent, tmp_path):
    """TCP sends again what is lost: everybody lives, and every byte arrives."""
    _, host, app, _ = SIDES[side]
    with World(tmp_path, **PATIENT[side]) as world:
        world.fill(app)
        world.net.lose(host, percent)
        world.under()
        until(lambda: world.net.dropped(host) > 0, PATIENCE, what="lost packets")
        world.net.heal(host)
        unharmed(world)


@both_sides
def test_late_packets_in_another_order(side, tmp_path):
    """Half a second each way, and of two packets the later one may come first."""
    _, host, app, _ = SIDES[side]
    with World(tmp_path, far_app=Relay.address if side == "app" else None, **PATIENT[side]) as world, Relay(world.net, host) as relay:
        world.fill(app, Relay.gateway if side == "client" else None)
        relay.delay, relay.jitter = 0.5, 0.2
        world.under()
        until(lambda: relay.overtaken > 10, PATIENCE, what="packets that come before an earlier one")
        world.far.talks()
        relay.delay = relay.jitter = 0.0
        unharmed(world)


@both_sides
def test_small_packets(side, tmp_path):
    """The path takes no more than the smallest packet that IPv4 promises (RFC 791), from one moment to the next."""
    _, host, app, _ = SIDES[side]
    with World(tmp_path, **PATIENT[side]) as world:
        world.fill(app)
        world.net.mtu(host, 576)
        world.under()
        unharmed(world)


@both_sides
def test_resets(side, tmp_path):
    """Something on the path resets whatever passes."""
    _, host, app, _ = SIDES[side]
    gone = "client_gone" if side == "client" else "upstream_gone"
    with World(tmp_path, **PATIENT[side]) as world:
        world.fill(app)
        world.net.reset(host)
        until(lambda: world.sidebeat.closed() == {gone: 4 * EACH}, PATIENCE, what="everybody on the path is reset")
        world.under()
        world.net.heal(host)
        world.works()
        assert world.settle()[gone] == 4 * EACH


HEAD = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"


def storm(world, count):
    """Connections that are reset in every state that they can be in; how many of them were streams."""
    streams = 0
    for number in range(count):
        with Client((world.net.gateway["far"], world.sidebeat.at("ws-near")[1]), netns=world.net.outer["far"]) as client:
            client.send((b"", HEAD, HEAD + b"Sec-WebSocket-Version: 13\r\n\r\n")[min(number % 5, 2)])
            if number % 5 > 2:
                assert client.read_head(PATIENCE).status == 101
                client.send(frame(2, bytes(1000), masked=True)[: 1008 if number % 2 else 500])
                streams += 1
            client.reset()
    return streams


def test_a_storm_of_resets(tmp_path):
    """Clients that go by RST before, in and after their opening and in mid-frame, one after the other without a pause."""
    with World(tmp_path, **PATIENT["client"]) as world:
        world.fill("near")
        streams = storm(world, 2000 if LONG else 200)
        world.under()
        world.everybody_lives()
        world.works()
        told = world.settle()
        assert set(told) <= {"client_close", "client_gone"}
        # Those that went right behind their opening may have become streams, too.
        assert streams <= told["client_gone"] <= 1.5 * streams + 1, (streams, told)
