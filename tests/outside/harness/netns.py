"""Network namespaces: hosts of the test's own, joined by veth pairs, with a packet filter that can make them vanish."""

import contextlib
import ctypes
import itertools
import os
import subprocess
import threading

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_numbers = itertools.count()


def _enter(path):
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def inside(name):
    """Runs the block with the calling thread in a namespace; a socket stays in the one where it was made."""
    if name is None:
        yield
        return
    home = f"/proc/self/task/{threading.get_native_id()}/ns/net"
    descriptor = os.open(home, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(f"/run/netns/{name}")
        yield
    finally:
        if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
            os._exit(70)  # every later test of this process would run in the wrong network
        os.close(descriptor)


def run(*command):
    """Runs a command and returns its output; one that fails raises with what it said."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class Network:
    """A middle host and some outer hosts, each joined to it by a veth pair of its own: 10.77.N.1 in the middle, 10.77.N.2 outside."""

    def __init__(self, *outer):
        self.prefix = f"sb{os.getpid()}x{next(_numbers)}"
        self.middle = f"{self.prefix}-middle"
        self.outer = {name: f"{self.prefix}-{name}" for name in outer}
        self.address = {name: f"10.77.{number}.2" for number, name in enumerate(outer, 1)}
        self.gateway = {name: f"10.77.{number}.1" for number, name in enumerate(outer, 1)}

    def __enter__(self):
        self._made = []
        try:
            for namespace in (self.middle, *self.outer.values()):
                run("ip", "netns", "add", namespace)
                self._made.append(namespace)
                run("ip", "-n", namespace, "link", "set", "lo", "up")
            for number, (name, namespace) in enumerate(self.outer.items(), 1):
                run("ip", "-n", self.middle, "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", namespace)
                for host, device, end in ((self.middle, f"v{number}", self.gateway[name]), (namespace, "eth0", self.address[name])):
                    run("ip", "-n", host, "address", "add", f"{end}/24", "dev", device)
                    run("ip", "-n", host, "link", "set", device, "up")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, error, trace):
        for namespace in self._made:
            run("ip", "netns", "delete", namespace)

    def more_addresses(self, name, count):
        """Gives an outer host more addresses, and returns them."""
        addresses = [f"{self.gateway[name].rpartition('.')[0]}.{number}" for number in range(10, 10 + count)]
        for address in addresses:
            run("ip", "-n", self.outer[name], "address", "add", f"{address}/24", "dev", "eth0")
        return addresses

    def _filter(self, name, verdict):
        rules = f"""
            table ip vanish {{
                chain arriving {{ type filter hook input priority 0; {verdict}
                }}
                chain leaving {{ type filter hook output priority 0; {verdict}
                }}
            }}"""
        with open(f"/tmp/{self.prefix}-{name}.nft", "w") as file:
            file.write(rules)
        try:
            run("ip", "netns", "exec", self.outer[name], "nft", "-f", file.name)
        finally:
            os.unlink(file.name)

    def vanish(self, name):
        """From now on every packet from and to an outer host is lost, without a word to anyone."""
        self._filter(name, "counter drop")

    def lose(self, name, percent):
        """From now on this share of the packets from and to an outer host is lost."""
        self._filter(name, f"\n numgen random mod 100 < {percent} counter drop")

    def reset(self, name):
        """From now on every TCP packet from and to an outer host is answered by a reset."""
        self._filter(name, "\n tcp flags & rst == rst accept\n meta l4proto tcp counter reject with tcp reset")

    def heal(self, name):
        """Nothing of an outer host's packets is lost any more."""
        run("ip", "netns", "exec", self.outer[name], "nft", "delete", "table", "ip", "vanish")

    def mtu(self, name, size):
        """From now on no larger packet passes between an outer host and the middle."""
        run("ip", "-n", self.middle, "link", "set", f"v{list(self.outer).index(name) + 1}", "mtu", str(size))
        run("ip", "-n", self.outer[name], "link", "set", "eth0", "mtu", str(size))

    def dropped(self, name):
        """How many packets the filter of an outer host has dropped."""
        listing = run("ip", "netns", "exec", self.outer[name], "nft", "list", "table", "ip", "vanish")
        words = listing.split()
        return sum(int(words[at + 1]) for at, word in enumerate(words) if word == "packets")
