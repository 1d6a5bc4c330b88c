"""The tiny application on cheroot."""

from __future__ import annotations

import tiny
from cheroot.wsgi import Server
from wsgi import application

Server(("127.0.0.1", tiny.port()), application).safe_start()
