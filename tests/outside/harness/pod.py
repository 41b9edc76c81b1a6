"""A pod as processes, in the order in which a kubelet starts and ends its containers.

sidebeat's containers get what an image without a shell has: the binary, the libraries that it needs, /proc, and the volumes of the manifest, in a
root directory that their user cannot write to. The pod has a network of its own and an address in it; the kubelet and the clients come from a
second host.
"""

import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

from . import netns as networks
from .netns import Network
from .sidebeat import binary
from .wait import until

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
POD = {"metadata.name": "chat-7d9f", "metadata.namespace": "prod"}


class Pod:
    """`files` are ConfigMaps and Secrets, as {name: {key: text}}; `commands` replaces the command of containers that are not sidebeat's."""

    def __init__(self, spec, files, commands=None):
        self.spec, self.files, self.commands = spec, files, commands or {}
        self.network = Network("node")
        self.timeline = []
        self.processes = {}
        self.directory = tempfile.TemporaryDirectory(prefix="sidebeat-pod-")
        self.root = pathlib.Path(self.directory.name)

    def __enter__(self):
        self.root.chmod(0o755)
        self.network.__enter__()
        self.address = self.network.gateway["node"]
        (self.sidebeat,) = [each for each in self._containers() if each["name"] == "sidebeat"]
        self._image()
        for mount in self.sidebeat["volumeMounts"]:
            self._volume(mount)
        return self

    def __exit__(self, kind, error, trace):
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        if kind is not None:
            for name in self.processes:
                print(f"--- log of {name} ---\n{self.log(name)[-5000:]}")
        self.network.__exit__(kind, error, trace)
        self.directory.cleanup()

    @property
    def clients(self):
        """The network that clients are in."""
        return self.network.outer["node"]

    def _containers(self):
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    def _image(self):
        libraries = re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", binary()], capture_output=True, text=True, check=True).stdout)
        for path in libraries:
            copy = self.root / path[1:]
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(pathlib.Path(path).read_bytes())
            copy.chmod(0o755)
        (self.root / "usr/local/bin").mkdir(parents=True)
        (self.root / "usr/local/bin/sidebeat").touch()
        (self.root / "proc").mkdir()

    def _volume(self, mount):
        (volume,) = [each for each in self.spec["volumes"] if each["name"] == mount["name"]]
        target = self.root / mount["mountPath"][1:]
        target.mkdir(parents=True)
        if "emptyDir" in volume:
            target.chmod(0o777)
            return
        source = volume.get("configMap") or volume["secret"]
        name = source.get("name") or source["secretName"]
        mode = source.get("defaultMode", 0o644)
        group = self.spec.get("securityContext", {}).get("fsGroup")
        # As the kubelet writes them: a directory, a link to it, and a link for each file.
        data = target / "..2026_01_01"
        data.mkdir()
        (target / "..data").symlink_to(data.name)
        for key, text in self.files[name].items():
            (data / key).write_text(text)
            (data / key).chmod(mode)
            if group:
                os.chown(data / key, 0, group)
            (target / key).symlink_to(f"..data/{key}")

    def run(self, container, command, **rest):
        """A process in the container."""
        if container["name"] != "sidebeat":
            command = ["ip", "netns", "exec", self.network.middle, *self.commands[container["name"]]]
            return subprocess.Popen(command, cwd=pathlib.Path(__file__).parents[1], **rest)
        variables = {"PATH": PATH}
        for each in container["env"]:
            variables[each["name"]] = each["value"] if "value" in each else POD[each["valueFrom"]["fieldRef"]["fieldPath"]]
        security = container["securityContext"]
        user = f"{security['runAsUser']}:{security['runAsGroup']}"
        group = self.spec.get("securityContext", {}).get("fsGroup")
        groups = f"--groups={group}" if group else "--groups="
        enter = f"""
            mount --rbind /proc {self.root}/proc
            mount --bind {binary()} {self.root}/usr/local/bin/sidebeat
            exec env -i {" ".join(f"'{name}={value}'" for name, value in variables.items())} \
                /usr/sbin/chroot --userspec={user} {groups} {self.root} "$@"
        """
        where = ["ip", "netns", "exec", self.network.middle, "unshare", "--mount", "sh", "-ec", enter, "sh"]
        return subprocess.Popen([*where, *command], stdin=subprocess.DEVNULL, **rest)

    def once(self, *command):
        """(exit code, output) of a command in sidebeat's container."""
        process = self.run(self.sidebeat, command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output.decode()

    def probe(self, container, which):
        """Whether a probe of the manifest, made from the node to the pod's address, succeeds."""
        probe = container[which]["httpGet"]
        (port,) = [each["containerPort"] for each in container["ports"] if each["name"] == probe["port"]]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with networks.inside(self.clients):
            try:
                with opener.open(f"http://{self.address}:{port}{probe['path']}", timeout=container[which].get("timeoutSeconds", 1)) as answer:
                    return 200 <= answer.status < 400
            except OSError:
                return False

    def start(self):
        """Starts the containers as a kubelet does, and waits until the pod is ready."""
        for container in self._containers():
            with self._log(container["name"]).open("wb") as log:
                self.processes[container["name"]] = self.run(container, container.get("command"), stdout=log, stderr=subprocess.STDOUT)
            if container.get("startupProbe"):
                until(lambda: self.probe(container, "startupProbe"), 20, what="the startup probe")
        for container in self._containers():
            for which in ("livenessProbe", "readinessProbe"):
                if "httpGet" in container.get(which, {}):
                    until(lambda: self.probe(container, which), 10, what=f"the {which} of {container['name']}")

    def _log(self, name):
        return self.root / f"{name}.log"

    def log(self, name):
        """All that a container has printed."""
        return self._log(name).read_text(errors="replace")

    def note(self, what):
        self.timeline.append((time.monotonic(), what))

    def at(self, what):
        """When something on the timeline happened."""
        (instant,) = [instant for instant, happened in self.timeline if happened == what]
        return instant

    def delete(self):
        """Ends the containers as a kubelet does; returns their exit codes."""
        grace = time.monotonic() + self.spec["terminationGracePeriodSeconds"]
        apps_gone = threading.Event()
        sidecars = {each["name"] for each in self.spec.get("initContainers", []) if each.get("restartPolicy") == "Always"}
        left = {each["name"] for each in self.spec["containers"]}

        def end(container):
            name, process = container["name"], self.processes[container["name"]]
            self.note(f"{name}: preStop")
            hook = container.get("lifecycle", {}).get("preStop", {})
            if "sleep" in hook:
                time.sleep(hook["sleep"]["seconds"])
            elif "exec" in hook:
                done = self.run(container, hook["exec"]["command"], stdout=subprocess.DEVNULL)
                done.wait(max(0, grace - time.monotonic()))
                self.note(f"{name}: preStop ended with {done.returncode}")
            if name in sidecars:
                apps_gone.wait(max(0, grace - time.monotonic()))
            self.note(f"{name}: SIGTERM")
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(max(0, grace - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.note(f"{name}: SIGKILL")
                process.kill()
                process.wait()
            self.note(f"{name}: gone")
            left.discard(name)
            if not left:
                apps_gone.set()

        threads = [threading.Thread(target=end, args=(container,)) for container in self._containers()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {name: process.returncode for name, process in self.processes.items()}
