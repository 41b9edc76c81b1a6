"""Processes on one CPU, and what the kernel knows of them."""

import contextlib
import os
import pathlib
import subprocess


class Processor:
    """The one CPU of proxy, app and load; with `realtime` they have it before all that the machine does otherwise."""

    def __init__(self, cpu, realtime):
        self.prefix = ["taskset", "-c", str(cpu)]
        if realtime:
            # Inherited by all that is started from here.
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        others = set(os.sched_getaffinity(0)) - {cpu}
        if others:
            os.sched_setaffinity(0, others)

    @contextlib.contextmanager
    def running(self, command, log=None):
        """A process, ended with the block."""
        with open(log, "ab") if log else contextlib.nullcontext(subprocess.PIPE) as output:
            command = [*self.prefix, *map(str, command)]
            process = subprocess.Popen(command, stdout=output, stderr=output if log else None, stdin=subprocess.PIPE)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()


def family(pid):
    """A process and all that it started."""
    pids = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            pids += family(int(child))
    return pids


def pss(pids):
    """Bytes of memory that these processes have, shared pages counted in parts."""
    total = 0
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def listening(ports):
    """How many of these ports have a listener, without connecting to one."""
    wanted = {f"{port:04X}" for port in ports}
    found = set()
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A":
            found.add(fields[1].split(":")[1])
    return len(wanted & found)
