"""examples/push: its page does what it says, and the PHP in it says what went wrong."""

import os
import subprocess

import pytest
import yaml

from harness import pages
from harness.sidebeat import ROOT, Sidebeat
from harness.wire import TEXT, open_ws

PUSH = ROOT / "examples" / "push"
NAMED = [("sidebeat-uid", "42"), ("sidebeat-tags", "room:7,beta")]


@pytest.fixture
def sidebeat(app):
    """Its configuration, on ports of the kernel's choice."""
    top = yaml.safe_load((PUSH / "sidebeat.yaml").read_text())
    listeners = top.pop("listeners")
    assert top.pop("admin") == {"listen": "127.0.0.1:9600"} and not top
    listeners["chat"].update(listen="ws://127.0.0.1:0", upstream=app.url("ws"))
    with Sidebeat(listeners) as sidebeat:
        yield sidebeat


def php(sidebeat, *arguments, **environment):
    at = "http://%s:%d" % sidebeat.at("admin")
    command = ["php", PUSH / "push.php", *arguments]
    return subprocess.run(command, env={**os.environ, "SIDEBEAT_ADMIN": at, **environment}, capture_output=True, text=True, timeout=60)


def test_the_page_pushes_and_cuts_off(sidebeat, app):
    clients = []

    def connect(command):
        # Whom a command has cut off is back before the next.
        if not clients or "DELETE" in command:
            clients.append(open_ws(sidebeat, app, "chat", app_headers=NAMED))

    assert pages.run(PUSH / "README.md", sidebeat, before=connect) == 5
    (first, _), (second, _) = clients
    assert first.answer.one("sidebeat-uid") is None and first.answer.one("sidebeat-tags") is None
    for _ in ("PHP", "curl", "ctl"):
        message = first.read_message()
        assert (message.opcode, message.payload) == (TEXT, b"Your order has shipped")
    assert first.read_close() == second.read_close() == (4001, "logged out")


def test_php_says_what_went_wrong(sidebeat):
    refused = php(sidebeat, "cut-off", "42", "99", "no such code")
    assert refused.returncode != 0 and "refused with 400: " in refused.stdout + refused.stderr, refused
    nobody = php(sidebeat, "push", "nobody & more", "hello")
    assert (nobody.returncode, nobody.stdout) == (0, "0 of 0 connections\n"), nobody
    sidebeat.stop()
    silent = php(sidebeat, "push", "42", "hello")
    assert silent.returncode != 0 and "does not answer" in silent.stdout + silent.stderr, silent


def test_php_shows_the_token(app, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    listeners = {"chat": {"listen": "ws://127.0.0.1:0", "upstream": app.url("ws")}}
    with Sidebeat(listeners, admin={"listen": "127.0.0.1:0", "token_file": str(token)}) as sidebeat:
        outer, _ = open_ws(sidebeat, app, "chat", app_headers=[("sidebeat-uid", "40+2 & é")])
        refused = php(sidebeat, "push", "40+2 & é", "hello")
        assert "refused with 401: " in refused.stdout + refused.stderr, refused
        done = php(sidebeat, "push", "40+2 & é", "hello", SIDEBEAT_TOKEN_FILE=str(token))
        assert done.stdout == "1 of 1 connections\n", done
        assert outer.read_message().payload == b"hello"
