"""The page about reliability names only tests, files and commands that exist."""

import re

from harness.sidebeat import ROOT

PAGE = (ROOT / "docs/reliability.md").read_text()
SPANS = re.findall(r"`([^`\n]+)`", PAGE)


def path_of(name):
    return ROOT / name if "/" in name else ROOT / "tests/outside" / name


def test_every_test_that_is_named_exists():
    named = [span.split("::") for span in SPANS if re.fullmatch(r"[\w/]+\.(py|rs)::\w+", span)]
    assert len(named) > 50
    for file, name in named:
        function = rf"^(async )?def {name}\(" if file.endswith(".py") else rf"^ *(async )?fn {name}\("
        assert re.search(function, path_of(file).read_text(), re.MULTILINE), f"{file}::{name}"


def test_every_file_that_is_named_exists():
    for span in SPANS:
        if re.fullmatch(r"[\w/]+\.py", span) or span.startswith(("tests/", "fuzz/")) and "::" not in span:
            assert path_of(span.split()[0]).exists(), span
    for command in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL):
        for line in command.splitlines():
            words = [word for word in line.split() if "=" not in word]
            assert all(path_of(word).exists() for word in words if "/" in word or word.endswith(".py")), line


def test_each_fault_is_on_the_page():
    """A test of a fault that holds no promise would not be missed if it went."""
    for file in ("test_faults_network.py", "test_faults_machine.py"):
        for name in re.findall(r"^def (test_\w+)", path_of(file).read_text(), re.MULTILINE):
            assert f"`{file}::{name}`" in PAGE, name
