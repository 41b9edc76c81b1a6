"""A receiver of close hooks that checks what every receiver should: signature, media type, known event.

    python -m harness.hooks [PORT]      prints {"port": …}, then {"event": …} or {"fault": …} for each request before it is answered
"""

import base64
import collections
import hashlib
import hmac
import http.server
import json
import sys
import threading
import time

from . import netns as networks
from .wait import until

SECRET = "whsec_" + base64.b64encode(b"a secret for tests, 32 bytes lon").decode()

Received = collections.namedtuple("Received", "at event")


class Hooks:
    """An HTTP server on a thread; `events` holds what came, each with the monotonic instant of its arrival; `status` is the answer."""

    def __init__(self, netns=None, host="127.0.0.1", port=0):
        hooks = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                at = time.monotonic()
                body = self.rfile.read(int(self.headers["content-length"]))
                try:
                    hooks.check(self.headers, body)
                    status = hooks.status
                except AssertionError as error:
                    hooks.faults.append(str(error))
                    status = 400
                hooks.arrived(Received(at, json.loads(body)), status)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.events, self.faults = [], []
        self.status = 204
        with networks.inside(netns):
            self.server = http.server.ThreadingHTTPServer((host, port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, error, trace):
        self.server.shutdown()
        self.server.server_close()
        if kind is None:
            assert not self.faults, self.faults

    def arrived(self, received, status):
        """Called of each request before it is answered."""
        self.events.append(received)

    @property
    def url(self):
        return "http://%s:%d/hook" % self.server.server_address[:2]

    def config(self, directory, events=("closed",)):
        """The `hooks` part of a configuration that points here, with the secret in a file of `directory`."""
        path = directory / "hook-secret"
        path.write_text(SECRET + "\n")
        return {"app": {"url": self.url, "events": list(events), "secret_file": str(path)}}

    @staticmethod
    def check(headers, body):
        assert headers["content-type"].split(";")[0] == "application/cloudevents+json", headers["content-type"]
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert wanted in headers["webhook-signature"].split(" "), "the signature does not fit the body"
        event = json.loads(body)
        assert event["specversion"] == "1.0" and event["id"] == headers["webhook-id"], event

    def wait_closed(self, count=1, within=5.0):
        """The first `count` closed events."""
        def closed():
            return [got for got in self.events if got.event["type"] == "sidebeat.stream.closed"]

        until(lambda: len(closed()) >= count, within, what=f"{count} closed hooks (got {[got.event for got in self.events]})")
        return closed()


class Printing(Hooks):
    """A receiver in a process of its own."""

    def arrived(self, received, status):
        say = {"event": received.event} if status < 300 else {"fault": self.faults[-1:]}
        # One write: several requests are served at once.
        sys.stdout.write(json.dumps(say) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    with Printing(port=int(sys.argv[1]) if len(sys.argv) > 1 else 0) as printing:
        print(json.dumps({"port": printing.server.server_address[1]}), flush=True)
        threading.Event().wait()
