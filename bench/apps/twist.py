"""The tiny application on Twisted Web."""

from __future__ import annotations

import tiny
from twisted.internet import reactor
from twisted.web import resource, server


class Any(resource.Resource):
    isLeaf = True

    def render(self, request: server.Request) -> bytes:
        target = request.uri.decode("latin-1")
        lines = [(n.decode("latin-1"), v.decode("latin-1")) for n, all in request.requestHeaders.getAllRawHeaders() for v in all]
        line = tiny.note(request.method.decode("latin-1"), target, lines)
        body = request.content.read() if tiny.reads(target) else b""
        status, length, text = tiny.answer(target, line, body)
        request.setResponseCode(status)
        if length is not None:
            request.setHeader(b"content-length", str(length).encode())
        request.write(text)
        request.finish()
        return server.NOT_DONE_YET


reactor.listenTCP(tiny.port(), server.Site(Any()), interface="127.0.0.1")
reactor.run()
