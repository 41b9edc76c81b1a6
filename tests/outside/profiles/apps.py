"""Apps behind the profiles that no package serves: they know no heartbeats and note each message that reaches them.

Workerman's part is what its sources do (`Protocols/Text.php`, `Protocols/Frame.php`, `Protocols/Websocket.php` and GatewayWorker's
`onMessage`): a message is a line without its end, or what stands behind four bytes of length, or a text message; each is answered by itself.
"""

import contextlib
import socket
import threading

from harness.wire import CLOSE, App, Ended, answer_101


class Serving:
    """An app that answers each message; ended with the block. `heard` has every message of every client."""

    def __init__(self):
        self.app = App()
        self.heard = []
        self.wires = []
        self.accepting = threading.Thread(target=self.accept, daemon=True)
        self.accepting.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Wakes those who wait; a descriptor that is closed under them may be somebody else's by then.
        self.app.socket.shutdown(socket.SHUT_RDWR)
        self.accepting.join(5)
        self.app.socket.close()
        for wire in self.wires:
            with contextlib.suppress(OSError):
                wire.socket.shutdown(socket.SHUT_RDWR)

    def url(self, scheme):
        return self.app.url(scheme)

    def accept(self):
        while True:
            try:
                wire = self.app.accept(3600)
            except OSError:
                return
            self.wires.append(wire)
            threading.Thread(target=self.serve, args=(wire,), daemon=True).start()

    def serve(self, wire):
        try:
            self.talk(wire)
        except (Ended, OSError):
            pass
        finally:
            wire.close()

    def talk(self, wire):
        while True:
            message = self.read(wire)
            self.heard.append(message)
            self.write(wire, message)


class Text(Serving):
    @staticmethod
    def read(wire):
        return wire.read_until(b"\n", 3600).rstrip(b"\r\n")

    @staticmethod
    def write(wire, message):
        wire.send(message + b"\n")


class Frame(Serving):
    @staticmethod
    def read(wire):
        return wire.read(int.from_bytes(wire.read(4, 3600)) - 4)

    @staticmethod
    def write(wire, message):
        wire.send((len(message) + 4).to_bytes(4) + message)


class Gateway(Serving):
    def talk(self, wire):
        answer_101(wire)
        super().talk(wire)

    @staticmethod
    def read(wire):
        got = wire.read_message(3600)
        if got.opcode == CLOSE:
            wire.send_frame(CLOSE, got.payload)
            raise OSError("closed")
        return got.payload

    @staticmethod
    def write(wire, message):
        wire.send_frame(1, message)


class Stomp(Serving):
    """A broker of STOMP 1.2 that promises no heart-beats and wants those of its clients: what is sent to a destination comes back to the connection's one subscription."""

    def talk(self, wire):
        self.greet(wire)
        subscription = None
        while True:
            frame = self.frame(wire)
            self.heard.append(frame)
            if frame == b"\n":
                continue
            head, body = frame.split(b"\n\n", 1)
            command, *lines = head.decode().split("\n")
            headers = dict(line.split(":", 1) for line in reversed(lines))
            if command in ("CONNECT", "STOMP"):
                self.answer(wire, "CONNECTED", {"version": "1.2", "heart-beat": "0,1"})
            elif command == "SUBSCRIBE":
                subscription = headers["id"]
            elif command == "SEND":
                about = {"subscription": subscription, "message-id": len(self.heard), "destination": headers["destination"]}
                self.answer(wire, "MESSAGE", about, body)

    def answer(self, wire, command, headers, body=b""):
        lines = [command, *(f"{name}:{value}" for name, value in headers.items()), "", ""]
        self.put(wire, "\n".join(lines).encode() + body + b"\0")


class StompTcp(Stomp):
    def greet(self, wire):
        pass

    def frame(self, wire):
        first = wire.read(1, 3600)
        return first if first == b"\n" else first + wire.read_until(b"\0")[:-1]

    def put(self, wire, frame):
        wire.send(frame)


class StompWs(Stomp):
    def greet(self, wire):
        answer_101(wire, [("Sec-WebSocket-Protocol", "v12.stomp")])

    def frame(self, wire):
        return Gateway.read(wire).removesuffix(b"\0")

    def put(self, wire, frame):
        wire.send_frame(1, frame)
