"""The Autobahn test suite's own peers, on any port and behind any address (Python 2.7).

    wstest.py testeeserver URL              a conformant echo
    wstest.py testeeclient URL AGENT        a conformant echoing client, through every case of a fuzzing server
    wstest.py fuzzingclient SPEC            every case against the servers of a specification
    wstest.py fuzzingserver SPEC            every case against whoever connects

The suite's `wstest` refuses a client whose Host names another port than the fuzzing server's own; behind a proxy it always does.
"""

import json
import sys

from autobahntestsuite import choosereactor  # noqa: F401  (must be the first to import a reactor)
from autobahn.twisted.websocket import listenWS
from autobahn.websocket.protocol import WebSocketClientFactory, WebSocketServerFactory
from autobahntestsuite import fuzzing, testee
from twisted.internet import reactor

# The report that is read is JSON; writing the HTML one takes longer than most cases.
create_reports = fuzzing.FuzzingFactory.createReports
fuzzing.FuzzingFactory.createReports = lambda self: create_reports(self, produceHtml=False)


def pong_between_frames(protocol):
    """Makes a fuzzing peer keep a pong back while it is inside a frame of its own: the suite writes it into the frame (RFC 6455 5.4)."""
    send_pong, send_data = protocol.sendPong, protocol.sendMessageFrameData

    def pong(self, payload=None):
        if self.send_state == self.SEND_STATE_INSIDE_MESSAGE_FRAME:
            self.held_pong = payload
        else:
            send_pong(self, payload)

    def data(self, payload, sync=False):
        rest = send_data(self, payload, sync)
        held = self.__dict__.pop("held_pong", None)
        if held is not None:
            self.sendPong(held)
        return rest

    protocol.sendPong, protocol.sendMessageFrameData = pong, data


for fuzzer in (fuzzing.FuzzingClientProtocol, fuzzing.FuzzingServerProtocol):
    pong_between_frames(fuzzer)


def patient(factory):
    """Makes peers wait for each other as long as it takes: 5 s for a 101 that waits behind 65,536 frames are too short on a busy machine."""
    reset = factory.resetProtocolOptions

    def patiently(self):
        reset(self)
        self.openHandshakeTimeout = self.closeHandshakeTimeout = 60

    factory.resetProtocolOptions = patiently


for factory in (WebSocketClientFactory, WebSocketServerFactory):
    patient(factory)


def any_host(factory):
    factory.externalPort = None
    return factory


def fuzzing_server(path):
    spec = json.load(open(path))
    factory = any_host(fuzzing.FuzzingServerFactory(spec))
    listenWS(factory, interface="127.0.0.1")
    return True


def testee_server(url):
    listenWS(any_host(testee.TesteeServerFactory(url)), interface="127.0.0.1")
    return True


def testee_client(url, agent):
    return testee.startClient(url, ident=agent)


def fuzzing_client(path):
    return fuzzing.startClient(json.load(open(path)))


{
    "testeeserver": testee_server,
    "testeeclient": testee_client,
    "fuzzingclient": fuzzing_client,
    "fuzzingserver": fuzzing_server,
}[sys.argv[1]](*sys.argv[2:])
reactor.run()
