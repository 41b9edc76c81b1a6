"""What was added to the app: whose a stream is, the hook that ends a session, and a push to a user."""

import http.client
import json
import os
import pathlib
import socket
import threading
import urllib.parse

import receiver  # the check of a signature, from examples/receivers

lock = threading.Lock()
streams = {}  # "ip:port" of the app's peer: id of the stream that it belongs to
users = {}  # "ip:port" of the app's peer: who logged in there


def tell_user(peer, name):
    """Somebody has logged in: from now on the stream is theirs. Nobody can forge what the app has checked."""
    with lock:
        users[peer] = name
        stream = streams.get(peer)
    if stream:
        call("PATCH", f"/v1/streams/{stream}", json.dumps({"uid": name}), "application/json")


def answer(path, headers, body, sessions):
    """Answers requests on the inside port: (status, body)."""
    url = urllib.parse.urlsplit(path)
    if url.path == "/_sidebeat":
        return hook(headers, body, sessions)
    if url.path == "/push":
        return push(dict(urllib.parse.parse_qsl(url.query)).get("uid", ""), body)
    return 404, b""


def hook(headers, body, sessions):
    """A stream has opened, or is over: then its user is offline, whatever TCP thinks. Repeated events do no harm."""
    keys = receiver.keys(pathlib.Path(os.environ["SIDEBEAT_SECRET_FILE"]).read_bytes())
    if not receiver.verify(keys, *(headers.get("webhook-" + name, "") for name in ("id", "timestamp", "signature")), body):
        return 401, b""
    event = json.loads(body)
    stream = event["data"]["id"]
    # What sidebeat's end of the connection is called is what the app calls its client's.
    peer = event["data"]["upstream"]["local_address"]
    if event["type"] == "sidebeat.stream.opened":
        with lock:
            streams[peer] = stream
            name = users.get(peer)
        if name:
            tell_user(peer, name)
    elif event["type"] == "sidebeat.stream.closed":
        with lock:
            ours = streams.get(peer) == stream  # else the port has found its next user
            if ours:
                del streams[peer]
                users.pop(peer, None)
        if ours and peer in sessions:
            sessions[peer].end(event["data"]["reason"])
    return 204, b""


def push(uid, text):
    """A message to every connection of a user: sidebeat puts its length before it, no thread of the app is asked."""
    message = json.dumps({"type": "push", "text": text.decode()}).encode()
    return call("POST", f"/v1/messages?uid={urllib.parse.quote(uid)}", message, "application/json")


class Api(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.environ["SIDEBEAT_ADMIN_SOCKET"])


def call(method, path, body, kind):
    api = Api("localhost", timeout=10)
    try:
        api.request(method, path, body, {"content-type": kind})
        answered = api.getresponse()
        return answered.status, answered.read()
    finally:
        api.close()
