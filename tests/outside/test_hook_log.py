"""state_dir: what the hooks are told across crashes, on a full disk, and when the directory is not ours."""

import contextlib
import json
import os
import signal
import stat
import subprocess

import pytest

from harness.sidebeat import Sidebeat, binary, listener
from harness.wait import until
from harness.wire import open_tcp

EVENTS = ["opened", "closed", "started"]
# A user who has a limit of processes, as root has not, and may open what is root's.
RIGHTS = "-all,+dac_override,+fowner"
LIMITED = ("setpriv", "--reuid=54321", "--clear-groups", f"--bounding-set={RIGHTS}", f"--inh-caps={RIGHTS}", f"--ambient-caps={RIGHTS}")


def run(app, hooks, tmp_path, state_dir):
    config = hooks.config(tmp_path, EVENTS)
    return Sidebeat({"main": listener("tcp", app.url("tcp"))}, hooks=config, state_dir=str(state_dir))


def distinct(hooks, kind):
    """The events of a kind that came, each once, in the order of their first arrival."""
    return list({got.event["id"]: got.event for got in hooks.events if got.event["type"].endswith(kind)}.values())


def settled(sidebeat, within=30.0, starts=1):
    # The start is told of in one go with what was found.
    sidebeat.wait_metric(starts, "hook_events_total", type="sidebeat.proxy.started", result="delivered", within=within)
    sidebeat.wait_metric(0, "hook_queue_events", within=within)


def close(outer, inner):
    outer.reset()
    inner.end()
    inner.close()


def kill(sidebeat):
    sidebeat.kill(signal.SIGKILL)
    assert sidebeat.ended() == -signal.SIGKILL


def log_status(sidebeat):
    """The hook log as the API shows it."""
    status, _, body = sidebeat.get("/v1/status")
    assert status == 200, body
    return json.loads(body)["hook_log"]


def ctl_status(sidebeat):
    """What `sidebeat ctl status` prints."""
    host, port = sidebeat.at("admin")
    command = [binary(), "ctl", "status", "--admin", f"http://{host}:{port}"]
    return subprocess.run(command, check=True, capture_output=True, timeout=20, text=True).stdout


@contextlib.contextmanager
def small_disk(path, size):
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "sidebeat-test", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def fill(path):
    """Takes all room that is left."""
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_streams_open_when_the_process_is_killed_are_reported_by_the_next_one(app, hooks, tmp_path):
    state = tmp_path / "not" / "there"
    with run(app, hooks, tmp_path, state) as sidebeat:
        assert stat.S_IMODE(os.stat(state).st_mode) == 0o700
        open_streams = [open_tcp(sidebeat, app) for _ in range(3)]
        close(*open_streams.pop())
        until(lambda: len(distinct(hooks, ".closed")) == 1, what="the closed hook")
        until(lambda: len(distinct(hooks, ".opened")) == 3, what="the opened hooks")
        (closed,) = distinct(hooks, ".closed")
        first = next(event["subject"] for event in distinct(hooks, ".opened") if event["subject"] != closed["subject"])
        body = json.dumps({"uid": "late", "tags": ["vip"]}).encode()
        status, _, _ = sidebeat.get(f"/v1/streams/{first}", method="PATCH", body=body, headers={"content-type": "application/json"})
        assert status == 200
        settled(sidebeat)
        kill(sidebeat)
    with run(app, hooks, tmp_path, state) as sidebeat:
        settled(sidebeat)
        opened = {event["subject"] for event in distinct(hooks, ".opened")}
        closed = distinct(hooks, ".closed")
        assert len(opened) == 3 and {event["subject"] for event in closed} == opened
        crashed = [event["data"] for event in closed if event["data"]["reason"] == "sidecar_crash"]
        assert len(crashed) == len(closed) - 1 == 2
        (bound,) = [data for data in crashed if data["id"] == first]
        assert (bound["uid"], bound["uid_source"], bound["tags"]) == ("late", "api", ["vip"])
        first, second = distinct(hooks, ".started")
        assert second["data"]["recovered"] == 2
        assert first["source"].endswith(second["data"]["former_boot_id"])
        assert sidebeat.stop() == 0
    before = len(hooks.events)
    with run(app, hooks, tmp_path, state) as sidebeat:
        settled(sidebeat)
        until(lambda: len(distinct(hooks, ".started")) == 3, what="the third start")
        assert len(hooks.events) == before + 1, "something came twice after an end in good order"


def test_events_that_are_left_at_the_end_are_not_lost(app, hooks, tmp_path):
    hooks.status = 503
    with run(app, hooks, tmp_path, tmp_path / "state") as sidebeat:
        close(*open_tcp(sidebeat, app))
        sidebeat.wait_closed(client_gone=1)
        # hook_flush runs out, but nothing is lost: that is no failure.
        assert sidebeat.stop() == 0
    hooks.status = 204
    with run(app, hooks, tmp_path, tmp_path / "state") as sidebeat:
        settled(sidebeat, starts=2)
        (closed,) = distinct(hooks, ".closed")
        assert closed["data"]["reason"] == "client_gone"
        assert len(distinct(hooks, ".started")) == 2


@pytest.mark.root
def test_without_another_thread_to_be_had_the_hooks_are_told(app, hooks, tmp_path):
    config = hooks.config(tmp_path, ["opened", "closed"])
    with Sidebeat({"main": listener("tcp", app.url("tcp"))}, hooks=config, state_dir=str(tmp_path / "state"), prefix=LIMITED) as sidebeat:
        subprocess.run([*LIMITED, "prlimit", f"--pid={sidebeat.pid}", "--nproc=1:1"], check=True)
        close(*open_tcp(sidebeat, app))
        until(lambda: distinct(hooks, ".closed"), 30, what="the closed hook")
        assert len(distinct(hooks, ".opened")) == 1
        assert sidebeat.stop() == 0


@pytest.mark.root
def test_on_a_full_disk_everything_goes_on_and_the_log_is_made_up_when_there_is_room(app, hooks, tmp_path):
    with small_disk(tmp_path / "state", "2m") as state, run(app, hooks, tmp_path, state) as sidebeat:
        early = open_tcp(sidebeat, app)
        settled(sidebeat)
        assert sidebeat.metric("hook_log_failing") == 0
        fill(state / "filler")
        late = [open_tcp(sidebeat, app) for _ in range(20)]
        sidebeat.wait_metric(1, "hook_log_failing")
        sidebeat.wait_log(lambda line: "hook log cannot be written" in line.get("message", ""))
        assert log_status(sidebeat)["failing"] and "CANNOT BE WRITTEN" in ctl_status(sidebeat)
        close(*late.pop())
        settled(sidebeat)
        assert (len(distinct(hooks, ".opened")), len(distinct(hooks, ".closed"))) == (21, 1)
        os.unlink(state / "filler")
        sidebeat.wait_metric(0, "hook_log_failing")
        sidebeat.wait_log(lambda line: line.get("message") == "the hook log is written again")
        assert not log_status(sidebeat)["failing"] and "CANNOT" not in ctl_status(sidebeat)
        kill(sidebeat)
        with run(app, hooks, tmp_path, state) as again:
            settled(again)
        closed = distinct(hooks, ".closed")
        assert {event["subject"] for event in closed} == {event["subject"] for event in distinct(hooks, ".opened")}
        assert sum(event["data"]["reason"] == "sidecar_crash" for event in closed) == 20
        assert early


@pytest.mark.root
def test_a_log_that_fills_the_disk_by_itself_loses_nothing_and_makes_room_again(app, hooks, tmp_path):
    hooks.status = 503
    with small_disk(tmp_path / "state", "256k") as state, run(app, hooks, tmp_path, state) as sidebeat:
        for _ in range(200):
            close(*open_tcp(sidebeat, app))
        sidebeat.wait_metric(200, "streams_closed_total", within=10)
        sidebeat.wait_metric(1, "hook_log_failing")
        sidebeat.wait_metric(401, "hook_queue_events")
        hooks.status = 204
        settled(sidebeat, within=60)
        sidebeat.wait_metric(0, "hook_log_failing")
        assert (len(distinct(hooks, ".opened")), len(distinct(hooks, ".closed"))) == (200, 200)
        assert sidebeat.metric("hook_events_total", result="dropped") == 0
        last = open_tcp(sidebeat, app)
        until(lambda: len(distinct(hooks, ".opened")) == 201, what="the last opened hook")
        kill(sidebeat)
        with run(app, hooks, tmp_path, state) as again:
            settled(again)
        assert [event["data"]["reason"] for event in distinct(hooks, ".closed")][200:] == ["sidecar_crash"]
        assert last


def test_damage_costs_its_record_and_is_shown(app, hooks, tmp_path):
    state = tmp_path / "state"
    hooks.status = 503
    with run(app, hooks, tmp_path, state) as sidebeat:
        assert log_status(sidebeat)["skipped_bytes"] == 0
        for path in range(3):
            close(*open_tcp(sidebeat, app))
            sidebeat.wait_closed(client_gone=path + 1)
        assert sidebeat.stop() == 0
    log = state / "hooks.log"
    content = bytearray(log.read_bytes())
    subjects = [event["subject"] for event in distinct(hooks, ".opened")]
    assert len(subjects) == 3
    # Within the first record of the second stream.
    content[content.index(subjects[1].encode()) + 3] ^= 1
    log.write_bytes(content)
    hooks.status = 204
    with run(app, hooks, tmp_path, state) as sidebeat:
        line = sidebeat.wait_log(lambda line: "the hook log is damaged" in line.get("message", ""))
        sidebeat.wait_metric(0, "hook_queue_events", within=30)
        told = log_status(sidebeat)
        assert line["bytes"] == told["skipped_bytes"] == sidebeat.metric("hook_log_skipped_bytes_total") > 0
        assert f"{told['skipped_bytes']} DAMAGED bytes skipped" in ctl_status(sidebeat)
        closed = [got.event["subject"] for got in hooks.events if got.event["type"].endswith(".closed")]
        assert {subjects[0], subjects[2]} <= set(closed), "the good records before and behind the damage"


def refused(sidebeat):
    """The exit code and the log of a process that does not start."""
    process = subprocess.run(sidebeat.command, env=sidebeat.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, text=True)
    return process.returncode, process.stdout + process.stderr


def test_a_second_process_on_the_directory_does_not_start(app, hooks, tmp_path):
    with run(app, hooks, tmp_path, tmp_path / "state") as sidebeat:
        code, text = refused(run(app, hooks, tmp_path, tmp_path / "state"))
        assert code == 71 and "another process uses it" in text, text
        assert open_tcp(sidebeat, app)


@pytest.mark.parametrize("content, words", [
    (b"sidebeat hook log 2\n\x00\x01", "format version 2"),
    (b"dear diary\n", "is no hook log"),
])
def test_a_file_that_is_not_ours_is_refused_and_left_alone(app, hooks, tmp_path, content, words):
    state = tmp_path / "state"
    state.mkdir()
    (state / "hooks.log").write_bytes(content)
    code, text = refused(run(app, hooks, tmp_path, state))
    assert code == 78 and words in text, text
    assert (state / "hooks.log").read_bytes() == content


def test_hooks_without_a_state_dir_are_warned_of(app, hooks, tmp_path):
    with Sidebeat({"main": listener("tcp", app.url("tcp"))}, hooks=hooks.config(tmp_path)) as sidebeat:
        sidebeat.wait_log(lambda line: line.get("level") == "warn" and "hooks without state_dir" in line.get("message", ""))
        assert sidebeat.metric("hook_log_bytes") == 0
        assert log_status(sidebeat) is None


def test_a_new_secret_signs_without_a_restart(app, hooks, tmp_path):
    config = hooks.config(tmp_path, EVENTS)
    secret = tmp_path / "hook-secret"
    right = secret.read_text()
    secret.write_text("the one before\n")
    with Sidebeat({"main": listener("tcp", app.url("tcp"))}, hooks=config) as sidebeat:
        close(*open_tcp(sidebeat, app))
        until(lambda: hooks.faults, what="a request that the receiver does not believe")
        # Both keys sign: receivers change over one by one.
        secret.write_text("the one before\n" + right)
        sidebeat.wait_log(lambda line: line.get("message") == "reloaded", within=15)
        settled(sidebeat)
        assert set(hooks.faults) == {"the signature does not fit the body"}
        hooks.faults.clear()
