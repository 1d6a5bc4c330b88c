"""The tiny application on aiohttp."""

from __future__ import annotations

import tiny
from aiohttp import web


async def handle(request: web.Request) -> web.StreamResponse:
    line = tiny.note(request.method, request.path_qs, request.headers.items())
    body = await request.read() if tiny.reads(request.path_qs) else b""
    status, length, text = tiny.answer(request.path_qs, line, body)
    if request.path in ("/read", "/unread", "/echo", "/fake"):
        return web.Response(body=text)
    response = web.StreamResponse(status=status, headers={} if length is None else {"Content-Length": str(length)})
    await response.prepare(request)
    await response.write(text)
    return response


app = web.Application()
app.router.add_route("*", "/{any:.*}", handle)
web.run_app(app, host="127.0.0.1", port=tiny.port(), print=None)
