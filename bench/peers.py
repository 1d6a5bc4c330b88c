"""The proxies, each with a configuration that does the same: routing by Host, round robin over one server, upstream
keep-alive, X-Forwarded-For, -Host and -Proto, no access log, two workers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from machine import Program, connections_max, forget, free_port, which


def host(number: int) -> str:
    return f"h{number}.bench"


class Peer:
    """A proxy. `start` makes a running one for some number of hosts."""

    name = ""
    # The program of this name runs it.
    program = ""
    # Whether callgrind can count its instructions.
    can_count = False
    # Whether it tells hosts apart.
    routes = True

    def __init__(self, path: str) -> None:
        self.path = path

    def version(self) -> str:
        args = {"nginx": "-v", "haproxy": "-v", "splice": "-v", "traefik": "version", "caddy": "version"}.get(self.name, "--version")
        done = subprocess.run([self.path, args], capture_output=True, text=True)
        return next((line for line in (done.stdout + done.stderr).splitlines() if any(c.isdigit() for c in line)), "?").strip()

    def start(self, hosts: int, origin: int, workers: int = 2, prefix: list[str] | None = None) -> Running:
        raise NotImplementedError


class Running:
    """A proxy that serves. Ends with the `with` block."""

    def __init__(self, peer: Peer, argv: list[str], port: int, folder: tempfile.TemporaryDirectory[str],
                 prefix: list[str] | None, env: dict[str, str] | None = None) -> None:
        self.peer, self.port, self.folder = peer, port, folder
        forget(peer.path)
        self.began = time.monotonic()
        self.program = Program([*(prefix or []), *argv], env)

    def __enter__(self) -> Running:
        return self

    def ready(self, hosts: int, lines: tuple[str, ...] = ()) -> float:
        """Waits until the last host is served to a request with these lines. Returns the seconds since its start."""
        self.program.wait_for(self.port, host(hosts - 1), 180, lines)
        return time.monotonic() - self.began

    def change(self, number: int, origin: int) -> float | None:
        """Sends one host to another origin, in the way of this proxy. Returns when the proxy had been told, where that took a while."""
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        self.program.stop()
        self.folder.cleanup()


class Nginx(Peer):
    name = "nginx"
    can_count = True

    def config(self, targets: list[int], port: int, folder: str, workers: int) -> str:
        servers = "".join(
            f"upstream u{i} {{ server 127.0.0.1:{target}; keepalive 128; }}\n"
            f"server {{ listen 127.0.0.1:{port}{' backlog=4096 reuseport' if i == 0 else ''}; server_name {host(i)};"
            f" location / {{ proxy_pass http://u{i}; }} }}\n"
            for i, target in enumerate(targets)
        )
        return (
            f"daemon off; pid {folder}/pid; error_log {folder}/error.log crit; worker_processes {workers};\n"
            f"master_process {'on' if workers > 1 else 'off'}; worker_rlimit_nofile {2 * connections_max()};\n"
            f"events {{ worker_connections {connections_max()}; }}\n"
            "http { access_log off; keepalive_requests 1000000000; keepalive_timeout 300s;\n"
            "server_names_hash_max_size 65536; server_names_hash_bucket_size 128; tcp_nodelay on;\n"
            'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;\n'
            "proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Host $host;\n"
            f"proxy_set_header X-Forwarded-Proto $scheme;\n{servers} }}\n"
        )

    def start(self, hosts: int, origin: int, workers: int = 2, prefix: list[str] | None = None) -> Running:
        folder, port = tempfile.TemporaryDirectory(), free_port()
        os.chmod(folder.name, 0o755)
        path, targets, peer = Path(folder.name) / "nginx.conf", [origin] * hosts, self
        path.write_text(self.config(targets, port, folder.name, workers))

        class RunningNginx(Running):
            def change(self, number: int, origin: int) -> float | None:
                targets[number] = origin
                path.write_text(peer.config(targets, port, folder.name, workers))
                self.program.process.send_signal(signal.SIGHUP)

        return RunningNginx(self, [self.path, "-c", str(path)], port, folder, prefix)


class Haproxy(Peer):
    name = "haproxy"
    can_count = True

    def start(self, hosts: int, origin: int, workers: int = 2, prefix: list[str] | None = None) -> Running:
        folder, port = tempfile.TemporaryDirectory(), free_port()
        root = Path(folder.name)
        backends = "".join(f"backend b{i}\n server s 127.0.0.1:{origin}\n" for i in range(hosts))
        (root / "hosts.map").write_text("".join(f"{host(i)} b{i}\n" for i in range(hosts)))
        (root / "haproxy.cfg").write_text(
            f"global\n nbthread {workers}\n maxconn {connections_max()}\n stats socket {root}/sock level admin\n"
            "defaults\n mode http\n timeout client 300s\n timeout server 60s\n timeout connect 3s\n"
            " timeout http-keep-alive 300s\n option forwardfor\n http-reuse always\n"
            f"frontend f\n bind 127.0.0.1:{port} backlog 4096\n"
            " http-request set-header X-Forwarded-Proto http\n"
            " http-request set-header X-Forwarded-Host %[req.hdr(host)]\n"
            f" use_backend %[req.hdr(host),lower,map({root}/hosts.map,b0)]\n{backends}"
        )

        class RunningHaproxy(Running):
            def change(self, number: int, origin: int) -> float | None:
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(f"{root}/sock")
                    sock.sendall(f"set server b{number}/s addr 127.0.0.1 port {origin}\n".encode())
                    sock.recv(4096)

        return RunningHaproxy(self, [self.path, "-db", "-f", f"{root}/haproxy.cfg"], port, folder, prefix)


class Splice(Peer):
    """The floor: HAProxy in TCP mode reads no request, and only moves bytes from one socket to the other."""

    name = "splice"
    program = "haproxy"
    can_count = True
    routes = False

    def start(self, hosts: int, origin: int, workers: int = 2, prefix: list[str] | None = None) -> Running:
        folder, port = tempfile.TemporaryDirectory(), free_port()
        path = Path(folder.name) / "haproxy.cfg"
        path.write_text(
            f"global\n nbthread {workers}\n maxconn {connections_max()}\n"
            "defaults\n mode tcp\n timeout client 300s\n timeout server 300s\n timeout connect 3s\n"
            f"listen l\n bind 127.0.0.1:{port} backlog 4096\n server s 127.0.0.1:{origin}\n"
        )
        return Running(self, [self.path, "-db", "-f", str(path)], port, folder, prefix)


class Traefik(Peer):
    name = "traefik"

    def start(self, hosts: int, origin: int, workers: int = 2, prefix: list[str] | None = None) -> Running:
        folder, port = tempfile.TemporaryDirectory(), free_port()
        path = Path(folder.name) / "dynamic.json"

        def write(targets: list[int]) -> None:
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps({"http": {
                "routers": {f"r{i}": {"rule": f"Host(`{host(i)}`)", "service": f"s{i}"} for i in range(len(targets))},
                "services": {f"s{i}": {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{t}"}]}}
                             for i, t in enumerate(targets)},
            }}))
            fresh.rename(path.with_suffix(".yml"))

        targets = [origin] * hosts
        write(targets)

        class RunningTraefik(Running):
            def change(self, number: int, origin: int) -> float | None:
                targets[number] = origin
                write(targets)

        argv = [self.path, f"--entrypoints.web.address=127.0.0.1:{port}", f"--providers.file.filename={path.with_suffix('.yml')}",
                "--log.level=ERROR", "--global.checknewversion=false", "--global.sendanonymoususage=false",
                "--serverstransport.maxidleconnsperhost=256", "--entrypoints.web.transport.respondingtimeouts.idletimeout=300s"]
        return RunningTraefik(self, argv, port, folder, prefix, {"GOMAXPROCS": str(workers)})


class Caddy(Peer):
    name = "caddy"

    def start(self, hosts: int, origin: int, workers: int = 2, prefix: list[str] | None = None) -> Running:
        folder, port = tempfile.TemporaryDirectory(), free_port()
        path = Path(folder.name) / "caddy.json"
        routes = [{"match": [{"host": [host(i)]}],
                   "handle": [{"handler": "reverse_proxy", "upstreams": [{"dial": f"127.0.0.1:{origin}"}],
                               "transport": {"protocol": "http", "keep_alive": {"max_idle_conns_per_host": 256}}}],
                   "terminal": True} for i in range(hosts)]
        path.write_text(json.dumps({
            "admin": {"disabled": True}, "logging": {"logs": {"default": {"level": "ERROR"}}},
            "apps": {"http": {"servers": {"s": {"listen": [f"127.0.0.1:{port}"], "routes": routes,
                                                "automatic_https": {"disable": True}}}}},
        }))
        env = {"GOMAXPROCS": str(workers), "HOME": folder.name, "XDG_DATA_HOME": folder.name, "XDG_CONFIG_HOME": folder.name}
        return Running(self, [self.path, "run", "--config", str(path)], port, folder, prefix, env)


class Envoy(Peer):
    name = "envoy"

    def start(self, hosts: int, origin: int, workers: int = 2, prefix: list[str] | None = None) -> Running:
        folder, port = tempfile.TemporaryDirectory(), free_port()
        path = Path(folder.name) / "envoy.json"
        manager = {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "in", "use_remote_address": True,
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
            "route_config": {"virtual_hosts": [
                {"name": f"v{i}", "domains": [host(i)], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": f"c{i}"}}],
                 "request_headers_to_add": [{"header": {"key": "x-forwarded-host", "value": "%REQ(:authority)%"}}]}
                for i in range(hosts)]},
        }
        clusters = [{"name": f"c{i}", "type": "STATIC", "connect_timeout": "3s", "load_assignment": {
            "cluster_name": f"c{i}", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
                "socket_address": {"address": "127.0.0.1", "port_value": origin}}}}]}]}} for i in range(hosts)]
        path.write_text(json.dumps({"static_resources": {"clusters": clusters, "listeners": [{
            "name": "in", "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
        }]}}))
        argv = [self.path, "-c", str(path), "--concurrency", str(workers), "--log-level", "error", "--disable-hot-restart"]
        return Running(self, argv, port, folder, prefix)


class Metadata:
    """A Rancher metadata service with one external service for each host, for Herder to read as it does in earnest."""

    def __init__(self, targets: list[int], labels: dict[str, str]) -> None:
        self.labels = labels
        self.targets, self.version, self.changed = targets, 1, threading.Condition()
        self.services, self.told_at, self.was_told = self.services_json(), 0.0, threading.Event()
        metadata = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = metadata.answer(self.path)
                is_news = body is metadata.services
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    return
                if is_news:
                    metadata.told_at = time.monotonic()
                    metadata.was_told.set()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str) -> bytes:
        name = path.split("?")[0].rstrip("/").rsplit("/", 1)[-1]
        if name == "version":
            with self.changed:
                if "wait=true" in path and f"value={self.version}" in path:
                    self.changed.wait(5)
                return json.dumps(str(self.version)).encode()
        return self.services if name == "services" else b"[]"

    def services_json(self) -> bytes:
        return json.dumps([{
            "name": f"s{i}", "stack_name": "bench", "kind": "externalService", "state": "active", "uuid": f"u{i}",
            "create_index": i, "external_ips": ["127.0.0.1"], "containers": [],
            "labels": {"traefik.enable": "true", "traefik.port": str(target), "traefik.frontend.rule": f"Host:{host(i)}", **self.labels},
        } for i, target in enumerate(self.targets)]).encode()

    def change(self, number: int, origin: int) -> float:
        """Returns when the last byte of the news was sent."""
        self.targets[number] = origin
        services = self.services_json()
        with self.changed:
            self.was_told.clear()
            self.services = services
            self.version += 1
            self.changed.notify_all()
        self.was_told.wait(20)
        return self.told_at


# What the image sets (Dockerfile).
IMAGE_ENV = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=65536"}


class Herder(Peer):
    name = "herder"
    can_count = True

    def __init__(self, path: str, labels: dict[str, str] | None = None, flags: list[str] | None = None) -> None:
        """`labels`: what every service asks for besides its rule; `flags`: what Herder is told besides."""
        super().__init__(path)
        self.labels, self.flags = labels or {}, flags or []

    def start(self, hosts: int, origin: int, workers: int = 2, prefix: list[str] | None = None) -> Running:
        folder, port, admin = tempfile.TemporaryDirectory(), free_port(), free_port()
        metadata = Metadata([origin] * hosts, self.labels)

        class RunningHerder(Running):
            def change(self, number: int, origin: int) -> float:
                return metadata.change(number, origin)

            def __exit__(self, *exc: object) -> None:
                super().__exit__(*exc)
                metadata.server.shutdown()
                metadata.server.server_close()

        argv = [self.path, "run", "--rancher", f"--rancher.metadata.url=http://127.0.0.1:{metadata.server.server_port}",
                "--http", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}", "--workers", str(workers), *self.flags]
        return RunningHerder(self, argv, port, folder, prefix, IMAGE_ENV)


ALL: dict[str, type[Peer]] = {kind.name: kind for kind in (Herder, Nginx, Haproxy, Splice, Envoy, Traefik, Caddy)}


def find(name: str, herder: Path) -> Peer | None:
    """A peer that is here, or nothing."""
    path = str(herder) if name == "herder" else which(ALL[name].program or name)
    return ALL[name](path) if path else None
