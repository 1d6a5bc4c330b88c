"""The tiny application for ASGI servers."""

from __future__ import annotations

import tiny


async def application(scope: dict, receive, send) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["type"] != "http":
        await send({"type": "websocket.close"})
        return
    target = scope["path"] + "?" + scope["query_string"].decode("latin-1")
    line = tiny.note(scope["method"], target, [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]])
    body = b""
    if tiny.reads(target):
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
    status, length, text = tiny.answer(target, line, body)
    headers = [] if length is None else [(b"content-length", str(length).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
