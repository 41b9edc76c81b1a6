"""The charts and examples of the project, as Helm and kustomize render them."""

import pathlib
import subprocess

import helm_python
import yaml

from .sidebeat import ROOT

GATEWAY = ROOT / "charts" / "sidebeat"
WORKERMAN = ROOT / "examples" / "kubernetes" / "workerman"
PLAIN = ROOT / "examples" / "kubernetes" / "plain.yaml"
KUSTOMIZED = ROOT / "examples" / "kubernetes" / "kustomize" / "chat"

helm_python.disable_logging()


class Rendered:
    """Kubernetes objects."""

    def __init__(self, *texts):
        self.objects = [found for text in texts for found in yaml.safe_load_all(text) if found]

    def of(self, kind):
        """All objects of a kind."""
        return [found for found in self.objects if found["kind"] == kind]

    def one(self, kind):
        """The only object of a kind."""
        (found,) = self.of(kind)
        return found

    @property
    def pod(self):
        """The spec of the Deployment's pods."""
        return self.one("Deployment")["spec"]["template"]["spec"]

    @property
    def sidebeat(self):
        """The container that sidebeat runs in."""
        (found,) = [each for each in [*self.pod.get("initContainers", []), *self.pod["containers"]] if each["name"] == "sidebeat"]
        return found

    @property
    def config(self):
        """The configuration file."""
        (found,) = [each for each in self.of("ConfigMap") if "sidebeat.yaml" in each["data"]]
        return found["data"]["sidebeat.yaml"]


def helm(chart, *values, name="chat", namespace="prod"):
    """A chart rendered with these values, files or mappings, the later over the earlier; NOTES.txt is in `notes`."""
    merged = {}
    for each in values:
        over(merged, yaml.safe_load(each.read_text()) if isinstance(each, pathlib.Path) else each)
    with helm_python.Chart.load(chart) as loaded:
        out = loaded.render(merged, name=name, namespace=namespace)
    rendered = Rendered(*(text for path, text in sorted(out.items()) if not path.endswith("NOTES.txt")))
    rendered.notes = next((text for path, text in out.items() if path.endswith("NOTES.txt")), "")
    return rendered


def over(base, more):
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            over(base[key], value)
        else:
            base[key] = value


def plain():
    """The manifest that needs no tool."""
    return Rendered(PLAIN.read_text())


def kustomized():
    """The example with the kustomize component."""
    done = subprocess.run(["kubectl", "kustomize", KUSTOMIZED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Rendered(done.stdout)
