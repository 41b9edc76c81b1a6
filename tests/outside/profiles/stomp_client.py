"""python stomp_client.py PORT MILLISECONDS: stomp-py over TCP, which sends a heart-beat so often and expects none.

Prints {"open": true}, {"ping": true} for each heart-beat of the other side, {"message": …}, {"end": true}; sends each line of stdin to a
destination that it has subscribed to.
"""

import json
import sys

import stomp


def say(**what):
    print(json.dumps(what), flush=True)


class Listener(stomp.ConnectionListener):
    def on_heartbeat(self):
        say(ping=True)

    def on_message(self, frame):
        say(message=frame.body)

    def on_disconnected(self):
        say(end=True)


port, heartbeat = map(int, sys.argv[1:])
connection = stomp.Connection12([("127.0.0.1", port)], heartbeats=(heartbeat, 0), reconnect_attempts_max=1)
connection.set_listener("", Listener())
connection.connect(wait=True)
connection.subscribe("/talk", id="1")
say(open=True)
for line in sys.stdin:
    connection.send("/talk", line.rstrip("\n"))
