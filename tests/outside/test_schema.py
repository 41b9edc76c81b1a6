"""The API does what its own description says, whatever is sent to it."""

import json
import os
import pathlib
import re
import subprocess
import sys
import threading

import pytest

from harness.sidebeat import Sidebeat, listener
from harness.wire import Client

BIN = pathlib.Path(sys.executable).parent
HERE = pathlib.Path(__file__).resolve().parent

# Cases for each call and phase; the tool's own work is what takes the time.
EXAMPLES = os.environ.get("SIDEBEAT_TEST_EXAMPLES", "25")

# No schema can say "one of these parameters at least", and a broadcast to nobody in particular has to be refused.
# A schema cannot count bytes either, or the tags that a stream has already.
# A call that closes over nine hours takes nine hours. A stream that one call has closed is 410 to the next.
CONFIG = """
[[operations]]
include-operation-id = "closeStreams"
parameters = { "query.spread" = "50ms" }
checks.positive_data_acceptance.expected-statuses = ["2xx", "400"]

[[operations]]
include-path-regex = "^/v1/streams/.id."
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "410", "5xx"]

[[operations]]
include-operation-id = "sendToStreams"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400"]
"""


class Regular:
    """A client that answers pings, and comes back when its stream is ended."""

    def __init__(self, at):
        self.at = at
        self.stopped = False
        self.thread = threading.Thread(target=self.live, daemon=True)
        self.thread.start()

    def live(self):
        while not self.stopped:
            try:
                with Client(self.at) as wire:
                    wire.open("/?uid=42")
                    wire.opened()
                    while True:
                        wire.read_message(3600)
            except (AssertionError, OSError):
                pass

    def stop(self):
        self.stopped = True


def fuzz(sidebeat, tmp_path, operations, config=""):
    """Runs it on these operations, or on all but those of `-`."""
    path = tmp_path / "schemathesis.toml"
    path.write_text(config + CONFIG)
    url = "http://%s:%d/openapi.json" % sidebeat.at("admin")
    chosen = [word for name in operations for word in (["--exclude-operation-id", name[1:]] if name[0] == "-" else ["--include-operation-id", name])]
    command = [BIN / "schemathesis", "--config-file", path, "run", url, *chosen, "--continue-on-failure", "--generation-deterministic"]
    command += ["--no-color", "--max-examples", EXAMPLES, "--request-timeout", "60"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1200)
    assert run.returncode == 0, run.stdout[-10000:] + run.stderr[-2000:]
    return int(re.search(r"Tested: (\d+)", run.stdout).group(1))


@pytest.mark.timeout(1800)
def test_nothing_is_found_by_schemathesis(app_process, tmp_path):
    chat = listener("ws", f"ws://127.0.0.1:{app_process}", identity=[{"query": "uid"}])
    with Sidebeat({"chat": chat}) as sidebeat:
        regulars = [Regular(sidebeat.at("chat")) for _ in range(4)]
        sidebeat.wait_metric(4, "streams_active")
        stream = json.loads(sidebeat.get("/v1/streams")[2])["items"][0]["id"]
        known = f'parameters = {{ "path.id" = "{stream}" }}\n'
        assert fuzz(sidebeat, tmp_path, ["getStream", "changeStream", "sendToStream", "pingStream"], known) == 4
        assert sidebeat.get(f"/v1/streams/{stream}")[0] == 200, "it was a stream that lived"
        assert fuzz(sidebeat, tmp_path, ["getStream", "closeStream"], known) == 2
        # An endless answer would only run into the tool's own limit, and a drain refuses what others need.
        assert fuzz(sidebeat, tmp_path, ["-watchEvents", "-drain"]) == 13
        assert sidebeat.metric("streams_closed_total", reason="admin_close") > 4, "it reached streams that came back"
        for regular in regulars:
            regular.stop()
        assert fuzz(sidebeat, tmp_path, ["drain", "status"]) == 2
