"""examples/browser: the client's half in a browser, broken in every way that its page offers, and in some that it does not."""

import contextlib
import json
import re
import subprocess

import pytest

from harness import netns as networks
from harness.browser import Browser
from harness.demo import EXAMPLES, NODE_PATH, Demo, copy, environment
from harness.netns import Network
from harness.wait import holds, until

CLIENT = EXAMPLES / "browser"
# Most of it is the start of browsers, which takes long on a busy machine.
pytestmark = pytest.mark.timeout(300)


# A connection that failed is what the tests are about, and no complaint.
COMPLAINTS = ("WebSocket connection to", "the server responded with a status of 4")


class Page(Browser):
    """The example's page, in a browser of its own."""

    @classmethod
    @contextlib.contextmanager
    def shown(cls):
        page = cls()
        try:
            with page.tab(complaints=COMPLAINTS):
                yield page
        finally:
            page.quit()

    def visit(self, url, name):
        self.open(f"{url}?name={name}")
        self.wait(lambda: self.text("#state") == "open", what="the page to be connected")
        return self

    def told(self, since=0):
        """What the client has told of its state, from a place on."""
        return self.run("return window.told.slice(arguments[0])", since)

    def wait_told(self, since, within=30.0, **wanted):
        """The first of them that has these values, and what came before."""

        def found():
            told = self.told(since)
            for at, one in enumerate(told):
                if wanted.items() <= one.items():
                    return told[: at + 1]

        return until(found, within, what=f"the client to tell {wanted} (it told {self.told(since)})")

    def echoed(self, text):
        """A message goes to the app and back."""
        self.run("chat.send(arguments[0])", text)
        self.wait(lambda: any(line.endswith(f"echo: {text}") for line in self.texts("#log li")), what=f"the echo of {text}")

    def online(self):
        return self.texts("#online li")


@contextlib.contextmanager
def visited(tmp_path, name):
    with Demo(copy("browser", tmp_path), "./run") as demo, Page.shown() as page:
        yield demo, page.visit(demo.find(r"http://\S+/"), name)


def test_server_gone_and_back_and_the_dead_go_offline_while_the_page_stays(tmp_path):
    with visited(tmp_path, "visitor") as (demo, page):
        page.echoed("hello")
        # The demo's dead client, which answers no heartbeat.
        demo.find("hook: ghost is over: client_idle")
        page.wait(lambda: page.online() == ["ghost offline (client_idle)", "visitor online"], what="the list")

        since = len(page.told())
        page.click("button", "Kill it")
        page.wait_told(since, state="waiting", code=1006)
        assert page.run("return chat.send('kept while nobody was there')") is True
        # Attempts fail, and come no faster for it.
        attempts = until(lambda: [one for one in page.told(since) if one["state"] == "waiting"][3:], within=40, what="four attempts")
        assert attempts and all(one["delay"] <= 5000 for one in page.told(since) if one["state"] == "waiting")
        page.click("button", "Start it")
        page.wait_told(since, state="open")
        page.wait(lambda: any(line.endswith("echo: kept while nobody was there") for line in page.texts("#log li")), what="what waited in the outbox")
        assert page.run("return chat.queued") == 0
        # Who was there when it was killed is told by the next one; the page is there again.
        demo.find("hook: visitor is over: sidecar_crash")
        page.wait(lambda: page.online() == ["ghost offline (client_idle)", "visitor online"], what="the list")


def test_drain_is_1012_and_the_client_comes_back_within_the_spread(tmp_path):
    with visited(tmp_path, "visitor") as (_, page):
        page.echoed("before")
        since = len(page.told())
        page.click("button", "Restart the server (1012)")
        *_, waiting = page.wait_told(since, state="waiting")
        assert (waiting["code"], waiting["reason"]) == (1012, "drain")
        assert 0 <= waiting["delay"] <= 2000
        page.wait_told(since, state="open")
        page.echoed("after")

        # Thrown out: 1008 is the end until somebody asks again, 4001 is configured to try again.
        since = len(page.told())
        page.click("button", "Throw me out (1008)")
        page.wait_told(since, state="stopped", code=1008)
        holds(lambda: page.run("return chat.state") == "stopped", seconds=1.5, what="stopped")
        page.click("#open")
        page.wait_told(since, state="open")
        since = len(page.told())
        page.click("button", "Token expired (4001)")
        page.wait_told(since, state="waiting", code=4001)
        page.wait_told(since, state="open")


def test_a_frozen_tab_is_offline_and_comes_back_when_it_thaws(tmp_path):
    with visited(tmp_path, "frosty") as (demo, page):
        page.echoed("before")
        page.driver.execute_cdp_cmd("Page.setWebLifecycleState", {"state": "frozen"})
        # The browser is well, the script is not: no answer comes to the text heartbeat.
        demo.find("hook: frosty is over: client_idle")
        page.driver.execute_cdp_cmd("Page.setWebLifecycleState", {"state": "active"})
        page.wait(lambda: page.run("return chat.state") == "open" and page.run("return told.length") > 2, what="the page to be back")
        # 1001 if sidebeat's Close was read before its `close_timeout`, else a connection that was cut.
        assert next(one for one in page.told() if one["state"] == "waiting")["code"] in (1001, 1006)
        page.echoed("after")


@pytest.mark.root
def test_a_network_that_is_gone_without_fin_is_noticed_by_the_page_and_by_sidebeat(tmp_path):
    with Network("visitor") as net:
        folder = copy("browser", tmp_path)
        middle = ["ip", "netns", "exec", net.middle]
        with Demo(folder, *middle, "./run", HOST="0.0.0.0") as demo, networks.inside(net.outer["visitor"]):
            url = f"http://{net.gateway['visitor']}:{demo.find(r'http://0.0.0.0:([0-9]+)/')}/"
            with Page.shown() as page:
                page.visit(url, "nomad")
                page.echoed("before")
                since = len(page.told())
                # Only the cable: what drives the browser goes over its loopback.
                outside = ["ip", "netns", "exec", net.outer["visitor"], "nft"]
                networks.run(*outside, "add table ip cable; add chain ip cable out { type filter hook output priority 0; }; add rule ip cable out oifname eth0 counter drop")
                networks.run(*outside, "add chain ip cable in { type filter hook input priority 0; }; add rule ip cable in iifname eth0 counter drop")
                demo.find("hook: nomad is over: client_idle")
                *_, silent = page.wait_told(since, state="waiting")
                assert (silent["code"], silent["reason"]) == (1006, "silent")
                networks.run(*outside, "delete table ip cable")
                page.wait_told(since, state="open", within=60)
                page.echoed("after")
                # Its own requests failed meanwhile.
                page.driver.get_log("browser")


# --- the package ------------------------------------------------------------------------------------------------------------------------------


def run(folder, *command):
    done = subprocess.run(command, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_it_is_less_than_3_kB_minified():
    minified = run(CLIENT, NODE_PATH / ".bin/esbuild", "--minify", "--format=esm", "sidebeat-client.js")
    assert "import" not in re.sub(r"import\.meta", "", minified)
    assert 1000 < len(minified.encode()) < 3000


def test_its_types_are_those_of_its_code():
    run(CLIENT, NODE_PATH / ".bin/tsc", "-p", ".")


def test_its_logic_under_fake_time():
    told = run(CLIENT, "node", "--test", "--test-reporter=tap", "test/")
    assert int(re.search(r"^# pass (\d+)$", told, re.MULTILINE).group(1)) >= 27
    assert re.search(r"^# fail 0$", told, re.MULTILINE)


def test_what_npm_would_publish():
    (package,) = json.loads(run(CLIENT, "npm", "pack", "--dry-run", "--json"))
    assert sorted(file["path"] for file in package["files"]) == ["README.md", "package.json", "sidebeat-client.d.ts", "sidebeat-client.js"]
    assert "dependencies" not in json.loads((CLIENT / "package.json").read_text())


def test_the_demo_checks_signatures_with_the_tested_receiver():
    assert (CLIENT / "receiver.cjs").read_bytes() == (EXAMPLES / "receivers/receiver.js").read_bytes()
