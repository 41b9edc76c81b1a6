"""Everything that can go wrong before a stream is open: the answer, the metric, and a proxy that goes on working."""

import base64
import contextlib
import socket
import ssl
import time

import pytest

from harness.sidebeat import Sidebeat, listener
from harness.wait import until
from harness.wire import FIN, RESET, App, Client, Ended, accept_of, answer_101, echo_tcp, echo_ws, open_tcp, open_ws

LIMITS = {"handshake_timeout": "1s"}
KEY = base64.b64encode(b"0123456789abcdef").decode()
OPENING = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", KEY), ("Sec-WebSocket-Version", "13")]


def without(name, *more):
    return [(field, value) for field, value in OPENING if field != name] + list(more)


@pytest.fixture
def sidebeat(app, authority):
    timeouts = {"connect_timeout": "1s", "answer_timeout": "1s", "http_timeout": "1s", "limits": LIMITS}
    with Sidebeat(
        {
            "main": listener("ws", app.url(), **timeouts),
            "secure": listener("wss", app.url(), tls=authority.tls(), **timeouts),
        }
    ) as sidebeat:
        yield sidebeat


def still_works(sidebeat, app, authority=None):
    """The proxy after the fault is the proxy before it."""
    for name, tls in (("main", None), ("secure", authority and authority.client())):
        if name == "main" or tls:
            outer, inner = open_ws(sidebeat, app, name, tls=tls)
            echo_ws(outer, inner)
            outer.close()
            inner.close()


def refused(sidebeat, headers=OPENING, **request):
    """Sends an opening and returns (head, body) of the answer."""
    with Client(sidebeat.at()) as client:
        client.request(headers=headers, **request)
        head = client.read_head()
        return head, client.read_body(head)


# --- the app ---------------------------------------------------------------------------------------------------------


def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_an_app_that_refuses_the_connection_is_502():
    with Sidebeat({"main": listener("ws", f"ws://127.0.0.1:{unused_port()}")}) as sidebeat:
        head, _ = refused(sidebeat)
        assert head.status == 502
        sidebeat.wait_rejected(upstream_unreachable=1)
        assert sidebeat.metric("streams_opened_total") == 0


def test_a_raw_client_of_an_app_that_refuses_is_closed_at_once():
    with Sidebeat({"main": listener("tcp", f"tcp://127.0.0.1:{unused_port()}")}) as sidebeat:
        with Client(sidebeat.at()) as client:
            assert client.end(2) in (FIN, RESET)
        sidebeat.wait_rejected(upstream_unreachable=1)


def test_an_app_that_never_answers_is_504_at_the_answer_timeout(sidebeat, app):
    with Client(sidebeat.at()) as client:
        client.open()
        asked = time.monotonic()
        inner = app.accept()
        assert client.read_head().status == 504
        assert 0.95 <= time.monotonic() - asked < 5
        inner.read_head()
        assert inner.rest()[1] in (FIN, RESET)
    sidebeat.wait_rejected(upstream_timeout=1)
    still_works(sidebeat, app)


def test_an_app_that_drips_its_head_is_504_too(sidebeat, app):
    with Client(sidebeat.at()) as client:
        client.open()
        inner = app.accept()
        inner.read_head()
        drip(inner, b"HTTP/1.1 101 Switching Protocols\r\nX-Slow: " + b"a" * 1000, until_ready=client)
        assert client.read_head().status == 504
    sidebeat.wait_rejected(upstream_timeout=1)


def test_an_app_that_closes_without_an_answer_is_502(sidebeat, app):
    with Client(sidebeat.at()) as client:
        client.open()
        inner = app.accept()
        inner.read_head()
        inner.close()
        assert client.read_head().status == 502
    still_works(sidebeat, app)


def answered(sidebeat, app, answer, headers=OPENING):
    """The head and body that a client gets when the app answers its opening with these bytes."""
    with Client(sidebeat.at()) as client:
        client.request(headers=headers)
        with app.accept() as inner:
            inner.read_head()
            inner.send(answer)
            head = client.read_head()
            return head, client.read_body(head) if head.status != 101 else b""


def test_an_answer_other_than_101_is_passed_on_as_it_is(sidebeat, app):
    body = b'{"error":"who are you?"}'
    answer = b"HTTP/1.1 401 Who Are You\r\nX-Mixed-CASE: yes\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    head, got = answered(sidebeat, app, answer)
    assert head.first == "HTTP/1.1 401 Who Are You" and got == body
    assert ("X-Mixed-CASE", "yes") in head.fields
    sidebeat.wait_rejected(upstream_refused=1)
    still_works(sidebeat, app)


def test_a_200_that_claims_an_upgrade_opens_no_tunnel(sidebeat, app):
    """CVE-2024-23326."""
    with Client(sidebeat.at()) as client:
        client.request(headers=OPENING)
        with app.accept() as inner:
            inner.read_head()
            inner.send(b"HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\nContent-Length: 2\r\n\r\nok" % accept_of(KEY).encode())
            head = client.read_head()
            assert head.status == 200 and client.read_body(head) == b"ok"
            with contextlib.suppress(OSError):
                client.send(b"\x81\x85\0\0\0\0hello")
            data, _ = inner.rest(3)
            assert b"hello" not in data
    sidebeat.wait_rejected(upstream_refused=1)
    assert sidebeat.metric("streams_opened_total") == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n" % accept_of(KEY).encode(),
        b"HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n" % accept_of(KEY).encode(),
        b"HTTP/1.1 101 Switching Protocols\r\nX-Long: " + b"a" * 70000 + b"\r\n\r\n",
        b"this is no HTTP\r\n\r\n",
    ],
    ids=["wrong accept", "no accept", "another upgrade", "HTTP/1.0", "head over 64 KiB", "not HTTP"],
)
def test_an_answer_that_is_no_proper_101_is_502(sidebeat, app, answer):
    head, _ = answered(sidebeat, app, answer)
    assert head.status == 502
    sidebeat.wait_rejected(upstream_protocol_error=1)
    still_works(sidebeat, app)


def test_a_101_that_nobody_asked_for_is_502(sidebeat, app):
    answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n" % accept_of(KEY).encode()
    head, _ = answered(sidebeat, app, answer, headers=[])
    assert head.status == 502
    still_works(sidebeat, app)


def test_no_byte_reaches_the_app_between_the_opening_and_its_101(sidebeat, app):
    """CVE-2026-2833; what came early is delivered after the 101."""
    with Client(sidebeat.at()) as client:
        client.open()
        early = b"\x81\x85\0\0\0\0early"
        client.send(early)
        inner = app.accept()
        head = inner.read_head()
        inner.silent(0.3)
        inner.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
            % accept_of(head.one("sec-websocket-key")).encode()
            + b"\x81\x05first"
        )
        client.opened()
        assert inner.read_frame().payload == b"early"
        assert client.read_frame().payload == b"first"


def test_an_app_whose_certificate_is_not_trusted_is_502(authority, tmp_path):
    from harness.certs import Authority

    strangers = Authority(tmp_path)
    with App() as app, Sidebeat({"main": listener("ws", app.url("wss"), upstream_tls={"ca": authority.ca_file})}) as sidebeat:
        with Client(sidebeat.at()) as client:
            client.open()
            inner = app.accept()
            with pytest.raises(ssl.SSLError):
                strangers.server("127.0.0.1").wrap_socket(inner.socket, server_side=True)
            assert client.read_head().status == 502
        sidebeat.wait_rejected(upstream_unreachable=1)


# --- the client's TLS ------------------------------------------------------------------------------------------------


def test_plain_http_on_a_tls_port_is_a_tls_error(sidebeat, app, authority):
    with Client(sidebeat.at("secure")) as client:
        client.open()
        assert client.rest(3)[1] in (FIN, RESET)
    sidebeat.wait_rejected(tls_error=1)
    app.no_connection(0.1)
    still_works(sidebeat, app, authority)


def test_a_client_that_does_not_trust_the_certificate_is_a_tls_error(sidebeat, app, authority):
    with pytest.raises(ssl.SSLCertVerificationError):
        Client(sidebeat.at("secure"), tls=ssl.create_default_context())
    sidebeat.wait_rejected(tls_error=1)
    still_works(sidebeat, app, authority)


def test_a_client_that_offers_only_old_tls_is_a_tls_error(sidebeat, app, authority):
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        Client(sidebeat.at("secure"), tls=old)
    sidebeat.wait_rejected(tls_error=1)
    still_works(sidebeat, app, authority)


def test_a_client_without_the_certificate_asked_for_is_a_tls_error(app, authority):
    tls = authority.tls(client_ca=authority.ca_file, client_auth="required")
    with Sidebeat({"main": listener("wss", app.url(), tls=tls)}) as sidebeat:
        with pytest.raises((ssl.SSLError, ConnectionError, Ended)):
            # In TLS 1.3 the client learns of it only when it reads.
            with Client(sidebeat.at(), tls=authority.client()) as client:
                client.open()
                client.read_head()
        sidebeat.wait_rejected(tls_error=1)
        known = authority.client(authority.issue("known", "a.client"))
        outer, inner = open_ws(sidebeat, app, tls=known)
        assert "known" in inner.opening.one("sidebeat-client-cert-subject")
        echo_ws(outer, inner)


def test_tls_on_a_plain_port_is_a_bad_request(sidebeat, app, authority):
    with Client(sidebeat.at()) as client:
        hello = ssl.MemoryBIO()
        session = authority.client().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
        with contextlib.suppress(ssl.SSLWantReadError):
            session.do_handshake()
        client.send(hello.read())
        assert client.read_head().status == 400
    sidebeat.wait_rejected(bad_request=1)
    still_works(sidebeat, app)


# --- the client's head -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status, headers, request_line",
    [
        (426, without("Sec-WebSocket-Version", ("Sec-WebSocket-Version", "8")), {}),
        (400, without("Sec-WebSocket-Key"), {}),
        (400, without("Sec-WebSocket-Key", ("Sec-WebSocket-Key", "short")), {}),
        (400, without("Connection"), {}),
        (400, OPENING, {"method": "POST"}),
        (400, [*OPENING, ("Content-Length", "4")], {"body": b"body"}),
        (400, [*OPENING, ("Host", "second.example")], {}),
        (405, [], {"method": "CONNECT", "path": "example.org:443"}),
        (400, [("Transfer-Encoding", "chunked"), ("Content-Length", "4")], {"method": "POST", "body": b"0\r\n\r\n", "version": "HTTP/1.0"}),
    ],
    ids=["version 8", "no key", "short key", "no Connection: upgrade", "POST", "with a body", "two Hosts", "CONNECT", "TE in HTTP/1.0"],
)
def test_an_opening_that_is_none_is_refused_and_never_reaches_the_app(sidebeat, app, status, headers, request_line):
    head, _ = refused(sidebeat, headers, **request_line)
    assert head.status == status
    if status == 426:
        assert head.one("sec-websocket-version") == "13"
    sidebeat.wait_rejected(bad_request=1)
    app.no_connection()
    still_works(sidebeat, app)


def test_an_http_1_0_opening_is_refused(sidebeat, app):
    head, _ = refused(sidebeat, version="HTTP/1.0")
    assert head.status in (400, 426)
    sidebeat.wait_rejected(bad_request=1)
    app.no_connection()


def test_a_request_without_host_is_400(sidebeat, app):
    with Client(sidebeat.at()) as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert client.read_head().status == 400
    sidebeat.wait_rejected(bad_request=1)
    app.no_connection()


@pytest.mark.parametrize(
    "garbage",
    [b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\0\r\n\r\n"],
    ids=["no HTTP", "space in a name", "folded", "NUL"],
)
def test_a_malformed_head_is_400(sidebeat, app, garbage):
    with Client(sidebeat.at()) as client:
        client.send(garbage)
        assert client.read_head().status == 400
        assert client.rest()[1] in (FIN, RESET)
    sidebeat.wait_rejected(bad_request=1)
    app.no_connection()


@pytest.mark.parametrize("where", ["header", "path"])
def test_a_head_over_its_limit_is_refused(sidebeat, app, where):
    long = "a" * (17 << 10)
    with Client(sidebeat.at()) as client:
        client.request(path="/" + long if where == "path" else "/", headers=[*OPENING, ("X-Long", long if where == "header" else "")])
        assert client.read_head().status in ((431,) if where == "header" else (414, 431))
    sidebeat.wait_rejected(bad_request=1)
    app.no_connection()
    still_works(sidebeat, app)


def test_a_head_just_under_its_limit_passes(sidebeat, app):
    outer, inner = open_ws(sidebeat, app, headers=[("X-Long", "a" * (15 << 10))])
    echo_ws(outer, inner)


def test_ordinary_requests_are_426_where_http_is_refused(app):
    with Sidebeat({"main": listener("ws", app.url(), http="refuse")}) as sidebeat:
        head, _ = refused(sidebeat, headers=[])
        assert head.status == 426 and head.one("sec-websocket-version") == "13"
        app.no_connection()
        still_works(sidebeat, app)


def test_an_ordinary_request_passes_and_is_no_stream(sidebeat, app):
    with Client(sidebeat.at()) as client:
        for path in ("/first", "/second"):
            client.request(path)
            with app.accept() as inner:
                assert inner.read_head().first == f"GET {path} HTTP/1.1"
                inner.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                head = client.read_head()
                assert head.status == 200 and client.read_body(head) == b"ok"
    assert sidebeat.metric("streams_opened_total") == 0
    sidebeat.wait_metric(2, "http_requests_total", code="2xx")


# --- patience --------------------------------------------------------------------------------------------------------


def drip(wire, data, until_ready, every=0.1):
    """Sends one byte at a time until the other wire has something to read; a peer that has gone ends it too."""
    for at in range(len(data)):
        try:
            wire.send(data[at:at + 1])
        except OSError:
            return
        until_ready.socket.settimeout(every)
        try:
            if until_ready.socket.recv(1, socket.MSG_PEEK) is not None:
                return
        except TimeoutError:
            pass
        except ConnectionResetError:
            return
    raise AssertionError(f"{len(data)} bytes were dripped and nothing happened")


def test_a_head_that_drips_is_408_at_the_total_timeout(sidebeat, app):
    with Client(sidebeat.at()) as client:
        started = time.monotonic()
        drip(client, b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: " + b"a" * 100, until_ready=client)
        assert client.read_head().status == 408
        assert 0.9 <= time.monotonic() - started < 5
        assert client.rest()[1] in (FIN, RESET)
    sidebeat.wait_rejected(handshake_timeout=1)
    app.no_connection()
    still_works(sidebeat, app)


@pytest.mark.parametrize("name", ["main", "secure"])
def test_a_connection_that_says_nothing_is_closed_at_the_total_timeout(sidebeat, app, authority, name):
    started = time.monotonic()
    with Client(sidebeat.at(name)) as client:
        assert client.rest(3)[1] in (FIN, RESET)
        assert 0.9 <= time.monotonic() - started < 5
    sidebeat.wait_rejected(handshake_timeout=1)
    still_works(sidebeat, app, authority)


def test_a_hello_that_drips_is_closed_at_the_total_timeout(sidebeat, app, authority):
    hello = ssl.MemoryBIO()
    session = authority.client().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    with Client(sidebeat.at("secure")) as client:
        started = time.monotonic()
        drip(client, hello.read(), until_ready=client)
        assert 0.9 <= time.monotonic() - started < 5
        assert client.rest()[1] in (FIN, RESET)
    sidebeat.wait_rejected(handshake_timeout=1)
    still_works(sidebeat, app, authority)


def test_a_head_that_drips_inside_tls_shares_the_total(sidebeat, app, authority):
    with Client(sidebeat.at("secure"), tls=authority.client()) as client:
        started = time.monotonic()
        client.socket.settimeout(0.1)
        for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: " + b"a" * 100:
            client.send(bytes([byte]))
            with contextlib.suppress(AssertionError):
                client.read(1, 0.1)
                break
            if client.ended:
                break
        assert 0.8 <= time.monotonic() - started < 5
    sidebeat.wait_rejected(handshake_timeout=1)
    still_works(sidebeat, app, authority)


def test_many_slow_hellos_do_not_delay_a_quick_client(app, authority):
    """CVE-2024-28854: each handshake stands alone."""
    with Sidebeat({"main": listener("wss", app.url(), tls=authority.tls(), limits={"handshake_timeout": "5s"})}) as sidebeat:
        slow = [Client(sidebeat.at()) for _ in range(200)]
        for client in slow:
            client.send(b"\x16\x03\x01")
        started = time.monotonic()
        outer, inner = open_ws(sidebeat, app, tls=authority.client())
        echo_ws(outer, inner)
        assert time.monotonic() - started < 2
        for client in slow:
            client.close()


# --- limits ----------------------------------------------------------------------------------------------------------


def test_streams_over_the_limit_are_503_and_welcome_later(app):
    with Sidebeat({"main": listener("ws", app.url(), limits={"streams": 2})}) as sidebeat:
        first, second = open_ws(sidebeat, app), open_ws(sidebeat, app)
        head, _ = refused(sidebeat)
        assert head.status == 503 and int(head.one("retry-after")) >= 1
        sidebeat.wait_rejected(too_many_streams=1)
        for wire in first:
            wire.close()
        until(lambda: sidebeat.metric("streams_active") == 1)
        until(lambda: sidebeat.metric("streams_closing") == 0)
        third = open_ws(sidebeat, app)
        echo_ws(*third)
        echo_ws(*second)


def test_streams_of_one_address_over_the_limit_are_429(app):
    with Sidebeat({"main": listener("ws", app.url(), limits={"streams_per_ip": 1})}) as sidebeat:
        kept = open_ws(sidebeat, app)
        head, _ = refused(sidebeat)
        assert head.status == 429 and int(head.one("retry-after")) >= 1
        sidebeat.wait_rejected(too_many_streams_per_ip=1)
        echo_ws(*kept)


def test_openings_over_the_rate_are_429(app):
    with Sidebeat({"main": listener("ws", app.url(), limits={"opens_per_second": 2})}) as sidebeat:
        answers = []
        for _ in range(20):
            with Client(sidebeat.at()) as client:
                client.open(headers=[])
                try:
                    inner = app.accept(0.2)
                except AssertionError:
                    answers.append(client.read_head().status)
                    break
                with inner:
                    answer_101(inner)
                    client.opened()
        assert answers == [429]
        until(lambda: sidebeat.rejected().get("rate_limited") == 1)


def test_raw_connections_over_the_limit_are_closed_at_accept(app):
    with Sidebeat({"main": listener("tcp", app.url("tcp"), limits={"streams": 1})}) as sidebeat:
        kept = open_tcp(sidebeat, app)
        echo_tcp(*kept)
        with Client(sidebeat.at()) as client:
            assert client.end() in (FIN, RESET)
        sidebeat.wait_rejected(too_many_streams=1)
        echo_tcp(*kept)


def test_a_client_cannot_reach_the_path_of_a_hook(tmp_path):
    """A close that a client forges must not reach the app."""
    with App() as app, Sidebeat(
        {"main": listener("ws", app.url())}, hooks={"app": {"url": app.url("http") + "/_sidebeat", "events": ["closed"]}}
    ) as sidebeat:
        for path in ("/_sidebeat", "/_sidebeat?x=1"):
            head, _ = refused(sidebeat, headers=[], path=path, method="POST")
            assert head.status == 404
        app.no_connection()
