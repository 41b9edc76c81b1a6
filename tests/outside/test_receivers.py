"""The receivers in examples/receivers: each believes what the test vectors say, and takes what sidebeat sends."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest

from harness.sidebeat import ROOT, Sidebeat, listener
from harness.wait import until
from harness.wire import open_tcp

RECEIVERS = ROOT / "examples" / "receivers"
VECTORS = json.loads((ROOT / "tests" / "cases" / "webhook-vectors.json").read_text())

# Each reads a list of cases and prints the list of verdicts.
ASK_PYTHON = """
import json, sys, receiver
print(json.dumps([receiver.verify(receiver.keys(case["secret_file"].encode()), case["id"], case["timestamp"],
    case["signature"], case["body"].encode(), case["now"]) for case in json.load(sys.stdin)]))
"""
ASK_NODE = """
const { keys, verify } = require('./receiver.js')
const cases = JSON.parse(require('fs').readFileSync(0))
console.log(JSON.stringify(cases.map((c) => verify(keys(Buffer.from(c.secret_file)), c.id, c.timestamp, c.signature, Buffer.from(c.body), c.now))))
"""
ASK_PHP = """
require 'receiver.php';
$cases = json_decode(stream_get_contents(STDIN), true);
echo json_encode(array_map(fn ($c) => sidebeat_verify(sidebeat_keys($c['secret_file']), $c['id'], $c['timestamp'], $c['signature'], $c['body'], $c['now']), $cases));
"""

# A missing interpreter is a failure: a receiver that nobody ran is worth nothing.
LANGUAGES = {
    "python": ([sys.executable, "-c", ASK_PYTHON], lambda port: [sys.executable, "receiver.py", str(port)]),
    "node": (["node", "-e", ASK_NODE], lambda port: ["node", "receiver.js", str(port)]),
    "php": (["php", "-r", ASK_PHP], lambda port: ["php", "-S", f"127.0.0.1:{port}", "receiver.php"]),
}


def cases():
    """(what it is, the case, whether it is to be believed) for every vector, as it is and spoilt."""
    for vector in VECTORS:
        at = vector["timestamp"]
        good = {**vector, "timestamp": str(at), "now": at}
        for what, change, verdict in [
            ("as it is", {}, True),
            ("five minutes late", {"now": at + 300}, True),
            ("five minutes early", {"now": at - 300}, True),
            ("too late", {"now": at + 301}, False),
            ("too early", {"now": at - 301}, False),
            ("another body", {"body": vector["body"] + " "}, False),
            ("another event", {"id": vector["id"] + "x"}, False),
            ("another time", {"timestamp": str(at + 1)}, False),
            ("no time", {"timestamp": ""}, False),
            ("a time that is no number", {"timestamp": f"{at}s"}, False),
            ("a time with a line behind it", {"timestamp": f"{at}\n"}, False),
            ("no signature", {"signature": ""}, False),
            ("half a signature", {"signature": vector["signature"][:20]}, False),
            ("another version", {"signature": vector["signature"].replace("v1,", "v2,")}, False),
            ("among unknown ones", {"signature": "v1a,AAAA v1,? x é " + vector["signature"]}, True),
            ("another key", {"secret_file": "somebody else's"}, False),
        ]:
            yield f"{vector['name']}, {what}", {**good, **change}, verdict


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_receiver_believes_what_the_vectors_say(language):
    all_cases = list(cases())
    assert (len(VECTORS), len(all_cases)) == (7, 7 * 16)
    asked = json.dumps([case for _, case, _ in all_cases])
    answered = subprocess.run(LANGUAGES[language][0], cwd=RECEIVERS, input=asked, capture_output=True, text=True, timeout=30)
    assert answered.returncode == 0, answered.stderr
    verdicts = json.loads(answered.stdout)
    assert {what: verdict for (what, _, _), verdict in zip(all_cases, verdicts, strict=True)} == {what: wanted for what, _, wanted in all_cases}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def receiver(language, secret):
    port = free_port()
    environment = {**os.environ, "SIDEBEAT_SECRET_FILE": str(secret)}
    process = subprocess.Popen(LANGUAGES[language][1](port), cwd=RECEIVERS, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
    reader.start()

    def listens():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True

    try:
        until(listens, within=15, what=f"the receiver in {language} to listen")
        yield f"http://127.0.0.1:{port}/hook", lines
    finally:
        process.terminate()
        process.wait(10)
        reader.join(10)
        process.stdout.close()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_receiver_takes_what_sidebeat_sends_and_nothing_else(language, app, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("a raw key\nwhsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    with receiver(language, secret) as (url, lines):
        hook = {"url": url, "events": ["opened", "closed"], "secret_file": str(secret)}
        with Sidebeat({"main": listener("tcp", app.url("tcp"))}, hooks={"app": hook}) as sidebeat:
            outer, inner = open_tcp(sidebeat, app)
            outer.reset()
            sidebeat.wait_metric(1, "hook_events_total", type="sidebeat.stream.closed", result="delivered")
            assert sidebeat.metric("hook_retries_total") == 0
            inner.close()
        until(lambda: re.search(r"evt_\w+_closed stream .* is over: client_gone", "".join(lines)), what="the line about the stream")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(urllib.request.Request(url, data=b"{}"), timeout=5)
        assert refused.value.code == 401


def test_there_is_a_test_for_each_receiver():
    assert sorted(path.name for path in RECEIVERS.iterdir() if path.is_file()) == ["receiver.js", "receiver.php", "receiver.py"]
    assert all(shutil.which(command) for command in ("node", "php"))
