"""One case at one server: through Herder, with others asking meanwhile and behind it; and straight to the server."""

from __future__ import annotations

import re
import secrets
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from applications import Server
from attacks import FAKE, TOKEN, Case
from machine import Program

# A victim waits this long for its answer, an attacker this long for all of its own.
VICTIM_S, ATTACKER_S = 3.0, 0.5
# What a server notes behind an answer is there after this time.
NOTED_S = 0.03
# Herder waits for 50 ms whether a server goes on behind an answer that may not have a body.
DOUBT_S = 0.07


@dataclass
class Answer:
    status: int
    head: bytes
    body: bytes


@dataclass
class Outcome:
    """`verdict` is `ok`, `refused`, `failed`, `broken` or `split` through Herder; straight to the server `ok`, `split`, `closed` or
    `silent`."""

    verdict: str
    why: str = ""


class Client:
    """A connection, and what came on it."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), VICTIM_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data, self.has_ended = b"", False

    def send(self, data: bytes) -> None:
        self.sock.settimeout(ATTACKER_S)
        try:
            self.sock.sendall(data)
        except OSError:
            # It has been closed, or is not read; what it said before may still be there.
            pass

    def answers(self, methods: tuple[str, ...], seconds: float) -> tuple[list[Answer], bytes]:
        """The answers to requests of these methods and what is behind them, once they are there or the time is over."""
        end = time.monotonic() + seconds
        while True:
            found, rest = parse(self.data, methods, self.has_ended)
            left = end - time.monotonic()
            if len(found) == len(methods) or self.has_ended or left <= 0:
                return found, rest
            self.receive(left)

    def receive(self, seconds: float) -> None:
        self.sock.settimeout(seconds)
        try:
            piece = self.sock.recv(65536)
        except TimeoutError:
            return
        except OSError:
            piece = b""
        self.data += piece
        self.has_ended = not piece

    def to_the_end(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.has_ended and (left := end - time.monotonic()) > 0:
            self.receive(left)


def parse(data: bytes, methods: tuple[str, ...], has_ended: bool) -> tuple[list[Answer], bytes]:
    """What a proxy would take for the answers to requests of these methods, and what is behind them."""
    found: list[Answer] = []
    while len(found) < len(methods):
        head = re.match(rb"HTTP/1\.[01] (\d{3})[^\n]*\r\n(?:[^\r\n]+\r\n)*\r\n", data)
        if not head:
            break
        status, rest = int(head[1]), data[head.end():]
        if 100 <= status < 200 and status != 101:
            data = rest
            continue
        whole = body_of(head[0], rest, methods[len(found)], status, has_ended)
        if whole is None:
            break
        body, data = whole
        found.append(Answer(status, head[0], body))
    return found, data


def body_of(head: bytes, rest: bytes, method: str, status: int, has_ended: bool) -> tuple[bytes, bytes] | None:
    """The body of an answer and what is behind it, once it is there."""
    if method == "HEAD" or status in (204, 304):
        return b"", rest
    if re.search(rb"(?i)\r\ntransfer-encoding: *chunked\r\n", head):
        return unchunked(rest)
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)\r\n", head)
    if length and status != 101:
        size = int(length[1])
        return (rest[:size], rest[size:]) if len(rest) >= size else None
    return (rest, b"") if has_ended or status == 101 else None


def unchunked(rest: bytes) -> tuple[bytes, bytes] | None:
    body = b""
    while line := re.match(rb"([0-9a-fA-F]+)[^\r\n]*\r\n", rest):
        size, rest = int(line[1], 16), rest[line.end():]
        if size == 0:
            trailers = re.match(rb"(?:[^\r\n]+\r\n)*\r\n", rest)
            return (body, rest[trailers.end():]) if trailers else None
        body, rest = body + rest[:size], rest[size + 2:]
    return None


def is_up(port: int) -> bool:
    """Whether a server answers."""
    try:
        client = Client(port)
    except OSError:
        return False
    with client.sock:
        client.send(b"GET /1k HTTP/1.1\r\nHost: up\r\n\r\n")
        found, _ = client.answers(("GET",), 2)
    return bool(found) and found[0].status == 200


class Victim:
    """A client that has nothing to do with the case. Each has a token of its own."""

    def __init__(self, port: int, method: str = "GET") -> None:
        self.token, self.method = secrets.token_hex(4), method
        self.path = "/read" if method == "GET" else "/echo"
        body = "" if method == "GET" else f"body of {self.token}"
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self.body = body.encode()
        try:
            self.client: Client | None = Client(port)
        except OSError:
            self.client = None
            return
        lines = f"Host: victim\r\nX-Victim: {self.token}\r\n{length}Connection: close\r\n"
        self.client.send(f"{method} {self.path}?{self.token} HTTP/1.1\r\n{lines}\r\n{body}".encode())

    def outcome(self, server: Server) -> Outcome:
        if self.client is None:
            return Outcome("broken", "no connection")
        with self.client.sock:
            self.client.to_the_end(VICTIM_S)
            found, rest = parse(self.client.data, (self.method,), self.client.has_ended)
        if not found or found[0].status != 200:
            came = f"status {found[0].status}" if found else "no answer" if not self.client.data else "half an answer"
            # One that is not served by anybody may get what is not its own all the same.
            return Outcome("split" if FAKE in self.client.data else "broken", came)
        body = found[0].body
        wanted = [f"{self.method} {self.path}?{self.token} ", f"x-victim:{self.token}|", server.mark]
        is_own = all(word.encode() in body for word in wanted) and FAKE not in body and not rest
        if self.body and server.lies:
            is_own &= body.endswith(b"\n" + self.body)
        return Outcome("ok") if is_own else Outcome("split", f"{self.method} got {(body + rest)[:160]!r}")


@dataclass
class Notes:
    """What a server's application has seen, read on from where it was read last."""

    server: Server
    path: Path
    # Tokens of all requests that were sent.
    tokens: set[str] = field(default_factory=set)
    # Tokens of tries: the case, and whether it goes through Herder.
    tries: dict[str, tuple[str, bool]] = field(default_factory=dict)
    # Smuggled requests that a server saw so late that the next try was under way.
    overdue: list[tuple[str, bool, str]] = field(default_factory=list)
    at: int = 0

    def begin(self, case: Case, is_through: bool) -> str:
        """The token of a try."""
        token = secrets.token_hex(4)
        self.tokens.add(token)
        self.tries[token] = case.name, is_through
        return token

    def strange(self, token: str = "") -> str:
        """The first request that nobody has sent, of those that are new, in the try with this token."""
        with open(self.path, "rb") as file:
            file.seek(self.at)
            new = file.read()
        new = new[:new.rfind(b"\n") + 1]
        self.at += len(new)
        found = ""
        for raw in new.decode("latin-1").splitlines():
            line = self.server.noted(raw)
            _, target, *_ = (line + "  ").split(" ", 2)
            path, _, query = target.partition("?")
            query = query.partition("&")[0]
            if path == "/smuggled" and query in self.tries and query != token:
                self.overdue.append((*self.tries[query], line))
            elif path == "/smuggled" or "x-smuggled:1" in line or (query not in self.tokens and path not in ("/1k", "*")):
                found = found or line
        return found


class Herder:
    """One that has just been started, for a server: what an earlier case has taught it is forgotten."""

    def __init__(self, binary: Path, folder: Path, port: int, admin: int, server: int) -> None:
        self.port = port
        rules = folder / "rules.toml"
        rules.write_text(
            f'[backends.b.servers.one]\nurl = "http://127.0.0.1:{server}"\n'
            '[frontends.f]\nbackend = "b"\n[frontends.f.routes.any]\nrule = "PathPrefix:/"\n'
        )
        # One worker has one pool: whoever comes next meets the connection that the attacker had.
        self.program = Program(
            [str(binary), "run", "--workers", "1", "--http", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}",
             "--docker=false", "--rancher=false", "--file.watch=false", f"--file.filename={rules}"],
            {"RUST_LOG": "warn"},
        )

    def __enter__(self) -> Herder:
        try:
            # So there is a connection in the pool, too.
            self.program.wait_for(self.port, "warm", 10)
        except BaseException:
            self.program.process.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.program.process.kill()
        self.program.stop()


def through(case: Case, server: Server, notes: Notes, herder: Herder) -> Outcome:
    """The case through Herder: others ask while it goes on, right behind it, and when Herder has got over its doubts."""
    port, token = herder.port, notes.begin(case, is_through=True)
    victims: list[Victim] = []
    wrong: list[Outcome] = []

    def ask(*methods: str) -> None:
        """Others ask at the same time."""
        asking = [Victim(port, method if server.reads else "GET") for method in methods]
        notes.tokens.update(victim.token for victim in asking)
        wrong.extend(outcome for victim in asking if (outcome := victim.outcome(server)).verdict != "ok")
        victims.extend(asking)

    attacker = Client(port)
    with attacker.sock:
        for step in case.steps:
            if isinstance(step, float):
                end = time.monotonic() + step
                time.sleep(step / 2)
                ask("GET")
                time.sleep(max(0.0, end - time.monotonic()))
            else:
                attacker.send(step.replace(TOKEN, token.encode()))
        answers: list[Answer] = []
        if not case.leaves:
            answers, _ = attacker.answers(case.answers(), ATTACKER_S)
    # More at once than there are connections in the pool: somebody meets the attacker's.
    ask("GET", "GET", "POST")
    time.sleep(DOUBT_S)
    ask("GET", "GET", "POST", "GET")
    ask("GET")
    time.sleep(NOTED_S)

    if line := notes.strange(token):
        return Outcome("split", f"the server saw {line[:160]!r}; {len(wrong)} of {len(victims)} victims got no answer of their own")
    for outcome in wrong:
        if outcome.verdict == "split":
            return Outcome("split", f"a victim's {outcome.why}")
    if any(victim.token.encode() in attacker.data for victim in victims):
        return Outcome("split", f"the attacker got a victim's answer: {attacker.data[:160]!r}")
    if len(case.methods) > 1:
        for answer, method in zip(answers, case.methods):
            if answer.status == 200 and not answer.body.startswith(f"{method} ".encode()):
                return Outcome("split", f"{method} was answered by {answer.body[:160]!r}")
        if len(answers) < len(case.methods):
            return Outcome("broken", f"{len(answers)} of {len(case.methods)} answers came")
    if wrong:
        return Outcome("broken", f"{len(wrong)} of {len(victims)} victims: {wrong[0].why}")
    if answers and answers[0].status >= 400 and b"\r\nX-Content-Type-Options: nosniff\r\n" in answers[0].head:
        # One of Herder's own answers.
        return Outcome("failed" if answers[0].status in (502, 503, 504) else "refused", str(answers[0].status))
    return Outcome("ok")


def straight(case: Case, server: Server, notes: Notes, port: int) -> Outcome:
    """The case without Herder, and behind its answer another request on the same connection, as a proxy would send it."""
    token, after = notes.begin(case, is_through=False), secrets.token_hex(4)
    notes.tokens.add(after)
    client = Client(port)
    with client.sock:
        for step in case.steps:
            if isinstance(step, float):
                time.sleep(step)
            else:
                client.send(step.replace(TOKEN, token.encode()))
        first, _ = client.answers(case.answers(), ATTACKER_S)
        client.send(f"GET /read?{after} HTTP/1.1\r\nHost: after\r\nX-Victim: {after}\r\n\r\n".encode())
        found, rest = client.answers((*case.answers(), "GET"), ATTACKER_S)
    time.sleep(NOTED_S)
    if line := notes.strange(token):
        return Outcome("split", f"the server saw {line[:160]!r}")
    if len(found) > len(case.answers()):
        own = f"GET /read?{after} ".encode()
        if found[-1].body.startswith(own) and server.mark.encode() in found[-1].body:
            return Outcome("ok")
        return Outcome("split" if found[-1].status < 400 else "closed", f"the next request got {found[-1].body[:160]!r}")
    if len(found) == len(case.answers()) and rest and not re.match(rb"HTTP/1\.[01] [2345]", rest):
        return Outcome("split", f"behind the answer came {rest[:160]!r}")
    return Outcome("closed" if client.has_ended else "silent")
