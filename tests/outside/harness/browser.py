"""Headless Chromium."""

import os
import tempfile

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from .wait import until


class Browser:
    """One window; a context manager that fails if the page complained on its console."""

    def __init__(self, *, width=1280, height=1400, dark=False):
        self.directory = tempfile.TemporaryDirectory(prefix="chromium-")
        options = webdriver.ChromeOptions()
        options.binary_location = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--hide-scrollbars",
            f"--user-data-dir={self.directory.name}",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options, Service(os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver")))
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            complaints = [line for line in self.driver.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]
        finally:
            self.driver.quit()
            self.directory.cleanup()
        assert kind is not None or not self.complains(complaints), complaints

    @staticmethod
    def complains(lines):
        # An answer of 4xx is what some tests ask for; anything else is the page's own fault.
        return [line for line in lines if "the server responded with a status of 4" not in line["message"]]

    def open(self, url):
        self.driver.get(url)

    def run(self, script, *arguments):
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector):
        """Every visible element."""
        return [element for element in self.driver.find_elements(By.CSS_SELECTOR, selector) if element.is_displayed()]

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
        until(lambda: self.run(script, selector, label), what=f"{selector} {label or ''}")

    def type(self, selector, text):
        """Replaces what a field says."""
        element = self.driver.find_element(By.CSS_SELECTOR, selector)
        element.clear()
        element.send_keys(text)

    def wait(self, condition, within=10.0, what=None):
        return until(condition, within, what=what)
