"""Who a client is, and who may ask: the stream API as curl and `ctl` see it."""

import contextlib
import json
import os
import re
import socket
import stat
import subprocess
import threading

import pytest

from harness import pages
from harness.netns import Network
from harness.reader import Reader
from harness.sidebeat import ROOT, Sidebeat, binary, listener
from harness.wait import until
from harness.wire import TEXT, App, Client, answer_101, open_ws

LONG = {"idle_limit": "10m"}
FORGEABLE = {"query": "uid", "header": "x-user", "cookie": "sid", "first_message": "whole"}


def run(*command, **environment):
    """What a command says: (exit code, standard output, standard error)."""
    env = {**os.environ, **environment}
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def ctl(sidebeat, *arguments):
    """What `ctl` prints about a process."""
    code, out, err = run(binary(), "ctl", "--admin", "http://%s:%d" % sidebeat.at("admin"), *arguments)
    assert code == 0, err
    return out


def listed(sidebeat, query="", count=0):
    """What a selector finds; with a count, as soon as it is so many: a stream is listed right after its 101 was handed on."""

    def items():
        return json.loads(sidebeat.get(f"/v1/streams{query}")[2])["items"]

    if count:
        until(lambda: len(items()) == count, 60, what=f"{count} streams {query}")
    return items()


def known(sidebeat, uid, source):
    """Waits until the only stream is known like this."""
    until(lambda: [(one["uid"], one["uid_source"]) for one in listed(sidebeat)] == [(uid, source)], what=f"{uid} by {source}")


@pytest.mark.parametrize(
    "source,path,headers,app_headers",
    [
        ("response_header", "/", [], [("sidebeat-uid", "ann"), ("Sidebeat-Tags", "room:7, beta")]),
        ("query", "/chat?x=1&uid=ann", [], []),
        ("header", "/", [("X-User", "ann")], []),
        ("cookie", "/", [("Cookie", "theme=dark; sid=ann")], []),
    ],
)
def test_a_uid_of_the_opening_is_known_everywhere(app, hooks, tmp_path, source, path, headers, app_headers):
    rules = [{"response_header": "sidebeat-uid"}, *({name: word} for name, word in FORGEABLE.items() if name != "first_message")]
    chat = listener("ws", app.url("ws"), identity=rules, heartbeat=LONG)
    with Sidebeat({"chat": chat}, hooks=hooks.config(tmp_path)) as sidebeat:
        outer, inner = open_ws(sidebeat, app, "chat", path=path, headers=headers, app_headers=app_headers)
        assert not [name for name, _ in outer.answer.fields if name.lower().startswith("sidebeat-")], "the client is not told"
        tags = ["room:7", "beta"] if app_headers else []
        (stream,) = listed(sidebeat, "?uid=ann" + "".join(f"&tag={tag}" for tag in tags), count=1)
        assert (stream["uid"], stream["uid_source"], stream["tags"]) == ("ann", source, tags)
        assert re.search(rf"^{stream['id']} +chat +{re.escape(outer.address)} +ann ", ctl(sidebeat, "list"), re.MULTILINE)
        outer.send_close(1000)
        inner.read_message()
        inner.send_close(1000)
        line = sidebeat.wait_log(lambda line: line["message"] == "stream closed")
        until(lambda: hooks.events)
        for record in (line, hooks.events[0].event["data"], json.loads(sidebeat.get("/v1/closed")[2])["items"][0]):
            assert (record["uid"], record["uid_source"], record["tags"], record["uid_streams_left"]) == ("ann", source, tags, 0)


def test_what_the_app_says_is_believed_before_what_the_client_says(app):
    rules = [{"response_header": "sidebeat-uid"}, {"query": "uid"}]
    with Sidebeat({"chat": listener("ws", app.url("ws"), identity=rules, heartbeat=LONG)}) as sidebeat:
        open_ends = open_ws(sidebeat, app, "chat", path="/?uid=mallory", headers=[("sidebeat-uid", "mallory")], app_headers=[("sidebeat-uid", "zoë")])
        known(sidebeat, "zoë", "response_header")
        assert b"mallory" not in open_ends[1].opening.raw.split(b"\r\n", 1)[1], "a client's own header does not reach the app"
        stream = listed(sidebeat, "?uid=zo%C3%AB")[0]["id"]
        body = json.dumps({"uid": "42", "add_tags": ["vip"]}).encode()
        assert sidebeat.get(f"/v1/streams/{stream}", method="PATCH", body=body)[0] == 200
        known(sidebeat, "42", "api")
        assert [one["id"] for one in listed(sidebeat, "?uid=42&tag=vip")] == [stream] and not listed(sidebeat, "?uid=zo%C3%AB")


def test_the_first_message_is_a_uid_and_reaches_the_app(app):
    rules = [{"first_message": "whole"}]
    with Sidebeat({"chat": listener("ws", app.url("ws"), identity=rules, heartbeat=LONG)}) as sidebeat:
        outer = Client(sidebeat.at("chat"))
        outer.open("/", [("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")])
        inner = app.accept()
        assert answer_101(inner).one("sec-websocket-extensions") is None, "a compressed message could not be read"
        outer.opened()
        known(sidebeat, None, None)
        outer.send_frame(TEXT, b"an", fin=False)
        outer.send_frame(0, b"n")
        assert inner.read_frame().payload + inner.read_frame().payload == b"ann"
        known(sidebeat, "ann", "first_message")
        outer.send_text("somebody else")
        assert inner.read_message().payload == b"somebody else"
        known(sidebeat, "ann", "first_message")


def test_the_first_record_is_a_uid_on_tcp(app):
    feed = listener("tcp", app.url("tcp"), framing="line", identity=[{"first_message": "whole"}], heartbeat=LONG)
    with Sidebeat({"feed": feed}) as sidebeat, Client(sidebeat.at("feed")) as outer:
        inner = app.accept()
        outer.send(b"device-")
        assert inner.read(7) == b"device-"
        outer.send(b"7\r\nnext\n")
        assert inner.read(8) == b"7\r\nnext\n"
        known(sidebeat, "device-7", "first_message")


@pytest.mark.parametrize("rule", ["response_header", *FORGEABLE])
def test_check_says_which_uid_a_client_can_forge(rule, tmp_path):
    word = FORGEABLE.get(rule, "sidebeat-uid")
    path = tmp_path / "sidebeat.yaml"
    path.write_text(json.dumps({"listeners": {"chat": listener("ws", "ws://127.0.0.1:1", identity=[{rule: word}])}}))
    code, out, err = run(binary(), "check", "-c", path)
    named = rule if rule == "first_message" else f"{rule} {word}"
    assert code == 0
    assert (f"a client can forge its uid by {named}: " in out + err) == (rule in FORGEABLE), out + err


def test_why_is_a_sentence_with_its_evidence(app):
    heartbeat = {"idle_limit": "3s", "ping": {"interval": "1200ms", "jitter": "0%"}}
    with Sidebeat({"chat": listener("ws", app.url("ws"), heartbeat=heartbeat)}) as sidebeat:
        outer, inner = open_ws(sidebeat, app, "chat")
        identity = listed(sidebeat, count=1)[0]["id"]
        assert "it is open, for " in ctl(sidebeat, "why", identity)
        inner.socket.settimeout(60)
        sidebeat.wait_closed(60, client_idle=1)
        why = ctl(sidebeat, "why", identity)
        sentence = (
            r"client_idle by sidecar at \S+Z, \S+ after it opened: nothing heard for \d\.\d s; "
            r"pings at \d\.\d s and \d\.\d s unanswered; closed \d+ ms late\n"
        )
        assert re.fullmatch(sentence, why), why
        record = json.loads(ctl(sidebeat, "--json", "why", identity))
        assert (record["reason"], len(record["evidence"]["unanswered_pings_ms"])) == ("client_idle", 2)
        outer.close()


@pytest.mark.root
def test_a_name_with_several_addresses_is_several_processes(tmp_path):
    hosts, token = tmp_path / "hosts", tmp_path / "token"
    token.write_text("s3cret\n")
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(Network("a", "b"))
        addresses = list(net.gateway.values())
        hosts.write_text("".join(f"{address} sidebeat.internal\n" for address in addresses))
        app = stack.enter_context(App(netns=net.middle))
        chat = {"chat": listener("ws", app.url("ws"), identity=[{"query": "uid"}], heartbeat=LONG)}
        first, second = (
            stack.enter_context(Sidebeat(chat, netns=net.middle, admin={"listen": f"{address}:9600", "token_file": str(token)})) for address in addresses
        )

        def ask(*arguments):
            command = [binary(), "ctl", "--admin", "http://sidebeat.internal:9600", "--token-file", token, *arguments]
            inside = 'mount --bind "$0" /etc/hosts && exec "$@"'
            return run("ip", "netns", "exec", net.middle, "unshare", "--mount", "sh", "-c", inside, hosts, *command)

        clients = [open_ws(one, app, "chat", path="/?uid=ann", netns=net.middle) for one in (first, second, second)]
        for one, count in ((first, 1), (second, 2)):
            one.wait_metric(count, "streams_active", within=60)
        code, out, err = ask("list", "--uid", "ann")
        assert code == 0, err
        heads, *lines = [line.split() for line in out.splitlines()]
        assert heads[-1] == "PROCESS"
        assert sorted(line[-1] for line in lines) == [f"{address}:9600" for address in (addresses[0], addresses[1], addresses[1])], out
        assert ask("send", "--uid", "ann", "--text", "hello")[1] == "3 matched, 3 done, 0 failed\n"
        assert [outer.read_message().payload for outer, _ in clients] == [b"hello"] * 3
        of_second = next(line[0] for line in lines if line[-1] == f"{addresses[1]}:9600")
        assert "it is open, for " in ask("why", of_second)[1], "whichever process has it"
        assert ask("close", of_second, "--code", "4001")[0] == 0
        second.wait_closed(60, admin_close=1)
        assert first.closed() == {}
        for outer, inner in clients:
            outer.close()
            inner.close()


def test_the_unix_socket_is_for_its_group(app, tmp_path):
    path = tmp_path / "admin.sock"
    config = {"listeners": {"chat": listener("ws", app.url("ws"), heartbeat=LONG)}, "admin": {"listen": f"unix:{path}"}}
    file = tmp_path / "sidebeat.yaml"
    file.write_text(json.dumps({**config, "telemetry": {"listen": "127.0.0.1:0"}, "log": {"format": "json"}}))
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen([binary(), "run", "-c", file], stdout=out, stderr=subprocess.STDOUT)
    try:
        until(path.exists, 60, what="the socket is there")
        assert stat.filemode(path.stat().st_mode) == "srw-rw----"
        status = json.loads(run("curl", "-sS", "--unix-socket", path, "http://sidebeat/v1/status")[1])
        assert status["state"] == "running"
        assert "running" in run(binary(), "ctl", "--admin", f"unix:{path}", "status")[1]
        assert "running" in run(binary(), "ctl", "-c", file, "status")[1]
        run("curl", "-sS", "-X", "POST", "--unix-socket", path, "http://sidebeat/v1/reload")
        until(lambda: f'"peer":"unix uid {os.getuid()}","call":"POST /v1/reload","status":200' in log.read_text())
    finally:
        process.terminate()
        process.wait(60)
    assert not path.exists()


def test_only_the_bearer_of_the_token_is_served(app, tmp_path):
    token = tmp_path / "token"
    token.write_text("old\n")
    chat = listener("ws", app.url("ws"), heartbeat=LONG)
    with Sidebeat({"chat": chat}, admin={"listen": "0.0.0.0:0", "token_file": str(token)}) as sidebeat:
        url = "http://127.0.0.1:%d" % sidebeat.at("admin")[1]

        def status(*arguments, path="/v1/status"):
            return run("curl", "-sS", "-o", tmp_path / "answer", "-w", "%{http_code}", f"{url}{path}", *arguments)[1]

        bearer = ("-H", "Authorization: Bearer old")
        assert [status(), status("-H", "Authorization: Bearer new"), status(*bearer)] == ["401", "401", "200"]
        assert status("-H", "Host: pod.namespace.svc", *bearer) == "200", "who has the token is no page that was rebound"
        assert [status(path="/"), status(path="/openapi.json")] == ["200", "401"], "the page asks for the token by itself"
        code, _, err = run(binary(), "ctl", "--admin", url, "status")
        assert code == 1 and "admin.token_file" in err, err
        assert run(binary(), "ctl", "--admin", url, "--token-file", token, "status")[0] == 0
        token.write_text("new\n")
        until(lambda: status("-H", "Authorization: Bearer new") == "200", 60, what="the new token is believed")
        assert status(*bearer) == "401", "and the old one no longer"


def test_the_page_about_the_api_says_what_it_does(app):
    page = ROOT / "docs" / "api.md"
    with Sidebeat({"chat": listener("ws", app.url("ws"))}) as sidebeat:
        document = json.loads(sidebeat.get("/openapi.json")[2])["paths"]
        calls = {f"{method.upper()} {path}" for path, operations in document.items() for method in operations if method != "parameters"}
        assert set(re.findall(r"^\| `([A-Z]+ /\S*)` \|", page.read_text(), re.MULTILINE)) == calls

        opening = threading.Thread(target=lambda: ends.append(Reader(sidebeat.at("chat"), "/chat")))
        ends = []
        opening.start()
        inner = app.accept(60)
        answer_101(inner)
        opening.join()
        (stream,) = listed(sidebeat, count=1)
        # The figures of a stream that has answered a ping stand on the page.
        assert sidebeat.get(f"/v1/streams/{stream['id']}/ping", method="POST", within=60)[0] == 200
        assert pages.run(page, sidebeat, ID=stream["id"]) == 11
        (reader,) = ends
        assert reader.heard == ["Your order has shipped", '{"type":"moved","room":8}', "The server restarts at noon\n"]
        inner.close()


def test_an_address_for_everybody_needs_a_token(tmp_path):
    path = tmp_path / "sidebeat.yaml"
    path.write_text(json.dumps({"listeners": {"chat": listener("ws", "ws://127.0.0.1:1")}, "admin": {"listen": "0.0.0.0:9600"}}))
    code, _, err = run(binary(), "check", "-c", path)
    assert code == 78 and "token_file" in err, err


def test_pages_of_others_are_refused(app):
    with Sidebeat({"chat": listener("ws", app.url("ws"), heartbeat=LONG)}, admin={"listen": "127.0.0.1:0", "hosts": ["ops.internal"]}) as sidebeat:
        outer, inner = open_ws(sidebeat, app, "chat")
        own = "%s:%d" % sidebeat.at("admin")
        for headers, expected in [
            ({"Host": "ops.internal"}, 200),
            ({"Host": "evil.example"}, 403),
            ({"Host": own, "Origin": f"http://{own}"}, 200),
            ({"Host": own, "Origin": "http://evil.example"}, 403),
            ({"Host": own, "Origin": "null"}, 403),
        ]:
            status, _, body = sidebeat.get("/v1/streams", headers=headers)
            assert status == expected, headers
            status, _, _ = sidebeat.get("/v1/streams?uid=nobody", method="DELETE", headers=headers)
            assert status == expected, headers
            assert expected == 200 or json.loads(body)["status"] == 403
        assert not sidebeat.get("/v1/streams")[1].get_all("access-control-allow-origin")
        outer.close()
        inner.close()


def test_a_get_changes_nothing_and_every_change_is_logged_with_who_asked(app):
    with Sidebeat({"chat": listener("ws", app.url("ws"), heartbeat=LONG)}) as sidebeat:
        outer, inner = open_ws(sidebeat, app, "chat")
        (stream,) = listed(sidebeat, count=1)
        document = json.loads(sidebeat.get("/openapi.json")[2])
        changes = {path: set(operations) - {"get", "parameters"} for path, operations in document["paths"].items()}
        assert sum(map(len, changes.values())) == 8
        for path in changes:
            if path == "/v1/events":
                continue
            target = path.replace("{id}", stream["id"])
            for method in ("GET", "HEAD"):
                status = sidebeat.get(target, method=method)[0]
                assert status == (200 if "get" in document["paths"][path] else 405), (method, path)
        assert [one["id"] for one in listed(sidebeat)] == [stream["id"]]
        assert json.loads(sidebeat.get("/v1/status")[2])["state"] == "running"
        assert not [line for _, line in sidebeat.lines if line.get("message") == "admin call"]

        with socket.create_connection(sidebeat.at("admin")) as caller:
            me = "%s:%d" % caller.getsockname()
            for method, target, status in [
                ("PATCH", f"/v1/streams/{stream['id']}", 200),
                ("POST", f"/v1/streams/{stream['id']}/messages", 200),
                ("POST", "/v1/messages?uid=nobody", 200),
                ("DELETE", f"/v1/streams/{stream['id']}?code=99", 400),
                ("DELETE", f"/v1/streams/{stream['id']}?code=4001", 202),
                ("DELETE", "/v1/streams?uid=nobody", 200),
                ("POST", "/v1/reload", 200),
                ("POST", "/v1/drain", 202),
            ]:
                caller.sendall(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
                asked = {"peer": me, "call": f"{method} {target}", "status": status}
                sidebeat.wait_log(lambda line, asked=asked: asked.items() <= line.items(), 60)
        assert outer.read_message().payload == b""
        assert outer.read_close() == (4001, "admin_close")
        outer.close()
        with contextlib.suppress(OSError):
            inner.close()
