"""What the examples start: the one command of a folder, in a copy of it, as a newcomer runs it."""

import os
import re
import shutil
import signal
import subprocess
import threading

from .sidebeat import ROOT, binary
from .wait import Late, until

EXAMPLES = ROOT / "examples"
NODE_PATH = ROOT / "target/outside-node/node_modules"


def copy(folder, to):
    """The folder of an example, alone in a directory of its own."""
    return shutil.copytree(EXAMPLES / folder, to / folder.replace("/", "-"), ignore=shutil.ignore_patterns("node_modules", "target", "__pycache__"))


def environment(**more):
    """What a newcomer has: sidebeat in a place that is told, and, so that no test loads it anew, `ws`."""
    return {**os.environ, "SIDEBEAT_BIN": binary(), "NODE_PATH": str(NODE_PATH), **more}


class Demo:
    """A running example; ended by Ctrl-C with the block, and then nothing of it may be left."""

    def __init__(self, directory, *command, **env):
        self.command, self.directory, self.env = command, directory, environment(**env)
        self.lines = []

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command,
            cwd=self.directory,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self._reader.start()
        return self

    def __exit__(self, kind, error, trace):
        try:
            # A terminal sends it to all processes of its group.
            os.killpg(self.process.pid, signal.SIGINT)
            code = self.process.wait(15)
            # Its output ends when the last process that holds it has ended.
            self._reader.join(5)
            assert kind is not None or (code == 0 and not self._reader.is_alive()), f"exit code {code}:\n{self.text()}"
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
            self._reader.join(5)
            self.process.stdout.close()
            if kind is not None:
                print(f"--- output of {' '.join(map(str, self.command))} ---\n{self.text()}")

    def text(self):
        """All that it has printed."""
        return "".join(self.lines)

    def find(self, pattern, within=60.0):
        """The first group of a pattern, as soon as the output has it."""

        def found():
            match = re.search(pattern, self.text())
            if match is None and self.process.poll() is not None:
                raise Late(f"ended with {self.process.returncode} before {pattern!r}:\n{self.text()}")
            return match

        match = until(found, within, every=0.05, what=f"{pattern!r} in the output")
        return match.group(1) if match.groups() else match.group()
