"""The tiny application on Python's own http.server, which reads a body only where the application does."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import tiny


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def any(self) -> None:
        line = tiny.note(self.command, self.path, self.headers.items())
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if tiny.reads(self.path) else b""
        status, length, text = tiny.answer(self.path, line, body)
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        # What many write who have HEAD done by what does GET.
        self.wfile.write(text)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_TRACE = do_SEARCH = any

    def log_message(self, *_: object) -> None:
        pass


ThreadingHTTPServer(("127.0.0.1", tiny.port()), Handler).serve_forever()
