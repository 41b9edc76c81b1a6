"""What is shipped beside the charts: the image's recipe, the systemd unit, completions, and what the pages show."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness.hooks import SECRET
from harness.sidebeat import ROOT, Sidebeat, binary, listener
from harness.wait import until

UNIT = ROOT / "deploy" / "systemd" / "sidebeat.service"
DOCKERFILE = ROOT / "Dockerfile"
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "charts").glob("*/README.md")), *sorted((ROOT / "examples").rglob("README.md"))]


def test_the_dockerfile_passes_lint():
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, "--no-color", DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_gets_all_that_the_build_reads():
    """There is no engine to build it here: what the code includes must lie in what is copied, and pass .dockerignore."""
    text = DOCKERFILE.read_text()
    copied = [word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE) for word in line.split()]
    assert copied == ["Cargo.toml", "Cargo.lock", "src", "LICENSE-APACHE", "LICENSE-MIT"]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    assert allowed == {"Cargo.toml", "Cargo.lock", "src", "LICENSE-*"} and all((ROOT / name).exists() for name in copied)
    seen = 0
    for path in (ROOT / "src").rglob("*.rs"):
        if "tests" in path.parts or path.stem.endswith("tests"):
            continue
        built = path.read_text().split("#[cfg(test)]")[0]
        for name in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', built):
            assert (path.parent / name).resolve().is_relative_to(ROOT / "src"), (path, name)
            seen += 1
    assert seen >= 3
    toolchain = re.search(r'^rust-version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)
    assert f"ARG RUST={toolchain}\n" in text
    assert re.search(r"^USER 65532:65532$", text, re.MULTILINE)


def test_the_root_of_the_image_holds_all_that_the_program_needs(tmp_path):
    """The recipe's own command, and the program in what it made, as the user and with nothing of this machine."""
    command = re.search(r"^RUN (install .+?)\n\n", DOCKERFILE.read_text(), re.MULTILINE | re.DOTALL).group(1)
    command = command.replace("target/release/sidebeat", binary()).replace("/image", str(tmp_path / "image"))
    subprocess.run(["bash", "-euo", "pipefail", "-c", command], check=True)
    inside = [shutil.which("chroot"), "--userspec=65532:65532", str(tmp_path / "image"), "/usr/local/bin/sidebeat"]
    flags = ["--listen", "ws://127.0.0.1:1", "--upstream", "wss://localhost:1"]
    for arguments, said in ((["--version"], "sidebeat "), (["check", *flags], "the configuration is good\n")):
        done = subprocess.run([*inside, *arguments], env={}, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith(said), done


def test_the_health_check_of_the_image_asks_readyz():
    command = re.search(r"^HEALTHCHECK .* CMD (\[.+\])$", DOCKERFILE.read_text(), re.MULTILINE).group(1)
    program, *arguments, telemetry = re.findall(r'"([^"]+)"', command)
    assert (program, arguments, telemetry) == ("/usr/local/bin/sidebeat", ["healthcheck", "--telemetry"], "127.0.0.1:9601")
    with Sidebeat({"main": listener("ws", "ws://127.0.0.1:1")}) as sidebeat:
        command = [binary(), *arguments, "%s:%d" % sidebeat.at("telemetry")]
        assert subprocess.run(command).returncode == 0
        assert sidebeat.get("/v1/drain", method="POST")[0] < 300
        assert subprocess.run(command, capture_output=True).returncode == 1


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_unit_is_good_and_hardened(tmp_path):
    unit = tmp_path / "sidebeat.service"
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/sidebeat", binary()))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    about = [line for line in (done.stdout + done.stderr).splitlines() if "sidebeat" in line]
    assert about == []
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", unit], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


def test_the_unit_starts_reloads_and_stops_sidebeat(tmp_path, authority):
    """Its commands, with the paths of the machine put elsewhere."""
    cert, key = authority.issue("server", "localhost")
    for name, text in (("tls.crt", Path(cert).read_text()), ("tls.key", Path(key).read_text()), ("hook.secret", SECRET)):
        (tmp_path / name).write_text(text)
    config = (UNIT.parent / "sidebeat.yaml").read_text()
    for there in ("/etc/sidebeat", "/var/lib/sidebeat", "/run/sidebeat"):
        assert there in config
        config = config.replace(there, str(tmp_path))
    config = config.replace("wss://[::]:443", "wss://127.0.0.1:0").replace("127.0.0.1:9601", "127.0.0.1:0")
    file = tmp_path / "sidebeat.yaml"
    file.write_text(config)

    def commands(key):
        found = re.findall(rf"^{key}=(.+)$", UNIT.read_text(), re.MULTILINE)
        return [line.replace("/usr/local/bin/sidebeat", binary()).replace("/etc/sidebeat/", f"{tmp_path}/").split() for line in found]

    (start,) = commands("ExecStart")
    with (tmp_path / "output").open("w") as log:
        process = subprocess.Popen(start, stdout=log, stderr=log)
    try:
        until(lambda: "admin.sock" in (tmp_path / "output").read_text(), 15, what="the start")
        reload = [[word.replace("$MAINPID", str(process.pid)) for word in command] for command in commands("ExecReload")]
        assert len(reload) == 2 and all(subprocess.run(command, capture_output=True).returncode == 0 for command in reload)
        until(lambda: "reload" in (tmp_path / "output").read_text(), 10, what="the reload")
        file.write_text(config.replace("listeners:", "listener:"))
        assert subprocess.run(reload[0], capture_output=True).returncode == 78, "and then the signal is not sent"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("shell", ["bash", "elvish", "fish", "powershell", "zsh"])
def test_there_are_completions(shell):
    done = subprocess.run([binary(), "completions", shell], capture_output=True, text=True)
    assert done.returncode == 0 and "healthcheck" in done.stdout
    if shutil.which(shell) and shell in ("bash", "zsh", "fish"):
        assert subprocess.run([shell, "-n"], input=done.stdout, capture_output=True, text=True).returncode == 0


def test_the_capacity_table_is_that_of_the_measurements():
    page = (ROOT / "docs" / "operate.md").read_text()
    table = page.split("## Capacity")[1]
    figures = re.findall(r"[\d.,]+ (?:µs|KB|B)(?= of CPU| \|)", "".join(line for line in table.splitlines(True) if line.startswith("|")))
    costs = (ROOT / "ARCHITECTURE.md").read_text().split("## What it costs")[1]
    assert len(figures) >= 6 and [figure for figure in figures if figure not in costs] == []


def slug(heading):
    kept = re.sub(r"[^\w -]", "", heading.lstrip("#").strip().lower())
    return kept.replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_of_the_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), target
        if anchor:
            assert anchor in {slug(line) for line in path.read_text().splitlines() if line.startswith("#")}, target


def test_every_page_is_reached_from_the_readme():
    reached, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        page = page / "README.md" if page.is_dir() else page
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        left += [(page.parent / target.partition("#")[0]).resolve() for target in re.findall(r"\]\(([^)#]+)", page.read_text()) if "://" not in target]
    assert [str(page) for page in PAGES if page not in reached] == []
