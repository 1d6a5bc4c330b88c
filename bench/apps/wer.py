"""The tiny application on Werkzeug's server for developers, which is Flask's."""

from __future__ import annotations

import logging

import tiny
from werkzeug.serving import WSGIRequestHandler, run_simple
from wsgi import application


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"


logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
run_simple("127.0.0.1", tiny.port(), application, threaded=True, request_handler=Handler)
