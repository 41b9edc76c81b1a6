"""A client: python3 client.py PORT NAME PASSWORD. It prints what it is told, and answers heartbeats: those two lines are all that was added."""

import json
import socket
import sys

port, name, password = sys.argv[1:]
connection = socket.create_connection(("127.0.0.1", int(port)))
stream = connection.makefile("rb")


def send(message):
    body = json.dumps(message, separators=(",", ":")).encode()
    connection.sendall((len(body) + 4).to_bytes(4, "big") + body)


send({"type": "login", "name": name, "password": password})
while head := stream.read(4):
    message = json.loads(stream.read(int.from_bytes(head, "big") - 4))
    if message["type"] == "ping":
        send({"type": "pong"})
    else:
        print(f"{name} got: {json.dumps(message)}", flush=True)
