"""Each proxy, set up to do the same with as little else as it can: one worker, no log, TLS 1.3 with P-256."""

import json
import os
import pathlib
import shutil
import subprocess

import trustme

from harness.sidebeat import binary

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Place:
    """Where everything is: ports, certificate, directory; and how long a silent stream may stay."""

    def __init__(self, directory):
        self.directory = directory
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
        self.ca, self.cert, self.key, self.pem = (str(directory / name) for name in ("ca.pem", "cert.pem", "key.pem", "both.pem"))
        authority.cert_pem.write_to_path(self.ca)
        issued.cert_chain_pems[0].write_to_path(self.cert)
        issued.private_key_pem.write_to_path(self.key)
        issued.private_key_and_cert_chain_pem.write_to_path(self.pem)
        self.apps = {"ws": 7001, "bulk": 7002}
        self.four = {"ws": 8001, "wss": 8002, "tcp": 8003, "tls": 8004}
        self.ten = {f"{scheme}-{number}": 8000 + 10 * number + at for number in range(1, 6) for at, scheme in enumerate(("ws", "wss"))}
        self.admin = self.telemetry = 0
        self.use("ws")

    def use(self, listener, limit=600.0, ping=None):
        """What the next proxy is for: one of four listeners or all of `ten`, its idle limit in seconds, its pings."""
        self.ports = self.ten if listener == "ten" else self.four
        self.limit, self.ping = limit, ping

    def upstream(self, name):
        return self.apps["bulk" if scheme(name) in ("tcp", "tls") else "ws"]


def scheme(name):
    return name.split("-")[0]


def secure(name):
    return scheme(name) in ("wss", "tls")


def raw(name):
    return scheme(name) in ("tcp", "tls")


def sidebeat(place):
    listeners = {}
    for name, port in place.ports.items():
        heartbeat = {"idle_limit": f"{place.limit:g}s", "ping": {"interval": place.ping} if place.ping else "off"}
        listeners[name] = {
            "listen": f"{scheme(name)}://127.0.0.1:{port}",
            "upstream": f"{'tcp' if raw(name) else 'ws'}://127.0.0.1:{place.upstream(name)}",
            **({} if raw(name) else {"heartbeat": heartbeat}),
            **({"tls": {"certificates": [{"cert": place.cert, "key": place.key}]}} if secure(name) else {}),
        }
    config = {
        "listeners": listeners,
        "admin": {"listen": f"127.0.0.1:{place.admin}"},
        "telemetry": {"listen": f"127.0.0.1:{place.telemetry}"},
        "workers": 1,
        "log": {"level": "error"},
        "drain": {"delay": "off", "spread": "off"},
    }
    path = place.directory / "sidebeat.yaml"
    path.write_text(json.dumps(config))
    return [binary(), "run", "-c", str(path)]


def nginx(place):
    def server(name, port):
        cache = "T" if raw(name) else "S"
        tls = f"ssl_certificate {place.cert}; ssl_certificate_key {place.key}; ssl_protocols TLSv1.3; ssl_session_cache shared:{cache}:10m;"
        listen = f"listen 127.0.0.1:{port}{' ssl' if secure(name) else ''} backlog=4096; {tls if secure(name) else ''}"
        if raw(name):
            return f"server {{ {listen} proxy_pass 127.0.0.1:{place.upstream(name)}; }}\n"
        return f"""server {{ {listen} location / {{ proxy_pass http://127.0.0.1:{place.upstream(name)}; proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_set_header Host $http_host;
            proxy_read_timeout {round(place.limit * 1000)}ms; }} }}\n"""

    modules = "".join(f"load_module {path};\n" for path in pathlib.Path("/usr/lib/nginx/modules").glob("ngx_stream_module.so"))
    servers = {kind: "".join(server(name, port) for name, port in place.ports.items() if raw(name) is kind) for kind in (False, True)}
    path = place.directory / "nginx.conf"
    path.write_text(
        f"""{modules}daemon off; worker_processes 1; pid {place.directory}/nginx.pid; error_log {place.directory}/nginx.log error;
        events {{ worker_connections 40000; }}
        http {{ access_log off; client_body_temp_path {place.directory}/b; proxy_temp_path {place.directory}/p; fastcgi_temp_path {place.directory}/f;
            uwsgi_temp_path {place.directory}/u; scgi_temp_path {place.directory}/s;
            {servers[False]} }}
        {f"stream {{ access_log off; {servers[True]} }}" if modules and servers[True] else ""}"""
    )
    return ["nginx", "-c", str(path), "-p", str(place.directory), "-e", str(place.directory / "nginx.log")]


def haproxy(place):
    def front(name, port):
        mode = "tcp" if raw(name) else "http"
        tls = f"ssl crt {place.pem} ssl-min-ver TLSv1.3" if secure(name) else ""
        splice = "option splice-request\n    option splice-response" if scheme(name) == "tcp" else ""
        return f"""
frontend {name}
    mode {mode}
    {splice}
    bind 127.0.0.1:{port} {tls}
    default_backend to-{name}
backend to-{name}
    mode {mode}
    {splice}
    server app 127.0.0.1:{place.upstream(name)}
"""

    path = place.directory / "haproxy.cfg"
    limits = "".join(f"    timeout {which} {round(place.limit * 1000)}ms\n" for which in ("client", "server", "tunnel"))
    path.write_text(
        f"global\n    nbthread 1\n    maxconn 7000\n    tune.ssl.cachesize 20000\ndefaults\n    timeout connect 5s\n{limits}"
        + "".join(front(name, port) for name, port in place.ports.items())
    )
    return ["haproxy", "-f", str(path), "-db"]


def envoy(place):
    def address(port):
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    def typed(name, **fields):
        return {"@type": f"type.googleapis.com/envoy.extensions.{name}", **fields}

    def listener(name, port):
        cluster = f"to-{place.upstream(name)}"
        route = {"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}
        http = {
            "stat_prefix": name,
            "stream_idle_timeout": f"{place.limit:g}s",
            # Else each stream that the app ends is held for a second.
            "delayed_close_timeout": "0s",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            "http_filters": [{"name": "router", "typed_config": typed("filters.http.router.v3.Router")}],
        }
        filters = "filters.network"
        relay = typed(f"{filters}.tcp_proxy.v3.TcpProxy", stat_prefix=name, cluster=cluster)
        manager = typed(f"{filters}.http_connection_manager.v3.HttpConnectionManager", **http)
        chain = {"filters": [{"name": "relay", "typed_config": relay if raw(name) else manager}]}
        if secure(name):
            pair = {"certificate_chain": {"filename": place.cert}, "private_key": {"filename": place.key}}
            common = {"tls_params": {"tls_minimum_protocol_version": "TLSv1_3"}, "tls_certificates": [pair]}
            context = typed("transport_sockets.tls.v3.DownstreamTlsContext", common_tls_context=common)
            chain["transport_socket"] = {"name": "tls", "typed_config": context}
        return {"name": name, "address": address(port), "tcp_backlog_size": 4096, "filter_chains": [chain]}

    def cluster(port):
        endpoint = {"endpoint": {"address": address(port)}}
        most = {name: 1 << 20 for name in ("max_connections", "max_pending_requests", "max_requests")}
        return {
            "name": f"to-{port}",
            "load_assignment": {"cluster_name": f"to-{port}", "endpoints": [{"lb_endpoints": [endpoint]}]},
            "circuit_breakers": {"thresholds": [most]},
        }

    listeners = [listener(name, port) for name, port in place.ports.items()]
    config = {"static_resources": {"listeners": listeners, "clusters": [cluster(port) for port in place.apps.values()]}}
    path = place.directory / "envoy.json"
    path.write_text(json.dumps(config))
    return [program("envoy"), "-c", str(path), "--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]


PEERS = {"nginx": nginx, "haproxy": haproxy, "envoy": envoy}
PROXIES = {"sidebeat": sidebeat, **PEERS}
_VERSION = {"sidebeat": "--version", "nginx": "-v", "haproxy": "-v", "envoy": "--version"}


def program(name):
    """The executable of a proxy: in target/peers, where the README says how to put one, else on the PATH; None if there is none."""
    if name == "sidebeat":
        return binary()
    wheels = sorted((ROOT / "target/peers").glob(f"lib/python*/site-packages/{name}/_bin/{name}"))
    return str(wheels[-1]) if wheels else shutil.which(name)


def version(name):
    """What a proxy says of itself, in one line."""
    said = subprocess.run([program(name), _VERSION[name]], capture_output=True, text=True, env=dict(os.environ, LC_ALL="C"))
    return next((line.strip() for line in (said.stdout + said.stderr).splitlines() if line.strip()), "unknown")
