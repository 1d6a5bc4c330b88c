"""What is measured. Each scenario takes its peers in turn, round after round, and gives figures by peer."""

from __future__ import annotations

import re
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import health
from machine import Origin, Program, connections_max, get, which
from peers import Herder, Peer, Running, host
from steps import STEPS

# A figure's name -> one value for each round.
Figures = dict[str, list[float]]
Result = dict[str, Figures]


@dataclass
class Settings:
    rounds: int
    seconds: float
    origin: Origin


def say(text: str) -> None:
    print("   " + text, file=sys.stderr, flush=True)


@dataclass
class Load:
    """What wrk saw."""

    requests: int
    seconds: float
    p99_ms: float
    errors: int


def wrk(port: int, seconds: float, connections: int = 64, path: str = "/1k", hosts: int = 1, close: bool = False,
        lines: tuple[str, ...] = ()) -> Load:
    """Loads a proxy. With several hosts each request goes to the next one."""
    threads = min(2, connections)
    argv = [str(which("wrk")), "-t", str(threads), "-c", str(connections), "-d", f"{max(1, round(seconds))}s", "--latency", "--timeout", "10s"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        if hosts > 1:
            script.write(
                f"local n = math.random({hosts}) - 1\nrequest = function()\n  n = (n + 1) % {hosts}\n"
                f'  return "GET {path} HTTP/1.1\\r\\nHost: h" .. n .. ".bench\\r\\n\\r\\n"\nend\n'
            )
            script.flush()
            argv += ["-s", script.name]
        else:
            argv += ["-H", f"Host: {host(0)}"] + (["-H", "Connection: close"] if close else [])
            argv += [arg for line in lines for arg in ("-H", line)]
        done = subprocess.run([*argv, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True)
    text = done.stdout
    total = re.search(r"(\d+) requests in ([\d.]+)(\w+),", text)
    if not total:
        raise RuntimeError(f"wrk said:\n{text}{done.stderr}")
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    scale = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    errors = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", text)))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    seconds = float(total[2]) * {"s": 1, "ms": 1e-3, "m": 60}[total[3]]
    return Load(int(total[1]), seconds, float(p99[1]) * scale[p99[2]] if p99 else 0, errors + int(bad[1] if bad else 0))


# Herder with one host, beside itself with many.
ONE_HOST = "herder, 1 host"


def loaded(peers: list[Peer], settings: Settings, configured: int, beside_one: bool = False, **load: object) -> Result:
    """Processor time per request, and what else shows under load. With `beside_one` Herder takes part with one host, too."""
    result: Result = {}
    parts = [(peer.name, peer, configured) for peer in peers if peer.routes or configured == 1]
    if beside_one:
        parts += [(ONE_HOST, peer, 1) for peer in peers if isinstance(peer, Herder)]
    with ExitStack() as stack:
        running: list[tuple[str, Running]] = []
        for name, peer, hosts in parts:
            proxy = stack.enter_context(peer.start(hosts, settings.origin.ports[0]))
            ready = proxy.ready(hosts)
            running.append((name, proxy))
            result[name] = {"ready s": [ready]}
            wrk(proxy.port, 0.5, **load)
        for _ in range(settings.rounds):
            for name, proxy in running:
                before = proxy.program.cpu_seconds()
                seen = wrk(proxy.port, settings.seconds, **load)
                cpu = proxy.program.cpu_seconds() - before
                figures = result[name]
                for figure, value in {
                    "µs/request": cpu / max(seen.requests, 1) * 1e6,
                    "p99 ms": seen.p99_ms,
                    "requests/s": seen.requests / seen.seconds,
                    "errors": seen.errors,
                    "peak MiB": proxy.program.rss_kib("VmHWM") / 1024,
                }.items():
                    figures.setdefault(figure, []).append(value)
                say(f"{name:8} {figures['µs/request'][-1]:8.2f} µs/request {figures['requests/s'][-1]:8.0f}/s"
                    f" p99 {seen.p99_ms:.2f} ms, errors {seen.errors}")
    return result


def keep_alive(peers: list[Peer], settings: Settings) -> Result:
    return loaded(peers, settings, 1)


def one_connection(peers: list[Peer], settings: Settings) -> Result:
    return loaded(peers, settings, 1, connections=1)


def hosts_1000(peers: list[Peer], settings: Settings) -> Result:
    return loaded(peers, settings, 1_000, hosts=1_000)


def hosts_10000(peers: list[Peer], settings: Settings) -> Result:
    return loaded(peers, settings, 10_000, beside_one=True)


def connection_per_request(peers: list[Peer], settings: Settings) -> Result:
    return loaded(peers, settings, 1, close=True)


def large(peers: list[Peer], settings: Settings) -> Result:
    result = loaded(peers, settings, 1, path="/1m", connections=16)
    for figures in result.values():
        # A request is a mebibyte: µs/MiB * 1024 is µs/GiB.
        figures["CPU s/GiB"] = [value * 1024 / 1e6 for value in figures.pop("µs/request")]
    return result


def idle(peers: list[Peer], settings: Settings, count: int = 20_000) -> Result:
    """Memory for each keep-alive connection that has done one request and waits."""
    count = min(count, connections_max() - 500)
    result: Result = {}
    for peer in peers:
        with peer.start(1, settings.origin.ports[0]) as proxy:
            proxy.ready(1)
            wrk(proxy.port, 1)
            before = proxy.program.rss_kib()
            sockets = connect(proxy.port, count)
            time.sleep(1)
            each = (proxy.program.rss_kib() - before) / max(len(sockets), 1)
            alive = get(proxy.port, host(0)) is not None
            result[peer.name] = {"KiB/idle connection": [each], "connections": [len(sockets)], "still serves": [float(alive)]}
            say(f"{peer.name:8} {each:.2f} KiB for each of {len(sockets)}")
            for sock in sockets:
                sock.close()
    return result


def connect(port: int, count: int) -> list[socket.socket]:
    """Connections that have each had an answer. Several client addresses, for one has only so many ports."""
    request = f"GET /1k HTTP/1.1\r\nHost: {host(0)}\r\n\r\n".encode()
    done = []
    for start in range(0, count, 200):
        batch = []
        for number in range(start, min(start + 200, count)):
            sock = socket.socket()
            # IP_BIND_ADDRESS_NO_PORT: the port is chosen when it connects, by both ends.
            sock.setsockopt(socket.IPPROTO_IP, 24, 1)
            sock.bind((f"127.0.1.{number // 2_000 + 1}", 0))
            sock.connect(("127.0.0.1", port))
            sock.sendall(request)
            batch.append(sock)
        for sock in batch:
            sock.settimeout(10)
            seen = b""
            while len(seen.partition(b"\r\n\r\n")[2]) < 1024:
                piece = sock.recv(4096)
                if not piece:
                    break
                seen += piece
            else:
                done.append(sock)
    return done


# Seconds of load in a round of changes, of which those of the first and the last second see none, and those between two changes.
CHANGES_LOAD = 6
CHANGES_PAUSE = 0.5


def change(peers: list[Peer], settings: Settings) -> Result:
    """One of 1,000 hosts moves to another origin under load: until it is served, what is lost, who is cut off."""
    result: Result = {}
    for peer in peers:
        with peer.start(1_000, settings.origin.ports[0]) as proxy:
            proxy.ready(1_000)
            figures: Figures = {"served after ms": [], "asked after ms": [], "since the change ms": [], "errors": [], "connections cut": []}
            for _ in range(settings.rounds):
                idlers = connect(proxy.port, 50)
                load: list[Load] = []
                thread = threading.Thread(target=lambda: load.append(wrk(proxy.port, CHANGES_LOAD, hosts=900)))
                began = time.monotonic()
                thread.start()
                try:
                    time.sleep(1)
                    while time.monotonic() - began < CHANGES_LOAD - 1:
                        # The other hosts are under load. After a hundred changes these move back.
                        way, number = divmod(len(figures["served after ms"]), 100)
                        move(proxy, 900 + number, settings.origin, 1 - way % 2, figures)
                        time.sleep(CHANGES_PAUSE)
                except NotImplementedError:
                    thread.join()
                    break
                thread.join()
                figures["errors"].append(load[0].errors)
                figures["connections cut"].append(sum(map(is_cut, idlers)))
                for sock in idlers:
                    sock.close()
            if figures["errors"]:
                result[peer.name] = figures
                say(f"{peer.name:8} {figures}")
    return result


def move(proxy: Running, number: int, origin: Origin, to: int, figures: Figures) -> None:
    """Moves one host to one of the two origins, and notes how long it took."""
    expected = b"ab"[to : to + 1]
    start = time.monotonic()
    told = proxy.change(number, origin.ports[to]) or start
    asked = time.monotonic()
    while asked - start < 20 and not (get(proxy.port, host(number)) or b"").startswith(expected):
        time.sleep(0.0005)
        asked = time.monotonic()
    if asked - start >= 20:
        raise RuntimeError(f"the change of {host(number)} is not served after 20 s")
    served = time.monotonic()
    figures["served after ms"].append((served - told) * 1e3)
    figures["asked after ms"].append((asked - told) * 1e3)
    figures["since the change ms"].append((served - start) * 1e3)


def is_cut(sock: socket.socket) -> bool:
    """Whether the other side has closed."""
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def syscalls(peers: list[Peer], settings: Settings) -> Result:
    """System calls for each small exchange, counted by strace under saturation."""
    result: Result = {}
    for peer in peers:
        with peer.start(1, settings.origin.ports[0]) as proxy, tempfile.NamedTemporaryFile() as out:
            proxy.ready(1)
            wrk(proxy.port, 0.5)
            pids = [arg for pid in proxy.program.pids() for arg in ("-p", str(pid))]
            tracer = Program([str(which("strace")), "-f", "-c", "-o", out.name, *pids])
            time.sleep(1)
            seen = wrk(proxy.port, max(settings.seconds, 3))
            tracer.process.send_signal(2)
            tracer.process.wait(10)
            tracer.stop()
            text = out.read().decode()
            calls = sum(int(line.split()[3]) for line in text.splitlines() if re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+\d+", line)
                        and not line.rstrip().endswith("total"))
            result[peer.name] = {"system calls/request": [calls / seen.requests]}
            top = [line.split() for line in text.splitlines() if re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+\d+", line)]
            shown = ", ".join(f"{row[-1]} {int(row[3]) / seen.requests:.2f}" for row in sorted(top, key=lambda r: -int(r[3]))[1:6])
            say(f"{peer.name:8} {calls / seen.requests:.3f} ({shown})")
    return result


def instructions(peers: list[Peer], settings: Settings) -> Result:
    """User instructions for each request, by callgrind: what a run with three times the requests takes more."""
    result: Result = {}
    for peer in (peer for peer in peers if peer.can_count):
        totals = [count_instructions(peer, settings, requests) for requests in (2_000, 6_000)]
        result[peer.name] = {"instructions/request": [(totals[1] - totals[0]) / 4_000]}
        say(f"{peer.name:8} {result[peer.name]['instructions/request'][0]:.0f}")
    return result


def count_instructions(peer: Peer, settings: Settings, requests: int, lines: tuple[str, ...] = ()) -> int:
    """Those of one run after its start: how long that gathers random numbers from the jitter of the clock is chance."""
    valgrind = [str(which("valgrind")), "--tool=callgrind", "--callgrind-out-file=/dev/null", "--trace-children=no"]
    with peer.start(1, settings.origin.ports[0], workers=1, prefix=valgrind) as proxy:
        proxy.ready(1, lines)
        for pid in proxy.program.pids():
            subprocess.run([str(which("callgrind_control")), "--zero", str(pid)], check=True, capture_output=True)
        send(proxy.port, requests, 16, lines)
        proxy.program.stop()
        found = re.search(r"Collected : (\d+)", proxy.program.output())
        if not found:
            raise RuntimeError(f"callgrind said:\n{proxy.program.output()[-2000:]}")
        return int(found[1])


def send(port: int, requests: int, connections: int, lines: tuple[str, ...] = ()) -> None:
    """So many requests, spread over some keep-alive connections."""
    more = "".join(f"{line}\r\n" for line in lines)
    request = f"GET /1k HTTP/1.1\r\nHost: {host(0)}\r\nUser-Agent: bench\r\nAccept: */*\r\n{more}\r\n".encode()
    selector = selectors.DefaultSelector()
    left = requests
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(request)
        selector.register(sock, selectors.EVENT_READ, bytearray())
        left -= 1
    open_connections = connections
    while open_connections:
        for key, _ in selector.select(30):
            sock, seen = key.fileobj, key.data
            assert isinstance(sock, socket.socket)
            seen += sock.recv(65536)
            if len(seen.partition(b"\r\n\r\n")[2]) < 1024:
                continue
            seen.clear()
            if left > 0:
                left -= 1
                sock.sendall(request)
            else:
                selector.unregister(sock)
                sock.close()
                open_connections -= 1


def leak(peers: list[Peer], settings: Settings) -> Result:
    """Memory after many rounds of load and changes is memory after two. Rounds are twelve, or more where that is said."""
    result: Result = {}
    rounds = max(12, settings.rounds)
    for peer in (peer for peer in peers if peer.name == "herder"):
        with peer.start(100, settings.origin.ports[0]) as proxy:
            proxy.ready(100)
            seen = []
            for turn in range(rounds):
                wrk(proxy.port, settings.seconds, hosts=100)
                for number in range(100):
                    proxy.change(number, settings.origin.ports[turn % 2])
                seen.append(proxy.program.rss_kib() / 1024)
            result[peer.name] = {"MiB after 2 rounds": [seen[1]], f"MiB after {rounds}": [seen[-1]], "most MiB between": [max(seen[1:])]}
            say(f"{peer.name:8} {seen}")
    return result


def middlewares(peers: list[Peer], settings: Settings) -> Result:
    """What each middleware costs a request, alone and ten of them in a chain: instructions, exact, and processor time."""
    result: Result = {}
    for peer in (peer for peer in peers if isinstance(peer, Herder)):
        rounds: dict[str, list[float]] = {}
        for name, (labels, flags, lines) in STEPS.items():
            with_step = Herder(peer.path, labels, flags)
            totals = [count_instructions(with_step, settings, requests, lines) for requests in (1_000, 3_000)]
            result[name] = {"instructions/request": [(totals[1] - totals[0]) / 2_000]}
            say(f"{name:24} {result[name]['instructions/request'][0]:.0f}")
        for _ in range(settings.rounds):
            for name, (labels, flags, lines) in STEPS.items():
                with Herder(peer.path, labels, flags).start(1, settings.origin.ports[0]) as proxy:
                    proxy.ready(1, lines)
                    wrk(proxy.port, 0.3, lines=lines)
                    before = proxy.program.cpu_seconds()
                    seen = wrk(proxy.port, settings.seconds, lines=lines)
                    cost = (proxy.program.cpu_seconds() - before) / seen.requests * 1e6
                    rounds.setdefault(name, []).append(cost)
                    if seen.errors:
                        say(f"{name}: {seen.errors} errors")
        for name, values in rounds.items():
            result[name]["µs/request"] = values
    return result


def health_10000(peers: list[Peer], settings: Settings) -> Result:
    """Processor time and memory of 10,000 servers that are checked every 10 s, beside the same without checks."""
    result: Result = {}
    for peer in (peer for peer in peers if peer.name == "herder"):
        result[peer.name] = health.run(peer.path, settings.seconds)
        say(f"{peer.name:8} {result[peer.name]}")
    return result


ALL: dict[str, Callable[[list[Peer], Settings], Result]] = {
    "keep-alive": keep_alive,
    "one-connection": one_connection,
    "hosts-1000": hosts_1000,
    "hosts-10000": hosts_10000,
    "connection-per-request": connection_per_request,
    "large": large,
    "idle": idle,
    "change": change,
    "syscalls": syscalls,
    "instructions": instructions,
    "middlewares": middlewares,
    "leak": leak,
    "health-10000": health_10000,
}
