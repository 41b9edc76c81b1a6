"""A server of the status page that claims to have as many streams as a test likes."""

import http.server
import json
import queue
import threading
import urllib.parse
import uuid


class Fleet:
    """Serves the page of a real sidebeat and its answers, but for the streams: those are copies of the one that it has."""

    def __init__(self, sidebeat, size):
        _, self.headers, self.page = sidebeat.get("/")
        self.status = json.loads(sidebeat.get("/v1/status")[2])
        (self.stream,) = json.loads(sidebeat.get("/v1/streams")[2])["items"]
        self.streams = [self.copy(n) for n in range(size)]
        self.status["listeners"]["chat"]["streams"] = size
        self.events = queue.SimpleQueue()
        fleet = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                path, _, query = self.path.partition("?")
                match path:
                    case "/":
                        self.answer(fleet.page, "text/html; charset=utf-8", fleet.headers["content-security-policy"])
                    case "/v1/status":
                        self.answer(json.dumps(fleet.status).encode())
                    case "/v1/closed":
                        self.answer(b'{"items":[]}')
                    case "/v1/streams":
                        self.answer(json.dumps(fleet.find(urllib.parse.parse_qs(query))).encode())
                    case "/v1/events":
                        self.tell()

            def answer(self, body, kind="application/json", policy="default-src 'none'"):
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-security-policy", policy)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def tell(self):
                self.send_response(200)
                self.send_header("content-type", "application/x-ndjson")
                self.send_header("connection", "close")
                self.end_headers()
                while lines := fleet.events.get():
                    self.wfile.write(lines)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.events.put(b"")
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def copy(self, n):
        """Another client's stream."""
        client = {**self.stream["client"], "address": f"192.0.2.{n % 250}:{1024 + n // 250}"}
        return {**self.stream, "id": str(uuid.UUID(int=n)), "uid": f"user-{n}", "client": client}

    def find(self, query):
        """The answer to a search by uid."""
        found = [stream for stream in self.streams if stream["uid"] in query["uid"]]
        return {"items": found[:100], "next_cursor": None, "matched": len(found)}

    def tell(self, kind, *data):
        """Events that everybody who watches sees, one after the other."""
        time = self.stream["opened_at"]
        self.events.put(b"".join(json.dumps({"type": kind, "time": time, "data": each}).encode() + b"\n" for each in data))

    def nearest(self):
        """What is told every two seconds."""
        self.tell("nearest", {"open": len(self.streams), "items": self.streams[:50]})
