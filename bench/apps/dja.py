"""The tiny application on Django's server for developers."""

from __future__ import annotations

import logging

import tiny
from django.conf import settings
from django.core.servers.basehttp import WSGIServer, run
from wsgi import application

settings.configure(DEBUG=False)
logging.disable(logging.CRITICAL)
run("127.0.0.1", tiny.port(), application, threading=True, server_cls=WSGIServer)
