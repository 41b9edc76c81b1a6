"""The status page in a real browser."""

import asyncio
import datetime
import json
import os
import pathlib
import re
import resource
import socket
import subprocess
import sys

import pytest

from harness.browser import PATIENCE, Browser
from harness.crowd import Member
from harness.fleet import Fleet
from harness.reader import Reader
from harness.sidebeat import ROOT, Sidebeat, listener
from harness.wait import until
from harness.wire import Client

HERE = pathlib.Path(__file__).resolve().parent

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def browser():
    """One for all tests of a process: it takes longer to start than a test to run."""
    browser = Browser()
    yield browser
    browser.quit()


@pytest.fixture
def crowd_app():
    """An app that answers every opening with tags."""
    app = subprocess.Popen([sys.executable, "-m", "harness.crowd", "app", "sidebeat-tags=room:7,beta"], cwd=HERE, stdout=subprocess.PIPE)
    yield json.loads(app.stdout.readline())["port"]
    app.kill()
    app.wait()
    app.stdout.close()


def silent(at, path):
    """A client that answers no ping."""
    client = Client(at)
    client.open(path)
    client.opened(PATIENCE)
    return client


def chat(port, **heartbeat):
    """A listener that asks often and closes late: whatever the machine has to do, nobody's limit runs out."""
    heartbeat = {"idle_limit": "10m", "ping": {"interval": "1200ms", "jitter": "0%"}, **heartbeat}
    return listener("ws", f"ws://127.0.0.1:{port}", identity=[{"query": "uid"}], heartbeat=heartbeat)


def page(sidebeat):
    return "http://%s:%d/" % sidebeat.at("admin")


def watch(browser, sidebeat):
    """Opens the page and waits until it is live."""
    browser.open(page(sidebeat))
    live(browser)


def live(browser):
    browser.wait(lambda: browser.text("#live") == "Live", what="the page is live")


def row(browser, address):
    """The cells of the stream of this client."""
    script = """const row = [...document.querySelectorAll('#streams tr')].find((r) => r.innerText.includes(arguments[0]));
        return row ? [...row.children].map((cell) => cell.innerText) : null;"""
    return browser.run(script, address)


def listen_to_notes(browser):
    """The page's short notes go away by themselves; this keeps them."""
    browser.run("""window.notes = []; const said = document.getElementById('said');
        new MutationObserver(() => notes.push(said.textContent)).observe(said, { childList: true });""")


def note(browser, words):
    """Waits for a note that begins like this, and forgets those before it."""
    script = "const at = notes.findIndex((note) => note.startsWith(arguments[0])); return at < 0 ? null : notes.splice(0, at + 1).at(-1)"
    return browser.wait(lambda: browser.run(script, words), what=f"the note: {words}")


def test_a_stream_is_shown_asked_told_and_closed(browser, crowd_app):
    with Sidebeat({"chat": chat(crowd_app)}) as sidebeat, browser.tab():
        watch(browser, sidebeat)
        listen_to_notes(browser)
        reader = Reader(sidebeat.at("chat"), "/?uid=ann")
        cells = browser.wait(lambda: row(browser, reader.address), what="the stream is shown")
        assert [cells[1], re.findall(r"room:7|beta", cells[2]), cells[3]] == ["ann", ["room:7", "beta"], "chat"], cells
        browser.wait(lambda: row(browser, reader.address)[7].endswith(" ms"), what="the round trip of a ping")
        browser.wait(lambda: browser.text("#t-median").endswith(" ms") and browser.find("#trips rect.bar"), what="the chart of round trips")
        assert browser.text("#state") == "Running"
        assert browser.text("#t-open") == "1"

        browser.click("#streams button", "Ping")
        note(browser, "The client answered after ")

        browser.click("#streams button", "Message")
        assert f"{reader.address}, uid ann, listener chat" in browser.text("#message-who")
        # Asked again before the page knows that the first dialog has ended.
        browser.run("const again = [...document.querySelectorAll('#streams button')].find((button) => button.textContent === 'Message');"
                    "document.querySelector('#message-no').click(); again.click()")
        browser.wait(lambda: browser.run("return document.querySelector('#ask-message').open"), what="the dialog is there again")
        browser.type("#message", "hello from the page")
        browser.click("#message-yes")
        note(browser, "The client's socket has taken all 19 bytes")
        until(lambda: reader.heard, PATIENCE)
        assert reader.heard == ["hello from the page"], "the first dialog sent nothing"

        browser.click("#streams button", "Close")
        assert f"{reader.address}, uid ann, listener chat" in browser.text("#close-who")
        browser.click("#close-no")
        sidebeat.wait_metric(1, "streams_active")
        browser.click("#streams button", "Close")
        browser.type("#close-code", "4001")
        browser.type("#close-reason", "logged out")
        assert reader.closed is None, "nothing was closed before the answer"
        browser.click("#close-yes")
        note(browser, "The stream is closed")
        until(lambda: reader.closed == (4001, "logged out"), PATIENCE)
        browser.wait(lambda: row(browser, reader.address) is None, what="it is gone from the table")
        closed = browser.wait(lambda: browser.texts("#closed tr:first-child td"), what="it is among the ended")
        assert closed[1:5] == [reader.address, "ann", "chat", "Closed by an administrator"], closed
        assert sidebeat.closed() == {"admin_close": 1}


def test_a_silent_client_is_shown_to_its_end_with_the_evidence(browser, crowd_app):
    with Sidebeat({"chat": chat(crowd_app)}) as sidebeat, browser.tab():
        watch(browser, sidebeat)
        client = silent(sidebeat.at("chat"), "/?uid=bob")
        address = client.address
        browser.wait(lambda: (row(browser, address) or [""] * 9)[7] == "not answered yet", what="its ping")
        sidebeat.write({**sidebeat.config, "listeners": {"chat": chat(crowd_app, idle_limit="4s")}})
        assert sidebeat.get("/v1/reload", method="POST", within=PATIENCE)[0] == 200
        closed = browser.wait(lambda: browser.texts("#closed tr:first-child td"), what="it is among the ended")
        client.close()
        assert closed[1:4] == [address, "bob", "chat"]
        why = r"The client was silent; nothing heard for \d+\.\d s; pings at \d.* and \d+\.\d s unanswered; closed \d+ ms late"
        assert re.fullmatch(why, closed[4]), closed
        browser.wait(lambda: "The client was silent: 1" in browser.text("#ends-legend"))
        assert browser.find("#ends rect.idle")
        browser.wait(lambda: browser.text("#t-generation") == "Number 2")


def test_a_refused_reload_is_shown(browser, crowd_app):
    with Sidebeat({"chat": chat(crowd_app)}) as sidebeat, browser.tab():
        watch(browser, sidebeat)
        assert not browser.find("#trouble")
        sidebeat.write({**sidebeat.config, "listeners": {"chat": chat(crowd_app, idle_limit="5")}})
        browser.wait(lambda: "The last reload was refused, everything stays as it was: " in browser.text("#trouble"))
        assert browser.text("#t-generation") == "Number 1"


def test_what_is_searched_is_found_by_the_server(browser, crowd_app):
    with Sidebeat({"chat": chat(crowd_app)}) as sidebeat, browser.tab(complaints=["status of 4"]):
        readers = [Reader(sidebeat.at("chat"), f"/?uid=user-{n}") for n in range(5)]
        watch(browser, sidebeat)
        # Each finds another number than the one before: what is shown is never left over.
        for words, expected in (
            ("user-3", 1),
            ("tag:room:7 listener:chat", 5),
            ("user-3 tag:none", 0),
            ("127.0.0.0/8", 5),
            ("user-2 127.0.0.1", 1),
            ("age_over:24h", 0),
        ):
            browser.type("#search", words)
            browser.wait(
                lambda expected=expected: browser.text("#h-streams") == "Streams found"
                and browser.text("#found") == str(expected)
                and len(browser.texts("#streams tr")) == expected,
                what=f"{expected} for {words}",
            )
        identity = json.loads(sidebeat.get("/v1/streams?uid=user-1")[2])["items"][0]["id"]
        browser.type("#search", identity)
        browser.wait(lambda: any("user-1" in cells for cells in browser.texts("#streams tr")))
        assert sidebeat.get(f"/v1/streams/{identity}", method="DELETE")[0] == 202
        browser.wait(lambda: "This stream has ended. Closed by an administrator" in browser.text("#no-streams"))
        browser.type("#search", "tag:" + "x" * 65)
        browser.wait(lambda: "1 to 64 bytes" in browser.text("#no-streams"))
        assert len(readers) == 5


def test_the_page_asks_for_the_token(browser, crowd_app, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret")
    admin = {"listen": "127.0.0.1:0", "token_file": str(token)}
    with Sidebeat({"chat": chat(crowd_app)}, admin=admin) as sidebeat, browser.tab(complaints=["status of 401"]):
        browser.open(page(sidebeat))
        for word in ("wrong", "s3cret"):
            # The dialog goes away and comes back: a word is typed into an empty one.
            asks = "return document.getElementById('ask-token').open && document.getElementById('token').value === ''"
            browser.wait(lambda: browser.run(asks), what="the page asks")
            browser.type("#token", word)
            browser.click("#ask-token button")
            if word == "wrong":
                browser.wait(lambda: browser.find("#token-wrong"), what="the page says that it was wrong")
        live(browser)
        assert not browser.find("#token")


def test_the_page_says_so_when_it_is_no_longer_live(browser, crowd_app):
    with Sidebeat({"chat": chat(crowd_app)}) as sidebeat, browser.tab(complaints=["ERR_"]):
        watch(browser, sidebeat)
        sidebeat.stop()
        browser.wait(lambda: browser.text("#live").startswith("Not live: "))


def test_nothing_from_elsewhere_is_run_or_reached(browser, crowd_app):
    complaints = ["Content Security Policy", "violates"]
    elsewhere = socket.create_server(("127.0.0.1", 0))
    with Sidebeat({"chat": chat(crowd_app)}) as sidebeat, elsewhere, browser.tab(complaints=complaints):
        policy = sidebeat.get("/")[1]["content-security-policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy, policy
        watch(browser, sidebeat)
        assert browser.run("return performance.getEntriesByType('resource').every((entry) => new URL(entry.name).origin === origin)")
        browser.run(
            """window.refused = [];
            addEventListener('securitypolicyviolation', (event) => refused.push(event.effectiveDirective));
            const script = document.createElement('script');
            script.textContent = 'window.ran = true';
            document.body.append(script);
            const image = document.createElement('img');
            image.src = arguments[0];
            document.body.append(image);
            fetch(arguments[0]).catch(() => {});""",
            "http://127.0.0.1:%d/" % elsewhere.getsockname()[1],
        )
        browser.wait(lambda: sorted(browser.run("return refused")) == ["connect-src", "img-src", "script-src-elem"])
        assert browser.run("return window.ran") is None
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


@pytest.mark.parametrize("width,dark", [(1280, False), (1280, True), (390, False)])
def test_it_fits_light_dark_and_a_phone(browser, crowd_app, width, dark):
    with Sidebeat({"chat": chat(crowd_app)}) as sidebeat, browser.tab(width=width, dark=dark):
        readers = [Reader(sidebeat.at("chat"), f"/?uid=user-{n}") for n in range(9)]
        assert sidebeat.get("/v1/streams?uid=user-8", method="DELETE")[0] == 200
        watch(browser, sidebeat)
        browser.wait(lambda: len(browser.texts("#streams tr")) == 8 and browser.texts("#closed tr"))
        browser.wait(lambda: browser.find("#trips rect.bar"))
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), "no part sticks out"
        buttons = [left >= 0 and right <= width for left, right in browser.find("#streams button.risky")]
        assert buttons == [True] * 8
        channels = browser.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (sum(channels) < 200) == dark, channels
        assert len(readers) == 9


def test_a_crowd_is_counted_and_searched(browser, crowd_app):
    # So many as leave descriptors for a machine with small limits; more of them are played below.
    crowd = int(os.environ.get("SIDEBEAT_TEST_CROWD", "1000"))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    async def play(sidebeat):
        members = []
        for begin in range(0, crowd, 100):
            members += await asyncio.gather(*(Member.open(sidebeat.at("chat"), f"/?uid={n}") for n in range(begin, begin + 100)))
        browser.wait(lambda: browser.text("#t-open") == f"{crowd:,}", what="all are counted")
        browser.wait(lambda: len(browser.texts("#streams tr")) == 12)
        browser.type("#search", "tag:beta")
        browser.wait(lambda: browser.text("#found") == f"the first 100 of {crowd:,}")
        browser.type("#search", "123")
        browser.wait(lambda: browser.text("#found") == "1")
        for member in members:
            await member.close()
        browser.wait(lambda: browser.text("#t-open") == "0", what="all are gone")
        browser.wait(lambda: f"The client vanished: {crowd:,}" in browser.text("#ends-legend"))

    with Sidebeat({"chat": chat(crowd_app, ping="off")}) as sidebeat, browser.tab():
        watch(browser, sidebeat)
        asyncio.run(play(sidebeat))


def test_ten_thousand_streams_do_not_slow_it_down(browser, crowd_app):
    size = 10_000
    with Sidebeat({"chat": chat(crowd_app)}) as sidebeat, browser.tab():
        reader = Reader(sidebeat.at("chat"), "/?uid=model")
        with Fleet(sidebeat, size) as fleet:
            browser.open(fleet.url)
            fleet.nearest()
            live(browser)
            browser.wait(lambda: browser.text("#t-open") == "10,000")
            browser.wait(lambda: len(browser.texts("#streams tr")) == 12)
            browser.click("#all")
            browser.wait(lambda: len(browser.texts("#streams tr")) == 50)
            elements = browser.run("return document.querySelectorAll('*').length")

            # All clients answer a ping, leave, and come back: as after a failure of the network.
            before = browser.seconds_of_cpu()
            closed = {"closed_at": fleet.stream["opened_at"], "duration_ms": 1, "reason": "client_gone", "detail": None, "lateness_ms": None}
            fleet.tell("pong", *({"id": stream["id"], "rtt_ms": 1 + n % 90} for n, stream in enumerate(fleet.streams)))
            fleet.tell("closed", *({**stream, **closed} for stream in fleet.streams))
            browser.wait(lambda: browser.text("#t-open") == "0")
            fleet.tell("opened", *fleet.streams)
            fleet.nearest()
            browser.wait(lambda: browser.text("#t-open") == "10,000")
            browser.wait(lambda: "The client vanished: 10,000" in browser.text("#ends-legend"))
            assert "10,000 answers" in browser.text("#trips-text")
            browser.wait(lambda: len(browser.texts("#streams tr")) == 50)
            # The table of the ended and the bars of the charts are new; nothing grows with the streams.
            assert browser.run("return document.querySelectorAll('*').length") < elements + 400
            worked = browser.seconds_of_cpu() - before
            assert worked < 10, f"30,000 events took {worked} s of work"

            browser.type("#search", "user-7777")
            browser.wait(lambda: browser.text("#found") == "1" and row(browser, fleet.streams[7777]["client"]["address"]))
            assert reader.closed is None


def test_the_picture_in_the_readme(browser, crowd_app, hooks, authority, tmp_path):
    """A scene with something in every part of the page; $SIDEBEAT_TEST_PICTURE is where its picture goes."""
    expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=68, hours=1)
    cert, key = authority.issue("server", "localhost", "127.0.0.1", not_after=expiry)
    listeners = {
        "chat": {**chat(crowd_app), "listen": "wss://127.0.0.1:0", "tls": {"certificates": [{"cert": cert, "key": key}]}},
        "sensors": chat(crowd_app, idle_limit="2m", ping={"interval": "2s"}),
        # Only of one who never answers: a limit this short is missed by others when the machine is busy.
        "kiosks": chat(crowd_app, idle_limit="5s", ping={"interval": "2s"}),
    }
    with Sidebeat(listeners, hooks={"presence": hooks.config(tmp_path)["app"]}) as sidebeat, browser.tab(height=900):
        watch(browser, sidebeat)
        names = ["ann", "bela", "chiara", "dmitri", "emre", "fatou", "goran", "hana", "ines", "jun"]
        readers = [Reader(sidebeat.at("chat"), f"/?uid={name}", tls=authority.client()) for name in names]
        readers += [Reader(sidebeat.at("sensors"), f"/?uid=meter-{n}") for n in range(3)]
        readers.append(silent(sidebeat.at("kiosks"), "/?uid=entrance"))
        for gone in readers[8:10]:
            gone.wire.send_close(1000, "bye")
        browser.wait(lambda: "The client closed: 2" in browser.text("#ends-legend"))
        why = "The client was silent; "
        browser.wait(lambda: any(text.startswith(why) for text in browser.texts("#closed td.wide")), what="the silent one is closed")
        readers.pop().close()
        assert sidebeat.get("/v1/streams?uid=hana&code=4001&reason=logged%20out", method="DELETE")[0] == 200
        for words in ("The client closed: 2", "The client was silent: 1", "Closed by an administrator: 1"):
            browser.wait(lambda words=words: words in browser.text("#ends-legend"), what=words)
        browser.wait(lambda: len(browser.texts("#streams tr")) == 10)
        browser.wait(lambda: any(text.startswith("In 68 days, on ") for text in browser.texts("#certificates td")))
        browser.wait(lambda: browser.texts("#hooks td")[:2] == ["presence", "Enabled"] and browser.find("#trips rect.bar"))
        assert len(browser.texts("#listeners tr")) == 3
        if path := os.environ.get("SIDEBEAT_TEST_PICTURE"):
            browser.picture(ROOT / path)
