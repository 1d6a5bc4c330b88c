"""The worst server there may be: it reads heads and never a body, and what it answers is what the path asks for.

Others are at fault in one or two of these ways. It closes where it is asked to, and so shows what Herder promises, and what nobody
can know.
"""

from __future__ import annotations

import re
import socket
import threading
import time

import tiny


def serve(client: socket.socket) -> None:
    client.settimeout(60)
    come = b""
    try:
        while True:
            while b"\r\n\r\n" not in come:
                piece = client.recv(65536)
                if not piece:
                    return
                come += piece
            head, come = come.split(b"\r\n\r\n", 1)
            if not answer(client, head.lstrip().decode("latin-1")):
                return
    except OSError:
        pass
    finally:
        client.close()


def answer(client: socket.socket, head: str) -> bool:
    """Tells whether the connection goes on."""
    first, *lines = head.split("\r\n")
    method, target, _ = (first + "  ").split(" ", 2)
    line = tiny.note(method, target, [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)])
    status, length, text = tiny.answer(target, line)
    told = "" if length is None else f"Content-Length: {length}\r\n"
    whole = f"HTTP/1.1 {status} Here\r\n{told}\r\n".encode() + text
    path = tiny.path_of(target)
    if path == "/two":
        client.sendall(whole + tiny.FAKE)
    elif path == "/two-late":
        client.sendall(whole)
        time.sleep(0.02)
        client.sendall(tiny.FAKE)
    elif path == "/late-body":
        client.sendall(f"HTTP/1.1 {status} Here\r\n{told}\r\n".encode())
        time.sleep(0.02)
        client.sendall(tiny.FAKE)
    elif path == "/farewell":
        client.sendall(whole)
        time.sleep(0.02)
        client.sendall(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        return False
    elif path == "/flood":
        client.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 5000 + whole)
    elif path == "/switch":
        client.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" + tiny.FAKE)
    elif path == "/no-answer":
        return False
    elif path == "/broken":
        client.sendall(b"HTTP/1.1 200 Here\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n" + tiny.FAKE)
    else:
        client.sendall(whole)
    closes = any(re.match(r"(?i)connection:(.*,)? *close *(,|$)", line) for line in lines)
    return path != "/close" and not closes


with socket.create_server(("127.0.0.1", tiny.port()), backlog=128) as listener:
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
