"""Faults of processes and of the machine: killed, stopped, without descriptors, memory, room on the disk, names, or the right time.

In each of them the live go on, the dead are closed on time, and all are accounted for. SIDEBEAT_TEST_LONG=1 is the long form, of some minutes.
"""

import contextlib
import pathlib
import re
import resource
import signal
import time

import pytest

from harness.burst import Burst
from harness.dns import Names
from harness.wait import until
from harness.world import EACH, HOSTS, LONG, PATIENCE, SCHEMES, World

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

IDLE = 5
ALL = 4 * EACH
HEARTBEAT = {"idle_limit": f"{IDLE}s"}
# Where nobody is to run into a limit, however busy the machine is.
PATIENT = {"idle_limit": "30s"}
ASKS_THE_APP = {"idle_limit": "1m", "upstream_ping": "500ms", "upstream_idle_limit": f"{IDLE}s"}


def closed(world, **reasons):
    until(lambda: world.sidebeat.closed() == reasons, IDLE + PATIENCE, what=f"{reasons} (now {world.sidebeat.closed()})")


def far_ended(world):
    until(lambda: world.far.report()["open"] == 0, PATIENCE, what="the far party is told")
    return world.far.report()["ended"]


def codes(ended):
    """{scheme: the codes of its Closes}."""
    return {scheme: {end["code"] for end in ended if end["scheme"] == scheme} for scheme in SCHEMES}


NO_CODE = {"tcp": {None}, "tls": {None}}


# --- processes -------------------------------------------------------------------------------------------------------


def test_a_killed_app(tmp_path):
    with World(tmp_path, heartbeat=PATIENT) as world:
        world.fill("far")
        world.apps["far"].signal(signal.SIGKILL)
        assert codes(far_ended(world)) == {"ws": {1001}, "wss": {1001}, **NO_CODE}
        world.under()
        world.sidebeat.wait_metric(ALL, "streams_closed_total", within=PATIENCE)
        # By FIN, or by RST where something was still to be read.
        assert set(world.sidebeat.closed()) <= {"upstream_gone", "upstream_close"}
        world.apps["far"].__exit__()
        world.start_app("far")
        world.works()
        world.settle()


def test_a_stopped_app(tmp_path):
    with World(tmp_path, heartbeat=ASKS_THE_APP) as world:
        world.fill("far")
        world.apps["far"].signal(signal.SIGSTOP)
        world.under()
        assert codes(far_ended(world)) == {"ws": {1001}, "wss": {1001}, **NO_CODE}
        closed(world, upstream_idle=ALL)
        world.apps["far"].signal(signal.SIGCONT)
        world.works()
        assert world.settle()["upstream_idle"] == ALL
        assert len(world.lateness_ms) == ALL and world.on_time(), world.lateness_ms


def test_killed_clients(tmp_path):
    with World(tmp_path, heartbeat=PATIENT) as world, contextlib.ExitStack() as stack:
        world.fill()
        world.far.process.signal(signal.SIGKILL)
        world.under()
        world.sidebeat.wait_metric(ALL, "streams_closed_total", within=PATIENCE)
        # A raw stream ends in good order by FIN; TLS and WebSocket have a goodbye of their own that was not said.
        assert world.sidebeat.closed()["client_gone"] >= 3 * EACH
        assert set(world.sidebeat.closed()) <= {"client_gone", "client_close"}
        world.far = world.party(stack, "far")
        world.works()
        world.settle()


def test_stopped_clients(tmp_path):
    with World(tmp_path, heartbeat=HEARTBEAT) as world:
        world.fill()
        world.far.process.signal(signal.SIGSTOP)
        world.under()
        closed(world, client_idle=ALL)
        world.far.process.signal(signal.SIGCONT)
        # The ws ones find the Close that waited for them, unless what they had to say first was answered by a reset.
        assert {scheme: found <= {1001, None} for scheme, found in codes(far_ended(world)).items()} == dict.fromkeys(SCHEMES, True)
        world.works()
        assert world.settle()["client_idle"] == ALL
        assert len(world.lateness_ms) == ALL and world.on_time(), world.lateness_ms


def come_back(world):
    """Everybody has seen the end of the process; then there is another one."""
    for party in (world.near, world.far):
        until(lambda party=party: party.report()["open"] == 0, PATIENCE, what="everybody sees the end")
        party.forget()
    world.swap_certificate(reload=False)
    world.restart()
    world.works()
    world.swap_certificate()


def test_a_killed_sidecar(tmp_path):
    """Its streams end with it; the next one tells of each of them once, and of those that had ended before."""
    with World(tmp_path, heartbeat=PATIENT) as world:
        world.fill()
        world.sidebeat.kill(signal.SIGKILL)
        assert world.sidebeat.ended() == -signal.SIGKILL
        come_back(world)
        told = world.settle(restarted=True)
        assert told["sidecar_crash"] == 2 * ALL


def test_a_stopped_sidecar(tmp_path):
    """Longer than every limit: nobody is closed for it."""
    with World(tmp_path, heartbeat=HEARTBEAT) as world:
        world.fill()
        world.sidebeat.kill(signal.SIGSTOP)
        world.swap_certificate(reload=False)
        time.sleep(IDLE + 2)  # the length of the pause is what is tested
        world.sidebeat.kill(signal.SIGCONT)
        world.everybody_lives()
        world.under()
        world.works()
        assert set(world.settle()) == {"client_close"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_receiver_that_is_gone(number, tmp_path):
    """Streams open and end as ever, and what there is to tell waits."""
    with World(tmp_path, heartbeat=PATIENT) as world:
        world.fill()
        world.receiver.process.signal(number)
        world.under()
        world.everybody_lives()
        world.far.ask(leave=True)
        closed(world, client_close=ALL)
        assert world.sidebeat.metric("hook_queue_events") >= ALL
        world.receiver.start() if number == signal.SIGKILL else world.receiver.process.signal(signal.SIGCONT)
        world.works()
        assert set(world.settle()) == {"client_close"}


# --- the machine -----------------------------------------------------------------------------------------------------


def test_256_descriptors(tmp_path):
    """As many as there is room for, the rest is refused in words, and nobody who is there suffers."""
    with World(tmp_path, heartbeat=PATIENT, prefix=("prlimit", "--nofile=256:256")) as world:
        # 256 descriptors are for 64 streams.
        world.fill(each=2)
        there = 4 * 2
        # A few at a time: more than there are descriptors for at once are closed without a word, and so may one be that others push out.
        at = ["ws", world.net.gateway["far"], world.sidebeat.at("ws-near")[1], 10]
        told = [world.far.ask(open=[at]) for _ in range(20)]
        refused = [why for each in told for why in each["refused"]]
        opened = 200 - len(refused)
        in_words = sum("503" in why for why in refused)
        assert 20 < opened < 128 and in_words >= len(refused) / 2, refused
        assert told[-1]["open"] == there + opened
        assert in_words <= world.sidebeat.rejected()["too_many_streams"] <= len(refused)
        # And all at once.
        at[-1] = 300
        more = world.far.ask(open=[at])
        assert more["open"] == there + opened and len(more["refused"]) == 300
        rejected = world.sidebeat.rejected()
        assert rejected["too_many_streams"] > in_words, rejected
        world.under()
        world.everybody_lives()
        assert world.sidebeat.metric("process_open_fds") <= 256
        world.far.ask(leave=True)
        closed(world, client_close=there + opened)
        world.works()
        assert set(world.settle()) == {"client_close"}


def test_a_full_disk(tmp_path):
    """In a mount namespace of its own: streams go on, hooks are told, and when there is room the log is whole again."""
    state = tmp_path / "state"
    state.mkdir()
    mount = 'mount -t tmpfs -o size=1m,mode=0700 sidebeat-test "$0" && exec "$@"'
    with World(tmp_path, heartbeat=PATIENT, prefix=("unshare", "--mount", "sh", "-c", mount, str(state))) as world:
        world.fill()
        filler = pathlib.Path(f"/proc/{world.sidebeat.pid}/root{state}/filler")
        with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        # Something to write.
        world.far.ask(leave=True)
        world.works()
        world.sidebeat.wait_metric(1, "hook_log_failing", within=PATIENCE)
        world.under()
        filler.unlink()
        world.far.ask(leave=True)
        world.sidebeat.wait_metric(0, "hook_log_failing", within=PATIENCE)
        world.works()
        assert set(world.settle()) == {"client_close"}


@pytest.mark.parametrize("step", ["+3600s", "-3600s"])
def test_a_step_of_the_clock(step, tmp_path):
    """The wall clock is an hour off from one moment to the next: limits do not know it, and what waits to be told is not lost."""
    (library,) = pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    clock = tmp_path / "clock"
    clock.write_text("+0s")
    fake = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1"}
    with World(tmp_path, heartbeat=HEARTBEAT, env=fake) as world:
        world.fill()
        world.receiver.process.signal(signal.SIGSTOP)
        world.far.process.signal(signal.SIGSTOP)
        clock.write_text(step)
        world.under()
        closed(world, client_idle=ALL)
        world.receiver.process.signal(signal.SIGCONT)
        world.far.process.signal(signal.SIGCONT)
        far_ended(world)
        world.works()
        clock.write_text("+0s")
        world.works()
        assert world.settle()["client_idle"] == ALL
        assert len(world.lateness_ms) == ALL and world.on_time(), world.lateness_ms


def test_no_names(tmp_path):
    """The name server falls silent: openings are refused in their time, open streams and other listeners know nothing of it."""
    with World(tmp_path, heartbeat=PATIENT, far_app="app.test", prepare=lambda world: Names(world.net.middle, world.net.address[HOSTS["far"]])) as world:
        world.fill("far")
        assert world.prepared.asked > 0
        world.prepared.silent = True
        before = time.monotonic()
        told = world.far.ask(open=[["ws", world.net.gateway["far"], world.sidebeat.at("ws-far")[1], 40]])
        assert len(told["refused"]) == 40 and all("502" in why for why in told["refused"]), told
        assert time.monotonic() - before < 2 + PATIENCE
        assert world.sidebeat.rejected() == {"upstream_unreachable": 40}
        world.under()
        world.everybody_lives()
        world.prepared.silent = False
        world.works()
        assert set(world.settle()) == {"client_close"}


def test_no_memory(tmp_path):
    """Not a page more for the process: it ends at once and in words, and the next one tells of every stream that it had."""
    with World(tmp_path, heartbeat=PATIENT) as world:
        world.fill()
        world.under()
        # Those who come only answer pings.
        world.far.ask(pace=0)
        # Of memory that may be written, that is: the heaps have reserved more than they use.
        size = int(re.search(r"VmData:\s+(\d+) kB", pathlib.Path(f"/proc/{world.sidebeat.pid}/status").read_text())[1]) << 10
        resource.prlimit(world.sidebeat.pid, resource.RLIMIT_DATA, (size, size))
        at = [["wss", world.net.gateway["far"], world.sidebeat.at("wss-near")[1], 50]]
        until(lambda: world.far.ask(open=at)["refused"], PATIENCE, what="memory runs out")
        assert world.sidebeat.ended(PATIENCE) == -signal.SIGABRT
        assert "memory allocation of" in world.sidebeat.log()
        world.far.ask(pace=0.1)
        come_back(world)
        told = world.settle(restarted=True)
        assert told["sidecar_crash"] >= 2 * ALL


@pytest.mark.parametrize("count", [9000 if LONG else 1500])
def test_thousands_of_opens_at_once(count, tmp_path):
    """As many as there are descriptors for, within a second; whoever talks goes on talking."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    patient = {"idle_limit": "2m", "ping": {"interval": "20s"}}
    with World(tmp_path, heartbeat=patient, websockets={"answer_timeout": "2m", "limits": {"handshake_timeout": "2m"}}) as world:
        world.fill()
        at = world.net.gateway["far"], world.sidebeat.at("ws-near")[1]
        burst = Burst(world.net.outer["far"], world.net.more_addresses("far", 16), at, count)
        with burst:
            print(f"{count} connections in {burst.seconds:.2f} s")
            until(burst.all_opened, 300, what="all are opened")
            print(f"all opened after {burst.opened_after:.2f} s")
            assert world.sidebeat.metric("streams_active") == 2 * ALL + count
            world.under()
            world.everybody_lives()
        closed(world, client_gone=count)
        world.works()
        assert world.settle()["client_gone"] == count
