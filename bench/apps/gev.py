"""The tiny application on gevent's pywsgi."""

from __future__ import annotations

import tiny
from gevent.pywsgi import WSGIServer
from wsgi import application

WSGIServer(("127.0.0.1", tiny.port()), application, log=None).serve_forever()
