"""Headless Chromium, started once: each test gets a tab of its own."""

import contextlib
import os
import tempfile

from selenium import webdriver
from selenium.common.exceptions import SessionNotCreatedException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from .wait import until

# A browser on a busy machine takes its time; no test here is about speed.
PATIENCE = 120.0

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
)


class Browser:
    """One process with one tab at a time."""

    def __init__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="chromium-")
        options = webdriver.ChromeOptions()
        options.binary_location = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        for argument in (*ARGUMENTS, f"--user-data-dir={self.directory.name}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = self._start(options)
        self.driver.set_script_timeout(PATIENCE)
        self.empty = self.driver.current_window_handle

    @staticmethod
    def _start(options):
        # The driver gives the browser a minute to start, which it may not have while everything starts at once.
        for tries_left in (2, 1, 0):
            try:
                return webdriver.Chrome(options, Service(os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver")))
            except SessionNotCreatedException:
                if not tries_left:
                    raise

    def quit(self):
        self.driver.quit()
        self.directory.cleanup()

    @contextlib.contextmanager
    def tab(self, *, width=1280, height=1400, dark=False, complaints=()):
        """A tab for the time of a block, which fails if a page complained on its console in other words than these."""
        self.driver.get_log("browser")
        self.driver.switch_to.new_window("tab")
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        try:
            yield self
            lines = [line["message"] for line in self.driver.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]
            unexpected = [line for line in lines if not any(words in line for words in complaints)]
            assert not unexpected, unexpected
        finally:
            self.driver.close()
            self.driver.switch_to.window(self.empty)

    def open(self, url):
        self.driver.get(url)

    def run(self, script, *arguments):
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def seconds_of_cpu(self):
        """How long the tab's process has worked."""
        self.driver.execute_cdp_cmd("Performance.enable", {})
        metrics = self.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "ProcessTime")

    def find(self, selector):
        """Where every visible element is: left, right. In one step, since the page may draw anew between two."""
        script = """return [...document.querySelectorAll(arguments[0])].filter((e) => e.getClientRects().length)
            .map((e) => e.getBoundingClientRect()).map((place) => [place.left, place.right])"""
        return self.run(script, selector)

    def text(self, selector):
        """What an element says; nothing if it is not there."""
        return self.run("const e = document.querySelector(arguments[0]); return e && !e.hidden ? e.innerText : ''", selector)

    def texts(self, selector):
        """What every element says."""
        return self.run("return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)", selector)

    def click(self, selector, label=None):
        """Clicks the first visible element, with these words on it if they are given."""
        script = """const found = [...document.querySelectorAll(arguments[0])]
            .find((e) => e.offsetParent !== null && (!arguments[1] || e.innerText === arguments[1]));
            if (found) found.click(); return Boolean(found);"""
        self.wait(lambda: self.run(script, selector, label), what=f"{selector} {label or ''}")

    def type(self, selector, text):
        """Replaces what a field says."""
        element = self.driver.find_element(By.CSS_SELECTOR, selector)
        element.clear()
        element.send_keys(text)

    def wait(self, condition, what=None):
        return until(condition, PATIENCE, what=what)

    def picture(self, path):
        """A picture of the whole page."""
        height = self.run("return document.documentElement.scrollHeight")
        metrics = {"width": self.run("return innerWidth"), "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.save_screenshot(str(path))
