"""What all tiny applications in Python do: they note each request they see, and answer what its path asks for.

`/read` reads the body, `/unread` does not, `/echo` sends it back. What follows are the lies: `/fake` answers with a body that
looks like an answer, whatever the method, `/204` and `/304` with one where none may be, `/short` says a length that is less than
what comes, `/long` one that is more.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

FAKE = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nsmuggled answer\n"


def note(method: str, target: str, lines: Iterable[tuple[str, str]]) -> str:
    """Writes a request down in one line of the file that SEEN names, and returns this line."""
    said = "|".join(f"{name.lower()}:{value}" for name, value in lines)
    line = f"{method} {target} {said}|\n"
    with open(os.environ["SEEN"], "a", encoding="latin-1") as file:
        file.write(line)
    return line


def reads(target: str) -> bool:
    """Whether the body of this request is read."""
    return path_of(target) in ("/read", "/echo")


def answer(target: str, line: str, body: bytes = b"") -> tuple[int, int | None, bytes]:
    """The status, the length that is said, and what is sent."""
    text, path = line.encode("latin-1"), path_of(target)
    if path == "/echo":
        text += body
    lies = {
        "/fake": (200, len(FAKE), FAKE),
        "/204": (204, None, FAKE),
        "/304": (304, len(FAKE), FAKE),
        "/short": (200, 2, b"ok" + FAKE),
        "/long": (200, 1000, text),
    }
    return lies.get(path) or (200, len(text), text)


def path_of(target: str) -> str:
    return target.split("?")[0]


def port() -> int:
    return int(os.environ["PORT"])
