"""A pod with a thousand clients ends as a kubelet ends it, and each client is asked to come back, one after the other."""

import asyncio
import collections
import sys

import pytest
from harness import charts
from harness import netns as networks
from harness.crowd import Member
from harness.hooks import SECRET, Hooks
from harness.pod import Pod
from harness.wait import until

STREAMS = 1000
# Short, so that the test is; the wait of the app and the grace period follow from it in the chart.
DRAIN = {"delay": "1s", "spread": "8s", "hook_flush": "5s"}


class Hall(Pod):
    """A pod whose app is two processes in its network: the crowd's, and the receiver of hooks in this process."""

    def __enter__(self):
        super().__enter__()
        self.hooks = Hooks(netns=self.network.middle, port=2347)
        self.hooks.__enter__()
        return self

    def __exit__(self, kind, error, trace):
        self.hooks.__exit__(kind, error, trace)
        super().__exit__(kind, error, trace)


async def farewells(at, network, opened, delete):
    """Opens all streams, lets `delete` run, and returns what each client saw: [(code, reason, instant)]."""
    gate = asyncio.Semaphore(50)

    async def one():
        async with gate:
            member = await Member.open(at, "/chat")
        opened.append(member)
        return await member.farewell()

    with networks.inside(network):
        clients = [asyncio.create_task(one()) for _ in range(STREAMS)]
        while len(opened) < STREAMS:
            await asyncio.sleep(0.05)
            for client in clients:
                assert not client.done() or client.exception() is None, client.exception()
    ended = asyncio.get_running_loop().run_in_executor(None, delete)
    seen = await asyncio.gather(*clients)
    return seen, await ended


@pytest.mark.root
def test_a_thousand_clients_see_nothing_but_1012_and_no_hook_is_missing():
    values = {
        "tls": {"secretName": ""},
        "config": {
            "listeners": {"chat": {"listen": "ws://0.0.0.0:8080"}},
            "drain": DRAIN,
        },
    }
    objects = charts.helm(charts.WORKERMAN, {"sidebeat": values})
    files = {each["metadata"]["name"]: each["data"] for each in objects.of("ConfigMap")}
    app = [sys.executable, "-m", "harness.crowd", "app", "port=2346"]
    (container,) = objects.pod["containers"]
    wait = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert (wait, objects.pod["terminationGracePeriodSeconds"]) == (14, 29), "1s + 8s + 5s; that and 10s for the app, and five to spare"

    with Hall(objects.pod, {**files, "chat-sidebeat-hook": {"key": SECRET}}, {"app": app}) as pod:
        pod.start()
        until(lambda: "port" in pod.log("app"), 20, what="the app")
        seen, codes = asyncio.run(farewells((pod.address, 8080), pod.clients, [], pod.delete))
        log = pod.log("sidebeat")

    begun = pod.at("sidebeat: preStop")
    assert collections.Counter((code, reason) for code, reason, _ in seen) == {(1012, "drain"): STREAMS}

    # In the order of the kubelet, and in time: nobody was killed.
    order = [what for _, what in sorted(pod.timeline)]
    assert [what for what in order if "SIGKILL" in what] == []
    wanted = ["sidebeat: preStop ended with 0", "app: SIGTERM", "app: gone", "sidebeat: SIGTERM", "sidebeat: gone"]
    assert [what for what in order if what in wanted] == wanted
    assert codes["sidebeat"] == 0, log[-3000:]

    # Served for `delay`, then spread: no tenth of the spread has more than its share and a half.
    instants = sorted(instant for _, _, instant in seen)
    assert begun + 0.9 <= instants[0] and instants[-1] <= pod.at("app: SIGTERM")
    tenths = collections.Counter(min(9, int((instant - instants[0]) / 0.8)) for instant in instants)
    assert max(tenths.values()) <= STREAMS * 0.15, sorted(tenths.items())
    assert len(tenths) == 10

    # Each end was told while the app was still there to hear it, once.
    closed = [got for got in pod.hooks.events if got.event["type"] == "sidebeat.stream.closed"]
    assert len({got.event["id"] for got in closed}) == len(closed) == STREAMS
    assert {got.event["data"]["reason"] for got in closed} == {"drain"}
    assert max(got.at for got in closed) < pod.at("app: SIGTERM")
