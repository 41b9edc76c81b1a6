"""Clients that people use hold a compressed conversation with an app while the proxy pings them five times a second."""

import os

import pytest

from harness.clients import PROGRAMS, Echo, converse
from harness.sidebeat import Sidebeat, listener
from harness.wait import until

SECONDS = float(os.environ.get("SIDEBEAT_TEST_TALK_SECONDS", "60"))
INTERVAL = 0.2
PINGS = {"ping": {"interval": "200ms", "when": "always"}}


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("client", PROGRAMS)
def test_a_compressed_conversation_under_pings_is_byte_for_byte(client, scheme, authority):
    tls = {"tls": authority.tls()} if scheme == "wss" else {}
    with Echo() as app:
        with Sidebeat({"main": listener(scheme, f"ws://127.0.0.1:{app.port}", heartbeat=PINGS, **tls)}) as sidebeat:
            told = converse(client, sidebeat.url(), authority.ca_file, SECONDS)
            seen = app.told()
            sidebeat.wait_closed(client_close=1)

            assert (seen["messages"], seen["bytes"], seen["error"], seen["code"]) == (told["messages"], told["bytes"], None, 1000)
            assert told["messages"] > SECONDS, "too little was said to prove anything"
            assert client in ("chromium", "aiohttp") or told["fragmented"] > 0

            assert "deflate" in told["extensions"] and "permessage-deflate" in seen["extensions"], (told, seen)
            passed = sidebeat.metric("stream_bytes_total", **{"from": "client"})
            assert passed < 0.9 * told["bytes"], "what went through was not compressed"

            # A pong whose token is not one of the last four is the app's: a client that is busy for longer answers to it.
            sent = sidebeat.metric("pings_sent_total", to="client")
            until(lambda: sidebeat.metric("pongs_received_total", **{"from": "client"}) > 0)
            answered = sidebeat.metric("pongs_received_total", **{"from": "client"}) + seen["pongs"]
            assert sent >= SECONDS / INTERVAL / 2, sent
            # Those that were on their way when the client closed have no answer.
            assert sent - 4 <= answered <= sent, (sent, answered)
            assert client in ("websockets", "aiohttp") or seen["pings"] == 0, "a ping of the proxy's reached the app"
