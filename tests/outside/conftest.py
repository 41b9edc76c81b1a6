import json
import pathlib
import signal
import subprocess
import sys

import pytest

from harness.certs import Authority
from harness.hooks import Hooks
from harness.wire import App

HERE = pathlib.Path(__file__).resolve().parent

# A shell that begins this in the background has it ignored, and so would have every program that a test begins.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def app():
    """An upstream whose connections the test accepts and answers."""
    with App() as app:
        yield app


@pytest.fixture
def hooks():
    """A receiver of hooks."""
    with Hooks() as hooks:
        yield hooks


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A certificate authority with its files."""
    return Authority(tmp_path_factory.mktemp("certificates"))


def pytest_addoption(parser):
    parser.addoption("--count", type=int, default=1, help="run each test so many times, to find what fails now and then")


def pytest_generate_tests(metafunc):
    count = metafunc.config.getoption("count")
    if count > 1:
        metafunc.fixturenames.append("repetition")
        metafunc.parametrize("repetition", range(count))


@pytest.fixture
def app_process():
    """The port of an app in a process of its own, which echoes WebSocket messages."""
    app = subprocess.Popen([sys.executable, "-m", "harness.peer", "app", "ws"], cwd=HERE, stdout=subprocess.PIPE)
    yield json.loads(app.stdout.readline())["port"]
    app.kill()
    app.wait()
    app.stdout.close()
