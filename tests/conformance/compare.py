"""Runs Autobahn's cases against a conformant peer, alone and behind the proxy, and compares the verdicts case by case.

Direction `client`: the fuzzing client against an echo server. Direction `server`: an echoing client against the fuzzing server.
The proxy puts a ping of its own into every stream each 250 ms; a verdict must be that of the peer alone all the same.
"""

import argparse
import contextlib
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

from harness.certs import Authority
from harness.sidebeat import Sidebeat, listener
from harness.wait import until

ALL = 517
# Seconds instead of minutes: no message of megabytes (9.*), and of each series of compression the smallest sizes.
FAST = [f"{chapter}.*" for chapter in (1, 2, 3, 4, 5, 6, 7, 10)]
FAST += [f"12.{series}.{case}" for series in range(1, 6) for case in (1, 2, 5, 11)]
FAST += [f"13.{series}.{case}" for series in range(1, 8) for case in (1, 2, 5, 11)]
FAST += ["9.1.1", "9.2.1", "9.3.1", "9.4.1", "9.5.1", "9.6.1", "9.7.1", "9.8.1"]
PINGS = {"ping": {"interval": "250ms", "when": "always"}}
PATHS = ("direct", "ws", "wss")


def main():
    options = arguments()
    cases = ["*"] if options.all else options.cases.split(",") if options.cases else FAST
    paths = ["direct", *(options.path or PATHS[1:])]
    passed = failed = 0
    for direction in options.direction or ("client", "server"):
        started = time.monotonic()
        pings, reports = measured(direction, options.python2, cases, paths)
        differing = differences(reports)
        # The suite waits a second for many things, which a busy machine may need for one process: a difference that is one comes again.
        if differing:
            told(direction, reports, differing)
            print(f"again: {', '.join(sorted(differing, key=in_order))}", flush=True)
            more, again = measured(direction, options.python2, sorted(differing), paths)
            pings += more
            for path, verdicts in again.items():
                reports[path].update(verdicts)
            differing = differences(reports)
            told(direction, reports, differing)
        differ = sum(map(len, differing.values()))
        good = sum(len(reports["direct"].keys() | reports[path].keys()) for path in paths[1:]) - differ
        print(f"fuzzing {direction}: {good} verdicts the same, {differ} not; {pings:.0f} pings sent; {time.monotonic() - started:.0f} s", flush=True)
        passed, failed = passed + good, failed + differ
        run = len(reports["direct"])
        if not run or options.all and run != ALL:
            print(f"fuzzing {direction}: {run} cases were run, not {ALL if options.all else 'one'}")
            failed += 1
        if pings == 0:
            print("no ping was sent: nothing was proven about them")
            failed += 1
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def measured(direction, python2, cases, paths):
    """How many pings were sent, and the reports of these cases by each path."""
    run = {"client": fuzz_servers, "server": fuzz_clients}[direction]
    with tempfile.TemporaryDirectory(prefix="autobahn-") as directory:
        return run(python2, pathlib.Path(directory), cases, paths)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help=f"all {ALL} cases")
    parser.add_argument("--cases", help="some cases: 1.*,7.3.1")
    parser.add_argument("--direction", action="append", choices=("client", "server"))
    parser.add_argument("--path", action="append", choices=PATHS[1:])
    parser.add_argument("--python2", required=True, help="an interpreter that has autobahntestsuite")
    return parser.parse_args()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextlib.contextmanager
def wstest(python2, directory, name, *arguments):
    """A process of the suite; its output goes to a file that is shown when something fails."""
    log = directory / f"{name}.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [python2, pathlib.Path(__file__).with_name("wstest.py"), *arguments], cwd=directory, stdout=output, stderr=subprocess.STDOUT
        )
    process.log = log
    try:
        yield process
    except BaseException:
        sys.stderr.write(f"--- {name} ---\n" + "\n".join(log.read_text(errors="replace").splitlines()[-20:]) + "\n")
        raise
    finally:
        process.kill()
        process.wait()


def serving(process, port):
    """Waits until a server of the suite listens."""

    def listens():
        assert process.poll() is None, process.log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True

    until(listens, 30, what="the suite's server")


def spec(directory, name, **rest):
    path = directory / f"{name}.json"
    path.write_text(json.dumps({"outdir": str(directory / name), "exclude-cases": [], "exclude-agent-cases": {}, **rest}))
    return str(path)


def proxy(directory, upstreams):
    """The sidecar before one upstream a path."""
    authority = Authority(directory)
    secure = {"wss": {"tls": authority.tls()}}
    return Sidebeat({path: listener(path, url, heartbeat=PINGS, **secure.get(path, {})) for path, url in upstreams.items() if path != "direct"})


def finish(processes):
    """Waits for all; an error of one is the error of the run."""
    for name, process in processes.items():
        if process.wait() != 0:
            raise RuntimeError(f"{name}: exit code {process.returncode}")


def fuzz_servers(python2, directory, cases, paths):
    """The fuzzing client, at once by every path, to one echo server each."""
    with contextlib.ExitStack() as stack:
        urls = {}
        for path in paths:
            port = free_port()
            urls[path] = f"ws://127.0.0.1:{port}"
            serving(stack.enter_context(wstest(python2, directory, f"echo-{path}", "testeeserver", urls[path])), port)
        sidebeat = stack.enter_context(proxy(directory, urls))
        processes = {}
        for path in paths:
            url = urls[path] if path == "direct" else sidebeat.url(path)
            path_spec = spec(directory, path, cases=cases, servers=[{"agent": path, "url": url}])
            processes[path] = stack.enter_context(wstest(python2, directory, f"fuzz-{path}", "fuzzingclient", path_spec))
        finish(processes)
        return sidebeat.metric("pings_sent_total", to="client"), reports(directory, paths)


def fuzz_clients(python2, directory, cases, paths):
    """An echoing client, at once by every path, to one fuzzing server each."""
    with contextlib.ExitStack() as stack:
        urls = {}
        for path in paths:
            port = free_port()
            urls[path] = f"ws://127.0.0.1:{port}"
            path_spec = spec(directory, path, cases=cases, url=urls[path])
            serving(stack.enter_context(wstest(python2, directory, f"fuzz-{path}", "fuzzingserver", path_spec)), port)
        sidebeat = stack.enter_context(proxy(directory, urls))
        processes = {}
        for path in paths:
            url = urls[path] if path == "direct" else sidebeat.url(path)
            processes[path] = stack.enter_context(wstest(python2, directory, f"client-{path}", "testeeclient", url, path))
        finish(processes)
        return sidebeat.metric("pings_sent_total", to="client"), reports(directory, paths)


def reports(directory, paths):
    """{path: {case: verdict, with the texts of the detailed report}}."""
    found = {}
    for path in paths:
        index = json.loads((directory / path / "index.json").read_text())
        found[path] = index[path]
        for verdict in found[path].values():
            verdict["detail"] = json.loads((directory / path / verdict["reportfile"]).read_text())
    return found


def differences(reports):
    """{case: the paths by which its verdict is another than that of the peer alone}."""
    direct = reports["direct"]
    found = {}
    for path in reports.keys() - {"direct"}:
        verdicts = reports[path]
        for case in direct.keys() | verdicts.keys():
            alone, through = direct.get(case), verdicts.get(case)
            if not alone or not through or any(alone[field] != through[field] for field in ("behavior", "behaviorClose")):
                found.setdefault(case, []).append(path)
    return found


def in_order(case):
    return [int(part) for part in case.split(".")]


def told(direction, reports, differing):
    for case in sorted(differing, key=in_order):
        for path in differing[case]:
            print(f"fuzzing {direction}, case {case} by {path}:")
            for name, verdict in (("alone", reports["direct"].get(case)), ("through the proxy", reports[path].get(case))):
                print(f"  {name}: " + (words(verdict) if verdict else "was not run"))


def words(verdict):
    detail = verdict["detail"]
    return f"{verdict['behavior']} / {verdict['behaviorClose']}: {detail['result']} / {detail['resultClose']} (received {detail['received']!r:.300})"


if __name__ == "__main__":
    main()
