#!/usr/bin/env python3
"""A receiver of sidebeat's hooks: Python 3.8 or newer, nothing else.

    SIDEBEAT_SECRET_FILE=secret python3 receiver.py 8080

Copy `keys` and `verify` into your app.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import sys
import time

TOLERANCE = 5 * 60  # seconds


def keys(text):
    """The keys in the bytes of a secret file: one a line, `whsec_` and base64 or else the line as it is."""
    found = []
    for line in text.split(b"\n"):
        if line.endswith(b"\r"):
            line = line[:-1]
        if line.startswith(b"whsec_"):
            encoded = line[len(b"whsec_"):].rstrip().rstrip(b"=")
            found.append(base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True))
        elif line.strip():
            found.append(line)
    return found


def verify(keys, event_id, timestamp, signatures, body, now=None):
    """Whether the bytes of a body were signed, lately, by somebody who has one of the keys."""
    if not timestamp.isascii() or not timestamp.isdigit():
        return False
    if abs((time.time() if now is None else now) - int(timestamp)) > TOLERANCE:
        return False
    signed = b".".join([event_id.encode(), timestamp.encode(), body])
    good = False
    for key in keys:
        expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        for signature in signatures.split(" "):
            # Every pair is compared, in constant time: the clock tells nobody which one was nearly right.
            good |= hmac.compare_digest(expected.encode(), signature.encode())
    return good


def take(event):
    """Your part. An event may come more than once: its id is the key to know it by."""
    data = event["data"]
    if event["type"] == "sidebeat.stream.closed":
        print(f"{event['id']} stream {data['id']} of {data['uid']} is over: {data['reason']}, {data['uid_streams_left']} left")
    else:
        print(f"{event['id']} {event['type']}")
    sys.stdout.flush()


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    secret = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        header = [self.headers.get("webhook-" + name, "") for name in ("id", "timestamp", "signature")]
        if verify(self.secret, *header, body):
            take(json.loads(body))
            self.answer(204)
        else:
            self.answer(401)

    def answer(self, status):
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    with open(os.environ["SIDEBEAT_SECRET_FILE"], "rb") as file:
        Receiver.secret = keys(file.read())
    if not Receiver.secret:
        sys.exit("the secret file holds no key")
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Receiver)
    print("listening on", server.server_address[1], flush=True)
    server.serve_forever()
