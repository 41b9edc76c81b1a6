"""Alerts fire when they should and only then; each has its page; /metrics is as Prometheus wants it."""

import json
import re
import subprocess

import pytest
import yaml
from harness.charts import GATEWAY
from harness.hooks import Hooks
from harness.sidebeat import ROOT, Sidebeat, listener
from harness.wire import App, echo_ws, open_ws

RULES = GATEWAY / "files" / "alerts.yaml"
UNITS = ROOT / "tests" / "outside" / "rules" / "alerts.test.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"


def alerts():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def promtool(*arguments, **rest):
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, **rest)


def test_rules_are_well_formed_and_do_what_they_say():
    for command in (["check", "rules", RULES], ["test", "rules", UNITS]):
        done = promtool(*command)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_rule_that_says_something_else_would_be_found(tmp_path):
    broken = RULES.read_text().replace("sidebeat_hook_disabled == 1", "sidebeat_hook_disabled == 2")
    assert broken != RULES.read_text()
    (tmp_path / "alerts.yaml").write_text(broken)
    units = yaml.safe_load(UNITS.read_text())
    (tmp_path / "units.yaml").write_text(yaml.safe_dump({**units, "rule_files": ["alerts.yaml"]}, sort_keys=False))
    done = promtool("test", "rules", tmp_path / "units.yaml")
    assert done.returncode != 0 and "SidebeatHookDisabled" in done.stdout + done.stderr


@pytest.mark.parametrize("alert", alerts(), ids=[alert["alert"] for alert in alerts()])
def test_every_alert_is_tested_and_has_its_page(alert):
    name = alert["alert"]
    units = [unit["name"] for unit in yaml.safe_load(UNITS.read_text())["tests"] if name in unit["name"].split()]
    assert any("fire" in unit for unit in units) and any("silent" in unit for unit in units), units
    assert alert["labels"]["severity"] in ("warning", "critical")
    assert alert["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
    page = (RUNBOOKS / f"{name}.md").read_text()
    assert page.startswith(f"# {name}\n\nSeverity: {alert['labels']['severity']}.\n")
    for section in ("What it means", "Why it matters", "Look", "Do"):
        assert re.search(rf"^## {section}\n\n\S", page, re.MULTILINE), section
    index = (RUNBOOKS / "README.md").read_text()
    assert f"| [{name}]({name}.md) | {alert['labels']['severity']} |" in index


def test_there_is_no_page_without_its_alert():
    pages = {path.stem for path in RUNBOOKS.iterdir()} - {"README"}
    assert pages == {alert["alert"] for alert in alerts()} and len(pages) == 20


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    """One scrape of a process with a listener, a hook and a stream that was."""
    with App() as app, Hooks() as hooks:
        config = hooks.config(tmp_path_factory.mktemp("hooks"))
        with Sidebeat({"main": listener("ws", app.url())}, hooks=config) as sidebeat:
            outer, inner = open_ws(sidebeat, app)
            with outer, inner:
                echo_ws(outer, inner)
                outer.send_close()
                assert inner.read_close() == (1000, "")
                inner.send_close()
                sidebeat.wait_closed(client_close=1)
                hooks.wait_closed()
            return sidebeat.metrics()


def test_metrics_pass_promtool(metrics):
    done = promtool("check", "metrics", input=metrics.text)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def named(text):
    """Metrics in expressions or pages, without what a histogram appends."""
    found = set(re.findall(r"\b(?:sidebeat|process)_[a-z_]+\b", text))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}


def test_alerts_pages_and_dashboard_name_metrics_that_exist(metrics):
    families = set(re.findall(r"^# TYPE (\S+)", metrics.text, re.MULTILINE)) | {"sidebeat_tls_certificate_not_after_timestamp_seconds"}
    texts = {path: path.read_text() for path in [RULES, GATEWAY / "files" / "dashboard.json", *RUNBOOKS.iterdir(), *(ROOT / "docs").glob("*.md")]}
    seen = set()
    for path, text in texts.items():
        assert named(text) - families == set(), path
        seen |= named(text)
    assert len(seen) > 30


def test_reasons_in_expressions_are_those_of_the_program(metrics):
    """A misspelt reason would silence an alert for good."""
    of = {"sidebeat_streams_closed_total": set(), "sidebeat_connections_rejected_total": set()}
    for name, labels in metrics.samples:
        if name in of:
            of[name].add(dict(labels)["reason"])
    texts = json.dumps(alerts()) + (GATEWAY / "files" / "dashboard.json").read_text()
    seen = 0
    for metric, selector in re.findall(r"(sidebeat_(?:streams_closed|connections_rejected)_total)\{([^}]*)\}", texts.replace('\\"', '"')):
        for pattern in re.findall(r'reason[!=]~?"([^"]+)"', selector):
            reasons = [reason for reason in of[metric] if re.fullmatch(pattern, reason)]
            assert len(reasons) == len(re.sub(r"^upstream_\((.*)\)$", r"\1", pattern).split("|")), pattern
            seen += 1
    assert seen >= 6
