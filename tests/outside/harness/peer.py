"""A client or an app in a process of its own, so that a test can stop, continue or kill it.

    python -m harness.peer app ws|tcp               prints {"port": …}, then echoes
    python -m harness.peer client HOST PORT         opens a WebSocket, prints {"open": …}, sends each line of stdin, prints what comes
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading

from .wait import until
from .wire import CLOSE, PING, PONG, Client, Wire, answer_101


def say(**what):
    print(json.dumps(what), flush=True)


def serve(wire, protocol):
    try:
        if protocol == "ws":
            answer_101(wire)
            while (got := wire.read_frame(3600)).opcode != CLOSE:
                if got.opcode == PING:
                    wire.send_frame(PONG, got.payload)
                elif got.opcode != PONG:
                    wire.send_frame(got.opcode, got.payload, fin=got.fin)
            wire.send_frame(CLOSE, got.payload)
        else:
            while data := wire.socket.recv(1 << 16):
                wire.socket.sendall(data)
    except (AssertionError, OSError):
        pass
    wire.close()


def app(protocol):
    server = socket.create_server(("127.0.0.1", 0), backlog=1024)
    say(port=server.getsockname()[1])
    while True:
        sock, _ = server.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(Wire(sock), protocol), daemon=True).start()


def client(host, port):
    wire = Client((host, int(port)))
    wire.open()
    wire.opened()
    say(open=wire.address)

    def lines():
        for line in sys.stdin:
            wire.send_text(line.rstrip("\n"))

    threading.Thread(target=lines, daemon=True).start()
    try:
        while True:
            got = wire.read_message(3600)
            if got.opcode == CLOSE:
                say(close=int.from_bytes(got.payload[:2], "big"), reason=got.payload[2:].decode())
                wire.send_frame(CLOSE, got.payload[:2])
            else:
                say(message=got.payload.decode())
    except AssertionError as error:
        say(end=getattr(error, "how", str(error)))


class Process:
    """A program that says JSON, one thing a line; ended with the block."""

    def __init__(self, *command, env=None):
        self.process = subprocess.Popen(
            [*map(str, command)],
            cwd=pathlib.Path(__file__).parents[1],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def read(self):
        """The next thing that it says."""
        line = self.process.stdout.readline()
        assert line, "the peer's process ended"
        return json.loads(line)

    def write(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def signal(self, number):
        os.kill(self.process.pid, number)
        if number == signal.SIGSTOP:
            # It goes on until the kernel has stopped each of its threads.
            tasks = pathlib.Path(f"/proc/{self.process.pid}/task")
            until(lambda: all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks.iterdir()), 10)


class Telling:
    """What a process says, read by a thread."""

    def __init__(self, process):
        self.process, self.told = process, []
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.process.stdout:
            self.told.append(json.loads(line))

    def has(self, within=15.0, **what):
        until(lambda: what in self.told, within, what=f"{what} (told {self.told[-20:]})")

    def count(self, **what):
        return sum(told == what for told in self.told)


class Peer(Process):
    """A client or an app of this module as such a process."""

    def __init__(self, *arguments):
        super().__init__(sys.executable, "-m", "harness.peer", *arguments)

    def echoed(self, text):
        """Asserts that a client's message comes back."""
        self.write(text)
        assert self.read() == {"message": text}


if __name__ == "__main__":
    {"app": app, "client": client}[sys.argv[1]](*sys.argv[2:])
