"""What the charts and examples render is good Kubernetes and a good configuration, and starts as the manifest says."""

import copy
import functools
import importlib.util
import re
import shutil
import subprocess
import sys

import helm_python
import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils

from harness import charts
from harness.hooks import SECRET
from harness.pod import Pod
from harness.sidebeat import ROOT, binary
from harness.wire import Client

GENERATE = ROOT / "charts" / "generate"
VALUES = sorted([*(charts.GATEWAY / "ci").iterdir(), *(charts.WORKERMAN / "ci").iterdir()])
NAMES = [*(f"{path.parents[1].name}/{path.stem}" for path in VALUES), "plain", "kustomized"]
VERSIONS = ["1.29", "1.33", utils.latest_version()]

# What of these kinds the charts use; their own schemas are not Kubernetes'.
CUSTOM = {
    "PodMonitor": {"selector", "podMetricsEndpoints"},
    "PrometheusRule": {"groups"},
    "Certificate": {"secretName", "dnsNames", "issuerRef", "duration", "renewBefore", "privateKey"},
}


# Megabytes, which it would parse again for each object.
utils.schema_contents = functools.cache(utils.schema_contents)


def rendered(name):
    return copy.deepcopy(render(name))


@functools.cache
def render(name):
    if name == "plain":
        return charts.plain()
    if name == "kustomized":
        if shutil.which("kubectl") is None:
            pytest.skip("kubectl, which has kustomize in it, is not installed")
        return charts.kustomized()
    path = VALUES[NAMES.index(name)]
    return charts.helm(path.parents[1], path)


@pytest.fixture(params=NAMES)
def objects(request):
    return rendered(request.param)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the Secrets and ConfigMaps of the manifests hold, but for the configuration."""
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("localhost", common_name="chat")
    pair = {"tls.crt": issued.cert_chain_pems[0].bytes().decode(), "tls.key": issued.private_key_pem.bytes().decode()}
    ca = {"ca.crt": authority.cert_pem.bytes().decode()}
    secret = {"key": SECRET}
    named = ["chat-tls", "chat-sidebeat-tls", "chat-chat-gateway-tls", "chat-gateway-tls"]
    return {
        **dict.fromkeys(named, pair),
        **dict.fromkeys(["chat-hook", "chat-sidebeat-hook"], secret),
        **dict.fromkeys(["chat-client-ca", "chat-ca"], ca),
        "chat-admin": {"token": "a-token-of-some-length-0123456789"},
    }


def pod_of(objects, files, commands=None):
    configs = {each["metadata"]["name"]: each["data"] for each in objects.of("ConfigMap")}
    return Pod(objects.pod, {**files, **configs}, commands)


def test_there_are_values_for_everything():
    assert len(VALUES) == 6 and len(NAMES) == 8
    assert kubernetes_validate.validate({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"containers": [{"name": "a"}]}}, "1.29") == "1.29"
    assert tuple(map(int, VERSIONS[2].split(".")[:2])) > (1, 33)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_one_of_kubernetes(version, objects):
    seen = 0
    for each in objects.objects:
        kind = each["kind"]
        if kind in CUSTOM:
            assert set(each) == {"apiVersion", "kind", "metadata", "spec"} and set(each["spec"]) <= CUSTOM[kind], each
        else:
            kubernetes_validate.validate(each, version, strict=True)
            seen += 1
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", each["metadata"]["name"])
    assert seen >= 3


def test_a_misspelt_field_would_be_found():
    objects = rendered("plain")
    objects.sidebeat["readynessProbe"] = objects.sidebeat.pop("readinessProbe")
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(objects.one("Deployment"), "1.33", strict=True)


def test_charts_pass_lint(tmp_path):
    for path in VALUES:
        report = helm_python.lint(path.parents[1], yaml.safe_load(path.read_text()), strict=True, kube_version="v1.33.0")
        assert not report["errors"], (path, report)
    archive = helm_python.package(charts.GATEWAY, destination=tmp_path)
    with helm_python.Chart.load(archive) as chart:
        assert [each["name"] for each in chart.dependencies] == ["sidebeat-sidecar"], "the library goes with it"


def test_pods_are_restricted_and_complete(objects):
    pod, sidebeat = objects.pod, objects.sidebeat
    security = sidebeat["securityContext"]
    assert security["runAsNonRoot"] is True and security["runAsUser"] >= 1000
    assert security["readOnlyRootFilesystem"] is True and security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]} and security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["enableServiceLinks"] is False, "a Service called sidebeat would give SIDEBEAT_PORT"
    assert sidebeat.get("restartPolicy") in (None, "Always")
    assert (sidebeat.get("restartPolicy") == "Always") == (sidebeat in pod.get("initContainers", []))

    ports = {each["name"] for each in sidebeat["ports"]}
    assert len({each["containerPort"] for each in sidebeat["ports"]}) == len(sidebeat["ports"])
    assert all(re.fullmatch(r"(?=.*[a-z])[a-z0-9-]{1,15}", name) for name in ports)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert sidebeat[probe]["httpGet"]["port"] in ports
    for service in objects.of("Service"):
        assert {each["targetPort"] for each in service["spec"]["ports"]} <= ports
        (deployment,) = objects.of("Deployment")
        assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    beside = "app" in {each["name"] for each in pod["containers"]}
    assert sidebeat.get("lifecycle") == ({"preStop": {"exec": {"command": ["/usr/local/bin/sidebeat", "drain", "--wait"]}}} if beside else None)
    volumes = {each["name"] for each in pod["volumes"]}
    assert {each["name"] for each in sidebeat["volumeMounts"]} == volumes
    admin = yaml.safe_load(objects.config)["admin"]
    assert admin["listen"].startswith("unix:/run/sidebeat/") or admin["token_file"], "loopback belongs to every container of the pod"


@pytest.mark.root
def test_the_configuration_passes_check(objects, files):
    grace = objects.pod["terminationGracePeriodSeconds"]
    with pod_of(objects, files) as pod:
        code, told = pod.once("/usr/local/bin/sidebeat", "check", "--grace", f"{grace}s")
        assert code == 0, told
    assert "a drain takes at most" in told and "the grace period of" not in told, told
    for app in objects.pod["containers"]:
        hook = app.get("lifecycle", {}).get("preStop")
        if app["name"] == "app":
            wait = hook["sleep"]["seconds"] if "sleep" in hook else int(hook["exec"]["command"][1])
            assert f"the app needs a preStop sleep of {wait}s" in told


@pytest.mark.root
@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_starts_and_serves_the_probes(name, files):
    objects = rendered(name)
    with pod_of(objects, files, {"app": ["sleep", "600"]}) as pod:
        pod.start()
        code, told = pod.once("/usr/local/bin/sidebeat", "ctl", *admin_flags(objects), "status")
        assert code == 0 and told.startswith("running"), told
        for service in objects.of("Service"):
            for port in service["spec"]["ports"]:
                (number,) = [each["containerPort"] for each in objects.sidebeat["ports"] if each["name"] == port["targetPort"]]
                with Client((pod.address, number), netns=pod.clients):
                    pass
        for test in objects.of("Pod"):
            *command, telemetry = test["spec"]["containers"][0]["command"]
            host, port = telemetry.rsplit(":", 1)
            assert host in {each["metadata"]["name"] for each in objects.of("Service")}
            assert pod.once(*command, f"{pod.address}:{port}") == (0, ""), "the test of the release"


def admin_flags(objects):
    """An address of all interfaces is asked by loopback."""
    admin = yaml.safe_load(objects.config)["admin"]
    return ["--admin", admin["listen"].replace("0.0.0.0", "127.0.0.1"), *(["--token-file", admin["token_file"]] if "token_file" in admin else [])]


def test_off_survives():
    def limits(**spelling):
        objects = charts.helm(charts.GATEWAY, {"config": {"listeners": {"main": {"upstream": "ws://legacy:8080", "heartbeat": spelling}}}})
        return yaml.safe_load(objects.config)["listeners"]["main"]["heartbeat"]

    assert limits(idle_limit=False, ping=False) == {"idle_limit": False, "ping": False}
    assert limits(idle_limit="off", ping="off") == {"idle_limit": "off", "ping": "off"}
    objects = rendered("sidebeat/off-values")
    assert yaml.safe_load(objects.config)["state_dir"] is False
    assert objects.pod["terminationGracePeriodSeconds"] == 5 + 5 + 5, "close_timeout, hook_flush, and five to spare"


def test_new_pods_are_started_only_for_what_needs_a_restart():
    def template(config):
        objects = charts.helm(charts.GATEWAY, charts.GATEWAY / "ci" / "least-values.yaml", {"config": config})
        return objects.one("Deployment")["spec"]["template"]

    before = template({})
    taken_up = [
        {"listeners": {"main": {"heartbeat": {"idle_limit": "2m"}}}},
        {"hooks": {"app": {"url": "http://legacy/"}}},
    ]
    for config in taken_up:
        assert template(config) == before, config
    for config in [{"workers": 2}, {"log": {"level": "debug"}}, {"state_dir": "off"}, {"admin": {"listen": "unix:/run/sidebeat/a.sock"}}]:
        assert template(config)["metadata"]["annotations"] != before["metadata"]["annotations"], config


def test_large_numbers_stay_numbers():
    assert yaml.safe_load(rendered("sidebeat/public-values").config)["listeners"]["main"]["limits"]["streams"] == 2_000_000
    (metric,) = rendered("sidebeat/all-values").one("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["pods"]["target"]["averageValue"] == "2000000"


def test_the_apps_own_port_is_not_reachable_round_the_sidecar():
    for name in ("workerman/native-values", "plain"):
        policy = rendered(name).one("NetworkPolicy")["spec"]
        assert policy["policyTypes"] == ["Ingress"]
        open_ports = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
        assert not open_ports & {2346, 2347} and len(open_ports) == 2
    gateway, upstream = rendered("sidebeat/public-values").of("NetworkPolicy")
    assert upstream["spec"]["podSelector"] == {"matchLabels": {"app": "legacy"}}
    (rule,) = upstream["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": gateway["spec"]["podSelector"]}]
    assert [port["port"] for port in rule["ports"]] == [8080, 8081]


def test_what_monitoring_gets():
    objects = rendered("sidebeat/all-values")
    assert objects.one("PodMonitor")["spec"]["podMetricsEndpoints"] == [{"port": "sb-telemetry", "path": "/metrics", "interval": "30s"}]
    rules = [rule for group in objects.one("PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
    assert rules and all(rule["annotations"]["runbook_url"].startswith("https://example.com/sidebeat/docs/runbooks/") for rule in rules if "alert" in rule)
    (dashboard,) = [each for each in objects.of("ConfigMap") if each["metadata"]["labels"].get("grafana_dashboard") == "1"]
    assert dashboard["data"]["sidebeat.json"].strip() == (charts.GATEWAY / "files" / "dashboard.json").read_text().strip()


def test_what_the_readme_of_the_chart_shows_can_be_used():
    readme = (charts.GATEWAY / "README.md").read_text()
    examples = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)]
    assert len(examples) == 2
    objects = charts.helm(charts.GATEWAY, {"config": {"listeners": {"main": MAIN}}}, *examples)
    assert objects.one("Certificate")["spec"]["secretName"] == "chat-sidebeat-tls"
    listener = yaml.safe_load(objects.config)["listeners"]["main"]
    assert listener["tls"] == {"certificates": [{"cert": "/etc/sidebeat/tls/tls.crt", "key": "/etc/sidebeat/tls/tls.key"}]}
    library = (charts.GATEWAY.parent / "sidebeat-sidecar" / "README.md").read_text()
    templates = {name for path in (charts.GATEWAY.parent / "sidebeat-sidecar" / "templates").iterdir() for name in re.findall(r'define "(.+?)"', path.read_text())}
    listed = set(re.findall(r"\| `(sidebeat-sidecar\.\w+)` \|", library))
    used = set(re.findall(r'include "(sidebeat-sidecar\.\w+)"', "".join(path.read_text() for path in (charts.WORKERMAN / "templates").iterdir())))
    assert listed == {f"sidebeat-sidecar.{name}" for name in TEMPLATES} <= templates and used == listed, "the example shows every template"


def test_notes_say_how_to_look():
    for name in ("least", "public", "all", "off"):
        notes = charts.helm(charts.GATEWAY, charts.GATEWAY / "ci" / f"{name}-values.yaml").notes
        assert "ctl list" in notes and "drains for at most" in notes, notes
        assert ("No hook is configured" in notes) == (name in ("least", "off"))


MAIN = {"upstream": "ws://legacy:8080"}
WRONG = [
    ({}, "/config/listeners/main': missing property 'upstream'"),
    ({"config": {"listeners": {"main": None}}}, "config.listeners: give at least one"),
    ({"config": {"listeners": {"main": {**MAIN, "heartbeat": {"idle_limit": 55}}}}}, "/config/listeners/main/heartbeat/idle_limit"),
    ({"config": {"listeners": {"main": {**MAIN, "heartbeat": {"idle_limit": "0s"}}}}}, "/config/listeners/main/heartbeat/idle_limit"),
    ({"config": {"listeners": {"main": {**MAIN, "heartbeats": {}}}}}, "additional properties 'heartbeats' not allowed"),
    ({"config": {"listeners": {"main": {**MAIN, "listen": "ws://0.0.0.0"}}}}, 'config: "ws://0.0.0.0" should end in a port'),
    ({"config": {"listeners": {"main": {**MAIN, "listen": "wss://0.0.0.0:8443"}}}}, "config.listeners.main.tls: wss://0.0.0.0:8443 needs a certificate"),
    ({"config": {"listeners": {"main": {**MAIN, "tls": {"min_version": "1.1"}}}}}, "/config/listeners/main/tls"),
    ({"config": {"listeners": {"main": MAIN}, "drain": {"close_code": 1006}}}, "/config/drain/close_code"),
    ({"config": {"listeners": {"main": MAIN}, "drain": {"spread": "${SPREAD}"}}}, "config: \"${SPREAD}\" stands where a drain is reckoned"),
    ({"config": {"listeners": {"main": MAIN}, "admin": {"listen": "127.0.0.1:9600"}}}, "config.admin: every container of the pod shares its loopback"),
    ({"config": {"listeners": {"main": MAIN}, "admin": False}}, "config.admin: it cannot be off"),
    ({"config": {"listeners": {"main": MAIN}, "telemetry": "off"}}, "config.telemetry: it cannot be off"),
    ({"config": {"listeners": {"main": MAIN}, "telemetry": {"listen": "127.0.0.1:9601"}}}, "config.telemetry.listen: the kubelet probes the pod's address"),
    ({"config": {"listeners": {"main": MAIN}}, "replicas": 3}, "additional properties 'replicas' not allowed"),
    ({"config": {"listeners": {"main": MAIN}}, "replicaCount": "3"}, "/replicaCount"),
    ({"config": {"listeners": {"main": MAIN}}, "service": {"type": "Loadbalancer"}}, "/service/type"),
    ({"config": {"listeners": {"main": MAIN}}, "service": {"ports": {"chat": 443}}}, "service.ports.chat: there is no listener of that name"),
    ({"config": {"listeners": {"main": MAIN}}, "image": {"digest": "sha256:1"}}, "/image/digest"),
    ({"config": {"listeners": {"main": MAIN}}, "autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 4}}, "autoscaling.minReplicas"),
    ({"config": {"listeners": {"main": MAIN}}, "certificate": {"enabled": True}}, "certificate.dnsNames"),
    ({"config": {"listeners": {"main": MAIN}}, "certificate": {"enabled": True, "dnsNames": ["a"]}}, "certificate.issuerRef.name"),
    ({"config": {"listeners": {"main": MAIN}}, "certificate": {"enabled": True}, "tls": {"secretName": "a"}}, "certificate.enabled: tls.secretName"),
    ({"config": {"listeners": {"main": MAIN}}, "networkPolicy": {"upstream": {"podLabels": {"app": "a"}}}}, "networkPolicy.upstream.ports"),
]


@pytest.mark.parametrize("values, told", WRONG, ids=[told for _, told in WRONG])
def test_a_wrong_value_is_named(values, told):
    with pytest.raises(helm_python.HelmError) as raised:
        charts.helm(charts.GATEWAY, values)
    assert told in str(raised.value).replace('\\"', '"')


@pytest.mark.parametrize(
    "values, told",
    [
        ({"config": {"listeners": {"chat": {"listen": 8443}}}}, "/config/listeners/chat/listen"),
        ({"config": {"hooks": {"app": {"events": ["close"]}}}}, "/config/hooks/app/events/0"),
        ({"selectorLabels": None}, "selectorLabels: give the labels of the app's pods"),
        ({"appPreStop": "wait"}, "/appPreStop"),
        ({"tls": {"secretName": ""}}, "config.listeners.chat.tls"),
    ],
)
def test_a_wrong_value_of_the_sidecar_is_named(values, told):
    with pytest.raises(helm_python.HelmError) as raised:
        charts.helm(charts.WORKERMAN, {"sidebeat": values})
    assert told in str(raised.value)


TEMPLATES = ["nativeSidecar", "container", "volumes", "podSettings", "podAnnotations", "appPreStop", "servicePorts", "configMap", "podMonitor", "networkPolicy"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_library_says_where_its_values_belong(name, tmp_path):
    """Whoever forgets the alias is told."""
    shutil.copytree(charts.WORKERMAN, tmp_path / "chart", symlinks=False)
    manifest = tmp_path / "chart" / "Chart.yaml"
    manifest.write_text(manifest.read_text().replace("    alias: sidebeat\n", ""))
    (tmp_path / "chart" / "values.yaml").write_text("")
    for template in (tmp_path / "chart" / "templates").iterdir():
        template.write_text('{{ include "sidebeat-sidecar.NAME" . }}'.replace("NAME", name))
    with pytest.raises(helm_python.HelmError, match="declare the dependency with `alias: sidebeat`"):
        charts.helm(tmp_path / "chart", {})


def test_what_is_generated_is_current():
    done = subprocess.run([sys.executable, GENERATE, "--check"], env={"SIDEBEAT_BIN": binary(), "PATH": "/usr/bin"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_readmes_have_every_value():
    loader = importlib.machinery.SourceFileLoader("generate", str(GENERATE))
    spec = importlib.util.spec_from_loader("generate", loader)
    generate = importlib.util.module_from_spec(spec)
    loader.exec_module(generate)

    def leaves(values, path=""):
        for name, value in values.items():
            if isinstance(value, dict) and value and f"| `{path}{name}` |" not in readme:
                yield from leaves(value, f"{path}{name}.")
            else:
                yield f"{path}{name}"

    for chart in generate.CONFIG:
        readme = (ROOT / "charts" / chart / "README.md").read_text()
        values = yaml.safe_load((ROOT / "charts" / chart / "values.yaml").read_text())
        named = list(leaves(values))
        assert len(named) > 20 and [name for name in named if f"| `{name}` |" not in readme] == []


def test_the_component_has_the_container_of_the_chart():
    """kustomize's patch and the plain manifest say what the library says."""
    over = {"sidebeat": {"tls": {"secretName": ""}, "config": {"listeners": {"chat": {"listen": "ws://0.0.0.0:8080"}}}}}
    wanted = charts.helm(charts.WORKERMAN, over).sidebeat
    del wanted["imagePullPolicy"]
    patch = yaml.safe_load((charts.KUSTOMIZED.parent / "sidebeat" / "deployment.yaml").read_text())["spec"]["template"]["spec"]
    assert patch["initContainers"] == [wanted]
    assert charts.plain().sidebeat == wanted
    config = (charts.KUSTOMIZED.parent / "sidebeat" / "sidebeat.yaml").read_text()
    assert charts.plain().config == config
    versions = {yaml.safe_load((ROOT / "charts" / chart / "Chart.yaml").read_text())["appVersion"] for chart in ("sidebeat", "sidebeat-sidecar")}
    assert {f'version = "{version}"' in (ROOT / "Cargo.toml").read_text() for version in versions} == {True}
    assert {f"sidebeat:{version}" for version in versions} == {wanted["image"]}
