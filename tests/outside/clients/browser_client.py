"""A conversation of headless Chromium, on a page that the app serves through the same listener.

    python browser_client.py URL CA SECONDS SEED
"""

import json
import os
import sys
import tempfile

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

TALK = """
const [url, seconds, seed, done] = arguments;
converse(new WebSocket(url), { seconds, seed }).then(done, (error) => done({ error: error.message }));
"""


def main():
    url, _, seconds, seed = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="chromium-") as directory:
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
            f"--user-data-dir={directory}",
            "--ignore-certificate-errors",  # it trusts no authority of a file
        ):
            options.add_argument(argument)
        driver = webdriver.Chrome(options, Service(os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver")))
        try:
            driver.set_script_timeout(float(seconds) + 60)
            driver.get(url.replace("ws", "http", 1))
            told = driver.execute_async_script(TALK, url, float(seconds), int(seed))
        finally:
            driver.quit()
    if "error" in told:
        sys.exit(told["error"])
    print(json.dumps({**told, "fragmented": 0}))


main()
