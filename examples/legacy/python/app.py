"""The old app: a meter reading service on plain TCP, one thread a client. A message is JSON behind its length: four bytes that
count themselves. It has no heartbeats: a thread waits in `recv` for a client that vanished, and the client counts as online.

    python3 app.py [PORT FOR CLIENTS [PORT FOR THE INSIDE]]
"""

import http.server
import json
import socketserver
import sys
import threading

import sidebeat  # what was added; without its two calls the app is as it was

PASSWORDS = {"anna": "one", "ben": "two", "carla": "three", "dora": "four"}
sessions = {}  # "ip:port" of the peer: a Session


class Session:
    def __init__(self, name):
        self.name, self.online, self.why = name, True, "closed"

    def end(self, why=None):
        """Ends it: the connection is over, or sidebeat says that it is."""
        self.online, self.why = False, why or self.why

    def __str__(self):
        return f"{self.name} {'online' if self.online else f'offline ({self.why})'}\n"


class Client(socketserver.StreamRequestHandler):
    def handle(self):
        peer = "%s:%d" % self.client_address
        try:
            while message := self.receive():
                if message["type"] == "login" and PASSWORDS.get(message["name"]) == message["password"]:
                    # Who is back is listed once.
                    for former in [at for at, one in sessions.items() if one.name == message["name"] and not one.online]:
                        del sessions[former]
                    sessions[peer] = Session(message["name"])
                    sidebeat.tell_user(peer, message["name"])
                elif message["type"] == "reading" and peer in sessions:
                    self.send({"type": "thanks", "value": message["value"]})
        except OSError:
            pass
        if peer in sessions:
            sessions[peer].end()

    def receive(self):
        head = self.rfile.read(4)
        body = self.rfile.read(int.from_bytes(head, "big") - 4) if len(head) == 4 else b""
        return json.loads(body) if body else None

    def send(self, message):
        body = json.dumps(message).encode()
        self.wfile.write((len(body) + 4).to_bytes(4, "big") + body)


class Inside(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/online":
            return self.answer(404)
        self.answer(200, "".join(sorted(map(str, list(sessions.values())))).encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.answer(*sidebeat.answer(self.path, self.headers, body, sessions))

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True


if __name__ == "__main__":
    ports = [int(port) for port in sys.argv[1:]] + [7001, 7002][len(sys.argv) - 1:]
    clients = Server(("127.0.0.1", ports[0]), Client)
    inside = http.server.ThreadingHTTPServer(("127.0.0.1", ports[1]), Inside)
    print(json.dumps({"clients": clients.server_address[1], "inside": inside.server_address[1]}), flush=True)
    threading.Thread(target=inside.serve_forever, daemon=True).start()
    clients.serve_forever()
