"""What the hooks tell while all goes well and while the receiver does not take it: every kind of event, order, and the end of the process."""

import json
import time

from harness.sidebeat import Sidebeat, listener
from harness.wait import holds, until
from harness.wire import open_ws

KINDS = ["opened", "closed", "overdue", "started", "draining"]


def told(hooks, kind):
    """The data of the events of a kind, in the order in which they came."""
    return [got.event["data"] for got in hooks.events if got.event["type"].split(".")[-1] == kind]


def bind(sidebeat, stream, uid):
    body = json.dumps({"uid": uid}).encode()
    status, _, answer = sidebeat.get(f"/v1/streams/{stream}", method="PATCH", body=body, headers={"content-type": "application/json"})
    assert status == 200, answer


def test_every_kind_of_event_comes_with_its_fields(app, hooks, tmp_path):
    chat = listener("ws", app.url(), heartbeat={"idle_limit": "1s", "ping": "off", "close_timeout": "1s"})
    watched = {**chat, "heartbeat": {**chat["heartbeat"], "mode": "observe"}}
    with Sidebeat({"chat": chat, "watched": watched}, hooks=hooks.config(tmp_path, KINDS)) as sidebeat:
        until(lambda: told(hooks, "started"), 5)
        assert told(hooks, "started")[0]["recovered"] == 0
        alice = [("Sidebeat-Uid", "alice")]
        kept = open_ws(sidebeat, app, "watched", app_headers=alice)
        silent = open_ws(sidebeat, app, "chat", app_headers=alice)
        until(lambda: told(hooks, "closed"), 5)
        (closed,) = told(hooks, "closed")
        assert (closed["reason"], closed["by"], closed["uid"], closed["uid_streams_left"]) == ("client_idle", "sidecar", "alice", 1)
        assert closed["lateness_ms"] >= 0 and closed["idle_limit_ms"] == 1000 and closed["close_code"] == 1001
        until(lambda: told(hooks, "overdue"), 5)
        (overdue,) = told(hooks, "overdue")
        assert (overdue["reason"], overdue["listener"], overdue["uid"]) == ("client_idle", "watched", "alice")
        assert sidebeat.stop() == 0
        (draining,) = told(hooks, "draining")
        assert draining["streams"] == 1
        last = told(hooks, "closed")[-1]
        assert (last["reason"], last["uid_streams_left"], last["lateness_ms"]) == ("drain", 0, None)
        assert len(told(hooks, "opened")) == len(told(hooks, "closed")) == 2
        sequences = [got.event["sequence"] for got in hooks.events]
        assert len(set(sequences)) == len(sequences) == 7 and {len(sequence) for sequence in sequences} == {len(sequences[0])}
        assert kept and silent


def test_a_uid_that_was_bound_late_still_orders_its_events(app, hooks, tmp_path):
    """The `opened` of a new stream waits for the `closed` of one that got the same uid after it had opened; others do not wait."""
    hooks.status = 503
    with Sidebeat({"main": listener("ws", app.url())}, hooks=hooks.config(tmp_path, ["opened", "closed"])) as sidebeat:
        first = open_ws(sidebeat, app)
        until(lambda: told(hooks, "opened"), 5)
        stream = told(hooks, "opened")[0]["id"]
        bind(sidebeat, stream, "42")
        first[0].reset()
        first[1].end()
        sidebeat.wait_closed(client_gone=1)
        second = open_ws(sidebeat, app, app_headers=[("Sidebeat-Uid", "42")])
        other = open_ws(sidebeat, app, app_headers=[("Sidebeat-Uid", "7")])
        until(lambda: {data["uid"] for data in told(hooks, "opened")} == {None, "7"}, 5, what="the opened of another uid")
        holds(lambda: not told(hooks, "closed"), 1, what="nothing of the uid passes the event that fails")
        hooks.status = 204
        sidebeat.wait_metric(0, "hook_queue_events", within=20)
        mine = [(got.event["type"].split(".")[-1], got.event["partitionkey"]) for got in hooks.events if got.event["partitionkey"] != "7"]
        assert mine[-2:] == [("closed", "42"), ("opened", "42")] and set(mine[:-2]) == {("opened", stream)}
        assert second and other


def test_what_is_lost_at_the_end_is_an_exit_code(app, hooks, tmp_path):
    hooks.status = 503
    drain = {"delay": "off", "spread": "off", "hook_flush": "1s"}
    with Sidebeat({"main": listener("ws", app.url())}, hooks=hooks.config(tmp_path), drain=drain) as sidebeat:
        outer, inner = open_ws(sidebeat, app)
        outer.reset()
        inner.end()
        sidebeat.wait_closed(client_gone=1)
        until(lambda: hooks.events, 5)
        asked = time.monotonic()
        assert sidebeat.stop() == 1
        assert time.monotonic() - asked >= 1, "hook_flush was waited for"
