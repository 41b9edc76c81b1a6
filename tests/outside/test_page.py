"""The status page in a real browser."""

import asyncio
import json
import os
import pathlib
import resource
import subprocess
import sys
import threading

import pytest

from harness.browser import Browser
from harness.crowd import Member
from harness.sidebeat import Sidebeat, listener
from harness.wire import CLOSE, TEXT, Client

HERE = pathlib.Path(__file__).resolve().parent
HEARTBEAT = {"idle_limit": "4s", "ping": {"interval": "1200ms", "jitter": "0%"}}


@pytest.fixture
def crowd_app():
    """An app that answers every opening with a tag."""
    app = subprocess.Popen([sys.executable, "-m", "harness.crowd", "app", "sidebeat-tags=room:7,beta"], cwd=HERE, stdout=subprocess.PIPE)
    yield json.loads(app.stdout.readline())["port"]
    app.kill()
    app.wait()
    app.stdout.close()


class Reader:
    """A client that answers pings and notes what it reads."""

    def __init__(self, at, path):
        self.wire = Client(at)
        self.wire.open(path)
        self.wire.opened()
        self.heard, self.closed = [], None
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        try:
            while True:
                frame = self.wire.read_message(3600)
                if frame.opcode == TEXT:
                    self.heard.append(frame.payload.decode())
                elif frame.opcode == CLOSE:
                    self.closed = (int.from_bytes(frame.payload[:2]), frame.payload[2:].decode())
                    return
        except (AssertionError, OSError):
            pass


def chat(port, **heartbeat):
    return listener("ws", f"ws://127.0.0.1:{port}", identity=[{"query": "uid"}], heartbeat={**HEARTBEAT, **heartbeat})


def page(sidebeat):
    return "http://%s:%d/" % sidebeat.at("admin")


def row(browser, address):
    """The cells of the stream of this client."""
    script = """const row = [...document.querySelectorAll('#streams tr')].find((r) => r.innerText.includes(arguments[0]));
        return row ? [...row.children].map((cell) => cell.innerText) : null;"""
    return browser.run(script, address)


def test_a_stream_is_shown_asked_told_and_closed(crowd_app):
    with Sidebeat({"chat": chat(crowd_app)}) as sidebeat, Browser() as browser:
        reader = Reader(sidebeat.at("chat"), "/?uid=ann")
        browser.open(page(sidebeat))
        browser.wait(lambda: browser.text("#live") == "Live", what="the page is live")
        cells = browser.wait(lambda: row(browser, reader.wire.address))
        assert cells[1:4] == ["ann", "room:7\nbeta", "chat"] or cells[1:4] == ["ann", "room:7beta", "chat"], cells
        browser.wait(lambda: row(browser, reader.wire.address)[7].endswith(" ms"), what="the round trip of a ping")
        browser.wait(lambda: browser.text("#t-median").endswith(" ms") and browser.find("#trips rect.bar"), what="the chart of round trips")
        assert browser.text("#state") == "Running"

        browser.click("#streams button", "Ping")
        browser.wait(lambda: browser.text("#said").startswith("The client answered after"))

        browser.click("#streams button", "Message")
        assert f"{reader.wire.address}, uid ann, listener chat" in browser.text("#message-who")
        browser.click("#message-no")
        assert reader.heard == []
        browser.click("#streams button", "Message")
        browser.type("#message", "hello from the page")
        browser.click("#message-yes")
        browser.wait(lambda: reader.heard == ["hello from the page"])
        browser.wait(lambda: "has taken all 19 bytes" in browser.text("#said"))

        browser.click("#streams button", "Close")
        browser.click("#close-no")
        assert reader.closed is None and row(browser, reader.wire.address)
        browser.click("#streams button", "Close")
        browser.type("#close-code", "4001")
        browser.type("#close-reason", "logged out")
        browser.click("#close-yes")
        browser.wait(lambda: reader.closed == (4001, "logged out"))
        browser.wait(lambda: row(browser, reader.wire.address) is None, what="it is gone from the table")
        closed = browser.wait(lambda: browser.texts("#closed tr:first-child td"))
        assert closed[1:5] == [reader.wire.address, "ann", "chat", "Closed by an administrator"], closed
        sidebeat.wait_closed(admin_close=1)


def test_a_silent_client_is_shown_to_its_end_with_the_evidence(crowd_app):
    with Sidebeat({"chat": chat(crowd_app)}) as sidebeat, Browser() as browser:
        browser.open(page(sidebeat))
        browser.wait(lambda: browser.text("#live") == "Live")
        silent = Client(sidebeat.at("chat"))
        silent.open("/?uid=bob")
        silent.opened()
        browser.wait(lambda: (row(browser, silent.address) or [""] * 9)[7] == "not answered yet", what="its ping")
        why = browser.wait(lambda: [words for words in browser.texts("#closed td.wide") if words.startswith("The client was silent")])[0]
        assert "nothing heard for 4.0 s; pings at " in why and " unanswered; closed " in why, why
        browser.wait(lambda: "The client was silent: 1" in browser.text("#ends-legend"))
        assert browser.find("#ends rect.idle")


def test_what_is_searched_is_found_by_the_server(crowd_app):
    with Sidebeat({"chat": chat(crowd_app, idle_limit="60s")}) as sidebeat, Browser() as browser:
        readers = [Reader(sidebeat.at("chat"), f"/?uid=user-{n}") for n in range(5)]
        browser.open(page(sidebeat))
        browser.wait(lambda: browser.text("#live") == "Live")
        for words, expected in (("user-3", 1), ("tag:room:7 listener:chat", 5), ("127.0.0.0/8", 5), ("user-3 tag:none", 0)):
            browser.type("#search", words)
            what = f"{expected} for {words}"
            browser.wait(lambda: browser.text("#h-streams") == "Streams found" and browser.text("#found") == str(expected), what=what)
            assert len(browser.texts("#streams tr")) == expected
        identity = json.loads(sidebeat.get("/v1/streams?uid=user-1")[2])["items"][0]["id"]
        browser.type("#search", identity)
        browser.wait(lambda: [cells for cells in browser.texts("#streams tr") if "user-1" in cells])
        assert sidebeat.get(f"/v1/streams/{identity}", method="DELETE")[0] == 202
        browser.wait(lambda: "This stream has ended. Closed by an administrator" in browser.text("#no-streams"))
        browser.type("#search", "tag:" + "x" * 65)
        browser.wait(lambda: "1 to 64 bytes" in browser.text("#no-streams"))
        assert len(readers) == 5


def test_the_page_asks_for_the_token(crowd_app, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret")
    with Sidebeat({"chat": chat(crowd_app)}, admin={"listen": "127.0.0.1:0", "token_file": str(token)}) as sidebeat, Browser() as browser:
        browser.open(page(sidebeat))
        for word in ("wrong", "s3cret"):
            browser.wait(lambda: browser.find("#token"))
            browser.type("#token", word)
            browser.click("#ask-token button")
        browser.wait(lambda: browser.text("#live") == "Live")
        assert not browser.find("#token")


def test_the_page_says_so_when_it_is_no_longer_live(crowd_app):
    with Sidebeat({"chat": chat(crowd_app)}) as sidebeat:
        with Browser() as browser:
            browser.complains = lambda lines: []
            browser.open(page(sidebeat))
            browser.wait(lambda: browser.text("#live") == "Live")
            sidebeat.stop()
            browser.wait(lambda: browser.text("#live").startswith("Not live: "))


@pytest.mark.parametrize("width,dark", [(1280, False), (1280, True), (390, False)])
def test_it_fits_light_dark_and_a_phone(crowd_app, width, dark):
    with Sidebeat({"chat": chat(crowd_app)}) as sidebeat, Browser(width=width, dark=dark) as browser:
        readers = [Reader(sidebeat.at("chat"), f"/?uid=user-{n}") for n in range(8)]
        with_silent = Client(sidebeat.at("chat"))
        with_silent.open("/?uid=silent")
        with_silent.opened()
        browser.open(page(sidebeat))
        browser.wait(lambda: len(browser.texts("#streams tr")) == 8 and browser.texts("#closed tr"))
        browser.wait(lambda: browser.find("#trips rect.bar"))
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), "no part sticks out"
        channels = browser.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (sum(channels) < 200) == dark, channels
        if picture := os.environ.get("SIDEBEAT_PICTURES"):
            pathlib.Path(picture).mkdir(exist_ok=True)
            browser.driver.save_screenshot(f"{picture}/status-{width}{'-dark' if dark else ''}.png")
        assert len(readers) == 8


def test_thousands_of_streams_do_not_slow_it_down(crowd_app):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    crowd = 3000

    async def play(sidebeat, browser):
        members = []
        for begin in range(0, crowd, 100):
            members += await asyncio.gather(*(Member.open(sidebeat.at("chat"), f"/?uid={n}") for n in range(begin, begin + 100)))
        browser.wait(lambda: browser.text("#t-open") == f"{crowd:,}", within=20)
        took = browser.run("const began = performance.now(); render(); return performance.now() - began")
        assert took < 200, f"one rendering takes {took} ms"
        assert len(browser.texts("#streams tr")) == 12
        browser.type("#search", "1234")
        browser.wait(lambda: browser.text("#found") == "1")
        for member in members:
            await member.close()
        browser.wait(lambda: browser.text("#t-open") == "0", within=20)

    with Sidebeat({"chat": chat(crowd_app, idle_limit="10m")}) as sidebeat, Browser() as browser:
        browser.open(page(sidebeat))
        browser.wait(lambda: browser.text("#live") == "Live")
        asyncio.run(play(sidebeat, browser))
