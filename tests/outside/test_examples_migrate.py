"""examples/migrate: what replaces a heartbeat of somebody else's is a configuration that sidebeat takes."""

import re
import shutil
import subprocess

import pytest

from harness.demo import EXAMPLES, copy, environment

MIGRATE = EXAMPLES / "migrate"
# The earliest and the latest close of a dead client, as the page of each says it.
DETECTION = {"gatewayworker": "36s250ms to 50s", "nginx": "27s500ms to 55s", "haproxy": "27s500ms to 55s"}


@pytest.mark.parametrize("former", DETECTION)
def test_the_new_configuration_is_good(former, tmp_path):
    folder = copy(f"migrate/{former}", tmp_path)
    checked = subprocess.run([folder / "check"], env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert re.search(r"a dead client is closed (.*?) after its death", checked.stdout).group(1) == DETECTION[former]
    assert "closed" in re.search(r"^hook \w+: (.*)$", checked.stdout, re.MULTILINE).group(1)


def test_there_is_a_test_for_each():
    assert {path.name for path in MIGRATE.iterdir() if path.is_dir()} == set(DETECTION)


@pytest.mark.parametrize("file", sorted(MIGRATE.glob("*/*.php")), ids=lambda path: path.name)
def test_php_takes_the_files_of_gatewayworker(file):
    linted = subprocess.run(["php", "-l", file], capture_output=True, text=True, timeout=30)
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize("file", sorted(MIGRATE.glob("nginx/*.conf")), ids=lambda path: path.name)
@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
def test_nginx_takes_its_files(file, tmp_path):
    tested = subprocess.run(["nginx", "-t", "-p", tmp_path, "-g", f"pid {tmp_path}/pid;", "-c", file], capture_output=True, text=True, timeout=30)
    assert tested.returncode == 0, tested.stderr


@pytest.mark.parametrize("file", sorted(MIGRATE.glob("haproxy/*.cfg")), ids=lambda path: path.name)
@pytest.mark.skipif(not shutil.which("haproxy"), reason="HAProxy is not installed")
def test_haproxy_takes_its_files(file):
    tested = subprocess.run(["haproxy", "-c", "-f", file], capture_output=True, text=True, timeout=30)
    assert tested.returncode == 0, tested.stderr
