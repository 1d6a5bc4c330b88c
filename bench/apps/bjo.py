"""The tiny application on bjoern."""

from __future__ import annotations

import bjoern
import tiny
from wsgi import application

bjoern.run(application, "127.0.0.1", tiny.port())
