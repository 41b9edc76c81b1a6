"""Where the internet begins: certificates that change, sessions that resume, PROXY headers, and addresses that are taken."""

import contextlib
import datetime
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess

import pytest

from harness.certs import Authority
from harness.sidebeat import Sidebeat, binary, listener
from harness.wait import until
from harness.wire import Client, Wire, answer_101, echo_tcp, echo_ws, open_tcp, open_ws

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def served(sidebeat, name="main"):
    """The certificate that a newcomer is shown (DER)."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(sidebeat.at(name), 5) as plain, context.wrap_socket(plain, server_hostname="localhost") as wrapped:
        return wrapped.getpeercert(binary_form=True)


def der(path):
    return ssl.PEM_cert_to_DER_cert(open(path).read().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----")


class Volume:
    """A Secret as Kubernetes mounts it: files are links through `..data`, which is swapped as a whole."""

    def __init__(self, directory, pair):
        self.directory, self.version = directory, 0
        self.put(pair)
        for name in ("tls.crt", "tls.key"):
            (directory / name).symlink_to(f"..data/{name}")
        self.tls = {"certificates": [{"cert": str(directory / "tls.crt"), "key": str(directory / "tls.key")}]}

    def put(self, pair):
        self.version += 1
        folder = self.directory / f"..{self.version}"
        folder.mkdir()
        for name, source in zip(("tls.crt", "tls.key"), pair):
            shutil.copy(source, folder / name)
        (self.directory / "..data_tmp").symlink_to(folder.name)
        (self.directory / "..data_tmp").rename(self.directory / "..data")


@pytest.mark.parametrize("asked", ["by itself", "SIGHUP", "API"])
def test_a_swapped_secret_is_served_to_newcomers_and_streams_stay(asked, app, authority, tmp_path):
    old, new = (authority.issue(name, "localhost") for name in (f"old-{tmp_path.name}", f"new-{tmp_path.name}"))
    volume = Volume(tmp_path, old)
    with Sidebeat({"main": listener("wss", app.url(), tls=volume.tls)}) as sidebeat:
        outer, inner = open_ws(sidebeat, app, tls=authority.client(), host="localhost")
        with outer, inner:
            assert served(sidebeat) == der(old[0])
            volume.put(new)
            if asked == "SIGHUP":
                sidebeat.kill(signal.SIGHUP)
            elif asked == "API":
                assert sidebeat.get("/v1/reload", method="POST")[0] == 200
            until(lambda: served(sidebeat) == der(new[0]), 20, every=0.2, what="the new certificate is served")
            echo_ws(outer, inner)
            assert sidebeat.closed() == {}


def test_a_pair_that_is_half_written_keeps_the_old_one_and_says_so(app, authority, tmp_path):
    old, new = (authority.issue(name, "localhost") for name in (f"old-{tmp_path.name}", f"new-{tmp_path.name}"))
    cert, key = (shutil.copy(source, tmp_path / name) for source, name in zip(old, ("tls.crt", "tls.key")))
    tls = {"certificates": [{"cert": str(cert), "key": str(key)}]}
    with Sidebeat({"main": listener("wss", app.url(), tls=tls)}) as sidebeat:
        for half in (new[0], None):
            if half:
                shutil.copy(half, cert)
            else:
                cert.write_text(open(new[0]).read()[:200])
            status, _, body = sidebeat.get("/v1/reload", method="POST")
            assert status >= 400 and str(cert) in body.decode(), body
            assert served(sidebeat) == der(old[0])
            assert str(cert) in json.loads(sidebeat.get("/v1/status")[2])["configuration"]["last_error"]
            assert sidebeat.metric("config_last_reload_successful") == 0
        shutil.copy(new[0], cert)
        shutil.copy(new[1], key)
        assert sidebeat.get("/v1/reload", method="POST")[0] == 200
        assert served(sidebeat) == der(new[0])
        assert sidebeat.metric("config_last_reload_successful") == 1


def test_a_certificate_that_ends_soon_is_told_of_while_it_is_in_use(app, authority):
    now = datetime.datetime.now(datetime.UTC)
    lives = {"fresh": (-1, 80), "late": (-80, 8), "ended": (-90, -1)}
    listeners = {}
    for name, life in lives.items():
        begin, end = (now + datetime.timedelta(days=days) for days in life)
        cert, key = authority.issue(name, "localhost", not_before=begin, not_after=end)
        listeners[name] = listener("wss", app.url(), tls={"certificates": [{"cert": cert, "key": key}]})
    with Sidebeat(listeners) as sidebeat:
        for name in ("late", "ended"):
            line = sidebeat.wait_log(lambda line, name=name: line["level"] == "warn" and line.get("listener") == name and "not_after" in line)
            assert line["path"].endswith(f"{name}.crt")
        sidebeat.get("/v1/reload", method="POST")
        named = [line["listener"] for _, line in sidebeat.lines if "not_after" in line]
        assert set(named) == {"late", "ended"}

        def shown():
            return set(sidebeat.metrics().by("listener", "sidebeat_tls_certificate_not_after_timestamp_seconds"))

        assert shown() == set(lives)
        # One listener goes, one speaks without TLS from now on: nobody is to be woken for their certificates.
        sidebeat.write({**sidebeat.config, "listeners": {"fresh": listeners["fresh"], "late": listener("ws", app.url())}})
        assert sidebeat.get("/v1/reload", method="POST")[0] == 200
        assert shown() == {"fresh"}


def handshake(at, context, session=None):
    """A connection after an answer, with which tickets of TLS 1.3 come, too: whether it was resumed, and its session."""
    with socket.create_connection(at, 5) as plain, context.wrap_socket(plain, server_hostname="localhost", session=session) as wrapped:
        wrapped.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = wrapped.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 426 "), answer
        return wrapped.session_reused, wrapped.session


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_session_resumes_on_every_worker_and_never_where_a_certificate_is_required(version, app, authority):
    pairs = authority.tls()
    mutual = {**pairs, "client_ca": authority.ca_file}
    listeners = {"open": listener("wss", app.url(), tls=pairs, http="refuse"), "mutual": listener("wss", app.url(), tls=mutual, http="refuse")}
    context = authority.client()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with Sidebeat(listeners, workers=4) as sidebeat:
        resumed, session = handshake(sidebeat.at("open"), context)
        assert not resumed
        # The kernel spreads connections over the workers: the chance that one of them sees none is below 1e-4.
        again = [handshake(sidebeat.at("open"), context, session)[0] for _ in range(40)]
        assert again == [True] * 40, again
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            handshake(sidebeat.at("mutual"), context, session)
        sidebeat.wait_rejected(tls_error=1)


def test_an_upstream_is_told_who_we_are_and_must_be_who_we_asked_for(app, authority, tmp_path):
    context = authority.server("app.internal")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca_file)
    cert, key = authority.issue("sidecar", "sidecar.internal")
    ours = {"ca": authority.ca_file, "server_name": "app.internal", "cert": cert, "key": key}
    other = tmp_path / "other"
    other.mkdir()
    listeners = {
        "main": listener("tcp", app.url("tls"), upstream_tls=ours),
        "nameless": listener("tcp", app.url("tls"), upstream_tls={**ours, "server_name": "other.internal"}),
        "stranger": listener("tcp", app.url("tls"), upstream_tls={**ours, "ca": Authority(other).ca_file}),
    }
    with Sidebeat(listeners) as sidebeat:
        outer, inner = open_tcp(sidebeat, app)
        with outer, inner:
            inner.socket = context.wrap_socket(inner.socket, server_side=True)
            names = [value for kind, value in inner.socket.getpeercert()["subjectAltName"]]
            assert names == ["sidecar.internal"]
            echo_tcp(outer, inner)
        for name in ("nameless", "stranger"):
            with Client(sidebeat.at(name)) as outer, app.accept() as inner:
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    inner.socket = context.wrap_socket(inner.socket, server_side=True)
                    inner.socket.recv(1)
                assert outer.rest()[0] == b""
        sidebeat.wait_rejected(upstream_unreachable=2)


def v2(command, family, body):
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack("!H", len(body)) + body


V4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("198.51.100.1") + struct.pack("!HH", 51234, 443)
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7") + socket.inet_pton(socket.AF_INET6, "2001:db8::1") + struct.pack("!HH", 51234, 443)
TLVS = b"\x05\0\x03abc" + b"\x20\0\x05\x01\0\0\0\0" + b"\xe0\x04\0" + bytes(1024)
PROXIED = {
    "v1": (b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n", "192.0.2.7"),
    "v1 of IPv6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 443\r\n", "2001:db8::7"),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    "v2": (v2(1, 0x11, V4), "192.0.2.7"),
    "v2 with TLVs": (v2(1, 0x11, V4 + TLVS), "192.0.2.7"),
    "v2 of IPv6 with TLVs": (v2(1, 0x21, V6 + TLVS), "2001:db8::7"),
    "v2 LOCAL": (v2(0, 0, b""), "127.0.0.1"),
    "v2 LOCAL with addresses": (v2(0, 0x11, V4 + TLVS), "127.0.0.1"),
}


@pytest.mark.parametrize("name", PROXIED)
def test_the_client_is_who_the_proxy_header_says(name, app):
    header, address = PROXIED[name]
    with Sidebeat({"main": listener("ws", app.url(), proxy_protocol={"accept": ["127.0.0.0/8"]})}) as sidebeat:
        with Client(sidebeat.at()) as outer:
            # A byte first, and the rest with the opening right behind it.
            outer.send(header[:1])
            outer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            outer.send(header[1:])
            outer.open()
            outer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
            with app.accept() as inner:
                assert answer_101(inner).one("x-forwarded-for") == address
                outer.opened()
                echo_ws(outer, inner)


@pytest.mark.parametrize("header", [b"", v2(1, 0x11, V4[:-1]), v2(1, 0x11, V4)[:12] + b"\x31" + v2(1, 0x11, V4)[13:], b"PROXY TCP4 192.0.2.7\r\n"])
def test_without_its_proxy_header_nobody_is_let_in(header, app):
    with Sidebeat({"main": listener("ws", app.url(), proxy_protocol={"accept": ["127.0.0.0/8"]})}) as sidebeat:
        with Client(sidebeat.at()) as outer:
            outer.send(header)
            # It may be gone before the rest is sent.
            with contextlib.suppress(ConnectionError):
                outer.open()
            assert outer.rest()[0] == b""
        sidebeat.wait_rejected(proxy_protocol_error=1)
        app.no_connection()


def test_the_app_gets_the_stream_id_in_a_proxy_header(app):
    with Sidebeat({"main": listener("tcp", app.url("tcp"), proxy_protocol={"send": "v2"})}) as sidebeat:
        outer, inner = open_tcp(sidebeat, app)
        with outer, inner:
            head = inner.read(16)
            assert head[:14] == SIGNATURE + b"\x21\x11"
            body = inner.read(int.from_bytes(head[14:]))
            here = outer.socket.getsockname()
            assert (socket.inet_ntoa(body[:4]), int.from_bytes(body[8:10])) == here
            [stream] = until(lambda: json.loads(sidebeat.get("/v1/streams")[2])["items"])
            kind, length = body[12], int.from_bytes(body[13:15])
            assert (kind, body[15 : 15 + length].decode()) == (5, stream["id"])
            echo_tcp(outer, inner)


def test_a_second_process_on_the_address_ends_with_71(app):
    with Sidebeat({"main": listener("tcp", app.url("tcp"))}) as sidebeat:
        host, port = sidebeat.at()
        second = [binary(), "run", "--listen", f"tcp://{host}:{port}", "--upstream", app.url("tcp"), "--admin", "off", "--telemetry", "127.0.0.1:0"]
        ran = subprocess.run(second, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
        assert ran.returncode == 71 and f"{host}:{port}" in ran.stdout, ran.stdout
        for _ in range(8):
            outer, inner = open_tcp(sidebeat, app)
            with outer, inner:
                echo_tcp(outer, inner)


def test_an_app_behind_a_unix_socket(tmp_path):
    path = os.path.join(tmp_path, "app.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        server.settimeout(5)
        with Sidebeat({"main": listener("ws", f"unix:{path}"), "raw": listener("tcp", f"unix:{path}")}) as sidebeat:
            with Client(sidebeat.at()) as outer:
                outer.open()
                with Wire(server.accept()[0]) as inner:
                    answer_101(inner)
                    outer.opened()
                    echo_ws(outer, inner)
            with Client(sidebeat.at("raw")) as outer, Wire(server.accept()[0]) as inner:
                echo_tcp(outer, inner)
