"""What is sent: requests that some server takes for two, and questions to which some application answers with two answers."""

from __future__ import annotations

from dataclasses import dataclass

# Stands in what is sent for the token of this one try, which has as many bytes.
TOKEN = b"@@@@@@@@"
# The request that nobody sent. A server that sees it has taken bytes of one request for another one.
SMUGGLED = b"GET /smuggled?" + TOKEN + b" HTTP/1.1\r\nHost: smuggled\r\nX-Smuggled: 1\r\n\r\n"
# What an application says behind its answer: some server passes it on.
FAKE = b"smuggled answer"


@dataclass(frozen=True)
class Case:
    name: str
    # Bytes to send, and seconds to wait before those that follow; others ask meanwhile.
    steps: tuple[bytes | float, ...]
    # Whether the client leaves without waiting for an answer.
    leaves: bool = False
    # The methods of the requests that are to be answered, where it is not the first one alone.
    methods: tuple[str, ...] = ()
    # Whether it takes a server that reads bodies, or an application that lies, or only the naive server does such a thing.
    reads: bool = False
    lies: bool = False
    naive: bool = False

    def answers(self) -> tuple[str, ...]:
        first = self.steps[0]
        return self.methods or (first.split(b" ", 1)[0].decode(),) if isinstance(first, bytes) else ()


def head(method: str, path: str, *lines: str, version: str = "1.1") -> bytes:
    more = "".join(f"{line}\r\n" for line in lines)
    return f"{method} {path}?".encode() + TOKEN + f" HTTP/{version}\r\nHost: attacker\r\n{more}\r\n".encode()


def sized(method: str, path: str, *lines: str, body: bytes = SMUGGLED) -> bytes:
    return head(method, path, *lines, f"Content-Length: {len(body)}") + body


def chunk(body: bytes, extension: str = "") -> bytes:
    return f"{len(body):x}{extension}\r\n".encode() + body + b"\r\n"


LAST = b"0\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"
EXPECT = "Expect: 100-continue"
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
# Long enough for an application to have answered a head alone.
WHILE = 0.12
N = len(SMUGGLED)


def late(request: bytes) -> tuple[bytes | float, ...]:
    """The body some time after the head."""
    lines, body = request.split(b"\r\n\r\n", 1)
    return (lines + b"\r\n\r\n", WHILE, body)


def large(size: int) -> bytes:
    """A body that is a request wherever a server stops to read it: many skip empty lines before one."""
    piece = b"\r\n" * 500 + SMUGGLED
    return piece * (size // len(piece))


def cases() -> list[Case]:
    found: list[Case] = []

    def add(name: str, *steps: bytes | float, **more: object) -> None:
        found.append(Case(name, steps, **more))  # type: ignore[arg-type]

    # A body that the application does not read, of methods that rarely have one.
    for method in ("GET", "HEAD", "DELETE", "OPTIONS", "TRACE"):
        add(f"{method.lower()}-length", sized(method, "/unread"))
    add("get-length-late", *late(sized("GET", "/unread")))
    add("get-length-read", sized("GET", "/read"))
    # What else stands in the line that says that this is the last one.
    add("get-length-te", sized("GET", "/unread", "TE: trailers", "Connection: TE"))
    add("get-length-close", sized("GET", "/unread", "Connection: close"))
    add("get-large", sized("GET", "/unread", body=large(300_000)))
    # The same of those that do. Nobody but the server can know.
    for method in ("POST", "PUT", "SEARCH"):
        add(f"{method.lower()}-length", sized(method, "/unread"))
    add("post-length-late", *late(sized("POST", "/unread")))
    add("post-length-read", *late(sized("POST", "/read")))
    add("post-large", sized("POST", "/unread", body=large(300_000)))
    # More than some servers take.
    add("post-too-large", sized("POST", "/read", body=large(2_000_000)))
    add("post-form", sized("POST", "/unread", "Content-Type: application/x-www-form-urlencoded"))
    add("post-multipart", sized("POST", "/unread", "Content-Type: multipart/form-data; boundary=GET"))
    # Chunks.
    chunked = chunk(SMUGGLED) + LAST
    add("chunked", head("POST", "/unread", CHUNKED) + chunked)
    add("chunked-late", *late(head("POST", "/unread", CHUNKED) + chunked))
    add("chunked-read", head("POST", "/read", CHUNKED) + chunked)
    add("chunked-te", head("POST", "/unread", CHUNKED, "TE: trailers", "Connection: TE") + chunked)
    add("chunked-large", head("POST", "/unread", CHUNKED) + chunk(large(300_000)) + LAST)
    add("chunked-capitals", head("POST", "/unread", "TRANSFER-ENCODING:CHUNKED ") + chunked)
    add("chunked-get", head("GET", "/unread", CHUNKED) + chunked)
    before, behind = SMUGGLED.split(TOKEN)
    pieces = [bytes([byte]) for byte in before] + [TOKEN] + [bytes([byte]) for byte in behind]
    add("chunked-many", head("POST", "/unread", CHUNKED) + b"".join(map(chunk, pieces)) + LAST)
    add("chunk-extension", head("POST", "/read", CHUNKED) + chunk(b"x", ";a=\"GET /smuggled\"") + chunk(SMUGGLED, ";b") + LAST)
    add("trailer", head("POST", "/read", CHUNKED, "Trailer: X-Smuggled") + chunk(b"x") + b"0\r\nX-Smuggled: 1\r\nHost: smuggled\r\n\r\n")
    add("trailer-unread", head("POST", "/unread", CHUNKED) + chunk(b"x") + b"0\r\nX-Smuggled: 1\r\nA: b\r\n\r\n")
    add("trailer-request", head("POST", "/read", CHUNKED) + chunk(b"x") + b"0\r\n" + SMUGGLED)
    # A body that is announced.
    add("expect", sized("POST", "/unread", EXPECT))
    add("expect-late", *late(sized("POST", "/unread", EXPECT)))
    add("expect-read", *late(sized("POST", "/read", EXPECT)))
    add("expect-none", head("GET", "/unread", EXPECT))
    add("expect-get", sized("GET", "/unread", EXPECT))
    add("expect-chunked", head("POST", "/unread", EXPECT, CHUNKED) + chunked)
    # An upgrade that the server declines, or takes part of.
    add("upgrade", head("GET", "/unread", *UPGRADE))
    add("upgrade-length", sized("GET", "/unread", *UPGRADE))
    add("upgrade-late", *late(sized("GET", "/unread", *UPGRADE)))
    add("upgrade-post", sized("POST", "/unread", *UPGRADE))
    add("upgrade-read", sized("POST", "/read", *UPGRADE))
    add("upgrade-chunked", head("POST", "/unread", *UPGRADE, CHUNKED) + chunked)
    add("upgrade-h2c", sized("POST", "/unread", *H2C))
    add("upgrade-h2c-bare", head("GET", "/unread", *H2C))
    add("upgrade-list", sized("GET", "/read", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c, websocket", H2C[2]))
    add("preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SMUGGLED)
    add("upgrade-other", sized("POST", "/read", "Connection: Upgrade", "Upgrade: other/1"))
    # Where a body ends is said twice, or in a way that two readers read in two ways.
    add("length-and-chunks", head("POST", "/read", f"Content-Length: {len(LAST) + N}", CHUNKED) + LAST + SMUGGLED)
    add("chunks-and-length", head("POST", "/read", CHUNKED, "Content-Length: 4") + b"1\r\nx" + SMUGGLED)
    add("two-lengths", head("POST", "/read", f"Content-Length: {N}", "Content-Length: 0") + SMUGGLED)
    add("length-list", head("POST", "/read", f"Content-Length: 0, {N}") + SMUGGLED)
    add("length-plus", head("POST", "/read", f"Content-Length: +{N}") + SMUGGLED)
    add("length-tab", head("POST", "/unread", f"Content-Length:\t{N}\t") + SMUGGLED)
    add("length-null", head("POST", "/read", f"Content-Length: {N}", "Content-Length\0: 0") + SMUGGLED)
    # 200 bytes, or 128 for who reads as C does.
    add("length-octal", head("POST", "/unread", "Content-Length: 0200") + b"x" * 128 + SMUGGLED + b"\r\n" * ((200 - 128 - N) // 2))
    add("length-underscore", head("POST", "/read", f"Content-Length: {N}", "Content_Length: 0") + SMUGGLED)
    add("length-dot", head("POST", "/read", f"Content-Length: {N}", "Content.Length: 0") + SMUGGLED)
    add("chunked-blank", head("POST", "/read", "Transfer-Encoding : chunked", f"Content-Length: {len(LAST) + N}") + LAST + SMUGGLED)
    add("chunked-other", head("POST", "/read", "Transfer-Encoding: xchunked") + LAST + SMUGGLED)
    add("chunked-comma", head("POST", "/read", "Transfer-Encoding: ,chunked", f"Content-Length: {len(LAST) + N}") + LAST + SMUGGLED)
    add("chunked-identity", head("POST", "/read", "Transfer-Encoding: identity, chunked") + LAST + SMUGGLED)
    add("chunked-folded", head("POST", "/read", "Transfer-Encoding:\r\n chunked", f"Content-Length: {len(LAST) + N}") + LAST + SMUGGLED)
    add("chunked-old", head("POST", "/read", CHUNKED, f"Content-Length: {len(LAST) + N}", version="1.0") + LAST + SMUGGLED)
    add("chunk-line-feed", head("POST", "/read", CHUNKED) + b"1;\n" + LAST + SMUGGLED)
    add("chunk-size-0x", head("POST", "/read", CHUNKED) + f"0x{N:x}\r\n".encode() + SMUGGLED + b"\r\n" + LAST)
    add("connection-length", sized("POST", "/unread", "Connection: close, Content-Length, Host"))
    add("connection-chunked", head("POST", "/read", "Connection: Transfer-Encoding", CHUNKED) + chunked)
    add("old-keep-alive", head("GET", "/unread", "Connection: keep-alive", f"Content-Length: {N}", version="1.0") + SMUGGLED)
    # Heads that are longer than some servers take.
    add("head-long-line", head("GET", "/read", "X-Long: " + "GET /smuggled HTTP/1.1 " * 1200))
    add("head-many-lines", head("GET", "/read", *(f"X-Line-{number}: GET /smuggled HTTP/1.1" for number in range(110))))
    add("head-long-target", head("GET", "/read", "Connection: close").replace(b"?" + TOKEN, b"?" + TOKEN + b"&" + b"a" * 6000))
    # Two requests at once: each gets its own answer.
    add("pipelined", sized("POST", "/read", body=b"a") + head("GET", "/read") + sized("POST", "/echo", body=b"b"),
        methods=("POST", "GET", "POST"), reads=True)
    add("pipelined-last", sized("GET", "/read", body=b"a") + head("GET", "/read") + sized("DELETE", "/read") + head("GET", "/read"),
        methods=("GET", "GET", "DELETE", "GET"))
    # A client that leaves in the midst of something.
    add("leave-length", head("POST", "/read", "Content-Length: 400") + SMUGGLED, leaves=True)
    add("leave-unread", head("POST", "/unread", "Content-Length: 400") + SMUGGLED, WHILE, leaves=True)
    add("leave-chunked", head("POST", "/read", CHUNKED) + chunk(SMUGGLED)[:-20], leaves=True)
    add("leave-expect", head("POST", "/read", EXPECT, "Content-Length: 400"), leaves=True)
    add("leave-answer", head("GET", "/read"), leaves=True)
    # An application that lies about its answer.
    add("head-body", head("HEAD", "/fake"), lies=True)
    add("204-body", head("GET", "/204"), lies=True)
    add("304-body", head("GET", "/304"), lies=True)
    add("304-asked", head("GET", "/304", 'If-None-Match: "a"'), lies=True)
    add("answer-longer", head("GET", "/short"), lies=True)
    add("answer-shorter", head("GET", "/long"), lies=True)
    # A server that does.
    add("two-answers", head("GET", "/two"), naive=True)
    add("two-answers-late", head("GET", "/two-late"), naive=True)
    add("head-body-late", head("HEAD", "/late-body"), naive=True)
    add("farewell", head("GET", "/farewell"), naive=True)
    add("flood-of-103", head("GET", "/flood"), naive=True)
    add("unasked-101", head("GET", "/switch"), naive=True)
    add("asked-101", sized("POST", "/switch", *UPGRADE), naive=True)
    add("another-101", head("GET", "/switch", "Connection: Upgrade", "Upgrade: other/1"), naive=True)
    add("no-answer", head("POST", "/no-answer"), naive=True)
    add("broken-chunks", head("GET", "/broken"), naive=True)
    add("closes-early", head("POST", "/close", "Content-Length: 400") + SMUGGLED, 0.05, naive=True)
    return found


ALL: dict[str, Case] = {case.name: case for case in cases()}
