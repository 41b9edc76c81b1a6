"""Real clients and the app that they talk to, each a process of its own (the programs in `clients/`)."""

import json
import os
import pathlib
import random
import subprocess
import sys

from .sidebeat import ROOT

HERE = pathlib.Path(__file__).parents[1] / "clients"
NODE = {**os.environ, "NODE_PATH": str(ROOT / "target/outside-node/node_modules")}
PROGRAMS = {
    "chromium": [sys.executable, HERE / "browser_client.py"],
    "websockets": [sys.executable, HERE / "websockets_client.py"],
    "aiohttp": [sys.executable, HERE / "aiohttp_client.py"],
    "node-ws": ["node", HERE / "ws_client.js"],
}


class Echo:
    """Node's `ws` as an app; ended with the block."""

    def __enter__(self):
        self.process = subprocess.Popen(["node", HERE / "echo.js"], env=NODE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.port = self.told()["port"]
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def told(self):
        """The next thing that it says: after its port, what it saw of each conversation."""
        line = self.process.stdout.readline()
        assert line, "the app's process ended"
        return json.loads(line)


def converse(name, url, ca_file, seconds):
    """A conversation of a client from its opening to its Close; what the client says about it."""
    seed = random.SystemRandom().getrandbits(32)
    command = [*PROGRAMS[name], url, ca_file, str(seconds), str(seed)]
    done = subprocess.run(command, env=NODE, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds + 90)
    assert done.returncode == 0, f"{name}, seed {seed}, exit code {done.returncode}: {done.stderr[-4000:]}"
    return json.loads(done.stdout)
