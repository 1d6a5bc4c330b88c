"""The tiny application for WSGI servers; run as a program, for CGI."""

from __future__ import annotations

from http import HTTPStatus

import tiny


def application(environ: dict, start_response) -> list[bytes]:
    target = environ.get("PATH_INFO", "") + "?" + environ.get("QUERY_STRING", "")
    lines = [(name[5:].replace("_", "-"), value) for name, value in environ.items() if name.startswith("HTTP_")]
    line = tiny.note(environ["REQUEST_METHOD"], target, lines)
    body = b""
    if tiny.reads(target):
        length = environ.get("CONTENT_LENGTH")
        # Without a length, what comes is read to its end: that is asked of applications that want chunks.
        if length or "chunked" in environ.get("HTTP_TRANSFER_ENCODING", ""):
            body = environ["wsgi.input"].read(*([int(length)] if length else []))
    status, length, text = tiny.answer(target, line, body)
    start_response(f"{status} {HTTPStatus(status).phrase}", [] if length is None else [("Content-Length", str(length))])
    return [text]


if __name__ == "__main__":
    from wsgiref.handlers import CGIHandler

    CGIHandler().run(application)
