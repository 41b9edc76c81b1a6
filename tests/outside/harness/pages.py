"""Pages whose commands are run as a reader would.

    ```sh        runs and ends with 0
    ```sh NAME   stays, and is not run here: it is what the test has started already
    ```text      is what the last command printed
    ```json      is that, too, with other ids, times and figures, and however it is indented

A shown text may stand anywhere in what was printed; `…` in it is any text.
"""

import json
import os
import pathlib
import re
import subprocess

from .sidebeat import binary

BLOCK = re.compile(r"^```(sh|text|json)(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def alike(text):
    """What two runs have in common: no space, no id, no time, no figure."""
    text = re.sub(r"\s+", "", text)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z|\d+(\.\d+)?", "N", text)


def run(page, sidebeat, before=lambda command: None, **variables):
    """Runs the commands of a page against a process, in the page's directory; `before` is told of each. Returns how many ran."""
    at = "%s:%d" % sidebeat.at("admin")
    path = f"{pathlib.Path(binary()).resolve().parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SIDEBEAT_ADMIN": f"http://{at}", "NO_COLOR": "1", **variables}
    ran, printed = 0, ""
    for kind, name, text in BLOCK.findall(page.read_text()):
        if kind == "sh" and not name:
            before(text)
            command = ["sh", "-e", "-c", text.replace("127.0.0.1:9600", at)]
            done = subprocess.run(command, cwd=page.parent, env=environment, capture_output=True, text=True, timeout=100)
            assert done.returncode == 0, f"{text}\nended with {done.returncode}: {done.stdout}{done.stderr}"
            printed = done.stdout
            ran += 1
        elif kind != "sh":
            shown = text.strip("\n")
            if kind == "json":
                shown, printed = alike(shown), alike(json.dumps(json.loads(printed), ensure_ascii=False))
            pattern = ".*?".join(map(re.escape, shown.split("…")))
            assert re.search(pattern, printed, re.DOTALL), f"{page}: should print\n{shown}\nbut printed\n{printed}"
    return ran
