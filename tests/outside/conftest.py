import pytest

from harness.certs import Authority
from harness.hooks import Hooks
from harness.wire import App


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
