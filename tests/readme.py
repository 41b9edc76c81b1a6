#!/usr/bin/env python3
"""Runs the commands of README.md, as a reader would in terminals, and compares what they print with what it shows.

    ```sh        runs and ends with 0
    ```sh NAME   stays, in a terminal of that name, until everything is done
    ```text      is what the last command printed
    ```text NAME is what came in that terminal after what was shown of it before

A shown text may stand anywhere in what was printed; `…` in it is any text.
"""

import os
import pty
import re
import select
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(r"^```(sh|text)(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The first command compiles everything.
PATIENCE = 1200


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, command):
        self.command = command
        self.text = ""
        self.status = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            # Whoever runs this in the background may have them ignored.
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            os.environ.update(TERM="dumb", NO_COLOR="1", CARGO_TERM_COLOR="never")
            # A line must not end where the terminal would.
            os.execvp("sh", ["sh", "-e", "-c", f"stty cols 10000\n{command}"])

    def read(self, seconds):
        """Takes what is printed within that time; false once the command has ended."""
        if self.status is not None:
            return False
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # how Linux reports that no process has the terminal any more
            data = b""
        if data:
            self.text += data.decode(errors="replace").replace("\r\n", "\n")
            return True
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return False

    def run(self):
        until = time.monotonic() + PATIENCE
        while self.read(until - time.monotonic()):
            if time.monotonic() > until:
                self.end(signal.SIGKILL)
                fail(f"did not end: {self.command}")
        if self.status != 0:
            fail(f"ended with {self.status}: {self.command}\n{self.text}")

    def expect(self, shown):
        pattern = re.compile(".*?".join(map(re.escape, shown.strip("\n").split("…"))), re.DOTALL)
        until = time.monotonic() + PATIENCE
        while not (found := pattern.search(self.text)):
            alive = self.read(until - time.monotonic())
            if not alive and not pattern.search(self.text) or time.monotonic() > until:
                fail(f"{self.command}\nshould print\n{shown}\nbut printed\n{self.text}")
        self.text = self.text[found.end() :]

    def end(self, number=signal.SIGINT):
        """Ends it as Ctrl-C in its terminal would; the process group is the terminal's own."""
        if self.status is None:
            os.killpg(self.pid, number)
            while self.read(PATIENCE):
                pass


terminals = {}


def fail(why):
    sys.exit(f"README.md: {why}")


def main():
    last, commands, shown = None, 0, 0
    for kind, name, text in BLOCK.findall(README.read_text()):
        if kind == "sh":
            print(text, end="", flush=True)
            last = Terminal(text)
            commands += 1
            if name:
                terminals[name] = last
            else:
                last.run()
        else:
            (terminals[name] if name else last).expect(text)
            shown += 1
    if not commands or not shown:
        fail("no commands were found")
    for name, terminal in terminals.items():
        terminal.end()
    print(f"{commands} commands ran, {shown} outputs are as shown")


if __name__ == "__main__":
    try:
        main()
    finally:
        for terminal in terminals.values():
            terminal.end(signal.SIGKILL)
