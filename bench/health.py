"""Herder with ten thousand servers under active checks: what they cost while nobody asks for anything."""

from __future__ import annotations

import json
import tempfile
import time
import urllib.request
from pathlib import Path

from machine import Program, free_port, which

SERVERS = 10_000
INTERVAL_S = 10
# Backends of a hundred servers each.
GROUP = 100


def origin(folder: Path, port: int) -> Program:
    """One nginx that answers at every address of 127.0.0.0/8."""
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; worker_rlimit_nofile 65536;\n"
        "events { worker_connections 20000; }\n"
        f'http {{ access_log off; server {{ listen 0.0.0.0:{port} backlog=4096; location / {{ return 200 "ok"; }} }} }}\n'
    )
    folder.chmod(0o755)
    return Program([str(which("nginx")), "-c", str(config)])


def rules(port: int, checked: bool) -> str:
    lines = []
    for number in range(SERVERS):
        group, place = divmod(number, GROUP)
        if place == 0:
            lines.append(f'[frontends.f{group}]\nbackend = "b{group}"\n[frontends.f{group}.routes.r]\nrule = "Host:h{group}.bench"\n')
            if checked:
                lines.append(f'[backends.b{group}.healthCheck]\npath = "/health"\ninterval = "{INTERVAL_S}s"\n')
        lines.append(f'[backends.b{group}.servers.s{place}]\nurl = "http://127.{1 + number // 62_500}.{number // 250 % 250}.{number % 250 + 1}:{port}"\n')
    return "".join(lines)


def run(herder: str, seconds: float) -> dict[str, list[float]]:
    """The figures of one round with checks beside one without."""
    figures: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        with origin(folder, port):
            for checked in (False, True):
                path, http, admin = folder / "rules.toml", free_port(), free_port()
                path.write_text(rules(port, checked))
                argv = [herder, "run", f"--file.filename={path}", "--file.watch=false", "--http", f"127.0.0.1:{http}",
                        "--admin", f"127.0.0.1:{admin}", "--workers", "2"]
                with Program(argv, {"RUST_LOG": "warn"}) as program:
                    start = time.monotonic()
                    while up(admin, checked) < SERVERS:
                        if time.monotonic() - start > 60:
                            raise RuntimeError(f"only {up(admin, checked)} are up:\n{program.output()[-2000:]}")
                        time.sleep(0.2)
                    if checked:
                        figures["all up after s"] = [time.monotonic() - start]
                    # The first round is together; what is measured comes after it.
                    time.sleep(2 * INTERVAL_S if checked else 3)
                    before, began = program.cpu_seconds(), time.monotonic()
                    time.sleep(max(seconds, 2 * INTERVAL_S))
                    cpu, took = program.cpu_seconds() - before, time.monotonic() - began
                    word = "with checks" if checked else "without"
                    figures[f"CPU ms/s {word}"] = [cpu / took * 1e3]
                    figures[f"MiB {word}"] = [program.rss_kib() / 1024]
                    figures[f"peak MiB {word}"] = [program.rss_kib("VmHWM") / 1024]
                    if checked and up(admin, checked) < SERVERS:
                        raise RuntimeError(f"some went down:\n{program.output()[-2000:]}")
    spent = figures["CPU ms/s with checks"][0] - figures["CPU ms/s without"][0]
    figures["µs/check"] = [spent * 1e3 / (SERVERS / INTERVAL_S)]
    return figures


def up(admin: int, checked: bool) -> int:
    wanted = "up" if checked else "unchecked"
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/api/health", timeout=10) as answer:
            return sum(server["condition"] == wanted for server in json.load(answer)["servers"])
    except OSError:
        return 0
