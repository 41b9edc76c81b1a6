"""A network path in user space: every packet between a host and the middle goes through this process, which may hold it back or swap it."""

import contextlib
import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import threading
import time

from . import netns

_TUNSETIFF, _IFF_TUN_NO_PI = 0x400454CA, 0x1001


def _tun(namespace, device):
    with netns.inside(namespace):
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", device.encode(), _IFF_TUN_NO_PI))
    return descriptor


class Relay:
    """Joins an outer host of a `Network` to its middle a second time: 10.78.0.1 in the middle (`gateway`), 10.78.0.2 outside (`address`).

    Each packet waits `delay` seconds, and up to `jitter` more: of two packets the later one may come first.
    """

    gateway, address = "10.78.0.1", "10.78.0.2"

    def __init__(self, network, name):
        self.namespaces = {self.gateway: network.middle, self.address: network.outer[name]}
        self.delay = self.jitter = 0.0
        self.passed = self.overtaken = 0
        self._waiting, self._numbers, self._over = [], itertools.count(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._ends = []
        for address, namespace in self.namespaces.items():
            self._ends.append(_tun(namespace, "relay0"))
            netns.run("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", "relay0")
            netns.run("ip", "-n", namespace, "link", "set", "relay0", "up")
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(5)
        for descriptor in self._ends:
            os.close(descriptor)

    def _run(self):
        other = {self._ends[0]: self._ends[1], self._ends[1]: self._ends[0]}
        newest = dict.fromkeys(self._ends, -1)
        while not self._over.is_set():
            wait = max(0.0, min(0.05, self._waiting[0][0] - time.monotonic())) if self._waiting else 0.05
            for readable in select.select(self._ends, [], [], wait)[0]:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        due = time.monotonic() + self.delay + random.uniform(0, self.jitter)
                        heapq.heappush(self._waiting, (due, next(self._numbers), other[readable], os.read(readable, 1 << 16)))
            while self._waiting and self._waiting[0][0] <= time.monotonic():
                _, number, end, packet = heapq.heappop(self._waiting)
                self.passed += 1
                self.overtaken += number < newest[end]
                newest[end] = max(newest[end], number)
                # A full device loses packets as any other does.
                with contextlib.suppress(BlockingIOError):
                    os.write(end, packet)
