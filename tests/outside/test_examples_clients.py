"""examples/clients: the client's half in Python and Rust, one contract."""

import json
import shlex
import signal
import subprocess
import sys
import time

import pytest

from harness.demo import Demo, copy, environment
from harness.sidebeat import ROOT, Sidebeat, listener

LANGUAGES = {
    "python": ({"PYTHON": sys.executable}, [sys.executable, "-m", "unittest"]),
    # Everything that it depends on is built once for all copies.
    "rust": ({"CARGO_TARGET_DIR": str(ROOT / "target/examples")}, ["cargo", "test", "--quiet", "--locked"]),
}
SILENCE = 2.0
HEARTBEAT = {"idle_limit": "5s", "ping": {"interval": "500ms", "when": "always"}}


class Chat:
    """The example's client on a URL; each line that it prints is a thing that it tells."""

    def __init__(self, command, folder, url):
        self.process = subprocess.Popen(
            [*command, url, str(SILENCE)], cwd=folder, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def write(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def told(self, **wanted):
        """The next thing that has these values; what comes before may be states only, no message is skipped."""
        while line := self.process.stdout.readline():
            one = json.loads(line)
            if wanted.items() <= one.items():
                return one
            assert "message" not in one, f"{one} instead of {wanted}"
        raise AssertionError(f"it ended before it told {wanted}")

    def echoed(self, text):
        self.write(text)
        self.told(message=text)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_client_comes_back_as_it_should(language, tmp_path, app_process):
    env, unit_tests = LANGUAGES[language]
    folder = copy(f"clients/{language}", tmp_path)
    decided = subprocess.run(unit_tests, cwd=folder, env=environment(**env), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=500)
    assert decided.returncode == 0, decided.stdout + decided.stderr

    with Demo(folder, "./run", **env) as demo:
        command = demo.find(r"Be a client yourself: (.*) ws://", within=300)
        # Its one command shows a dead client that goes and a live one that stays.
        assert "reason=client_idle" in demo.find(r"(?m)^demo: (.*)$")
        assert json.loads(demo.find(r"alive: (.*still here.*)")) == {"message": "still here"}
        assert json.loads(demo.find(r"dead: (.*waiting.*)"))["code"] in (1001, 1006)
        comes_back(shlex.split(command), folder, f"ws://127.0.0.1:{app_process}")


def comes_back(command, folder, upstream):
    """Drain, a server that is away, a frozen one, and one that wants no more of it."""
    with Sidebeat({"main": listener("ws", upstream, heartbeat=HEARTBEAT)}) as first:
        port = first.at()[1]
        chat = Chat(command, folder, f"ws://127.0.0.1:{port}/")
        with chat:
            assert chat.told() == {"state": "connecting"}
            chat.told(state="open")
            chat.echoed("one")
            first.stop()
            drained = chat.told(state="waiting")
            assert (drained["code"], drained["reason"]) == (1012, "drain")
            assert 0 <= drained["delay"] <= 5
            chat.write("kept")
            returns(chat, listener(f"ws://127.0.0.1:{port}", upstream, heartbeat=HEARTBEAT))


def returns(chat, same):
    with Sidebeat({"main": same}) as second:
        chat.told(state="open")
        chat.told(message="kept")

        frozen = time.monotonic()
        second.kill(signal.SIGSTOP)
        silent = chat.told(state="waiting")
        assert (silent["code"], silent["reason"]) == (1006, "silent")
        assert time.monotonic() - frozen >= SILENCE
        second.kill(signal.SIGCONT)
        chat.told(state="open")
        chat.echoed("two")

        second.get("/v1/streams?all=true&code=1008&reason=banned", method="DELETE")
        stopped = chat.told(state="stopped")
        assert (stopped["code"], stopped["reason"]) == (1008, "banned")
        assert chat.process.wait(10) == 0
