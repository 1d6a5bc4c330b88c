"""The tiny application on Tornado, which reads bodies before it asks the application; so this one takes them as a stream."""

from __future__ import annotations

import asyncio

import tiny
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler, stream_request_body


@stream_request_body
class Handler(RequestHandler):
    SUPPORTED_METHODS = (*RequestHandler.SUPPORTED_METHODS, "TRACE", "SEARCH")

    def prepare(self) -> None:
        self.body = b""
        self.line = tiny.note(self.request.method, self.request.uri, self.request.headers.get_all())
        # It ends a connection whose request has been answered so early.
        has_body = {"Content-Length", "Transfer-Encoding"} & set(self.request.headers)
        if has_body and not tiny.reads(self.request.uri):
            self.say()

    def data_received(self, chunk: bytes) -> None:
        self.body += chunk

    def any(self) -> None:
        if not self._finished:
            self.say()

    get = head = post = put = delete = options = trace = search = any

    def say(self) -> None:
        status, length, text = tiny.answer(self.request.uri, self.line, self.body)
        self.set_status(status)
        if length is not None:
            self.set_header("Content-Length", str(length))
        self.write(text) if status == 200 else None
        self.finish()


async def main() -> None:
    HTTPServer(Application([(".*", Handler)])).listen(tiny.port(), "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main())
