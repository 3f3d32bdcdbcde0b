"""One line per request for our own server, without the ids that give access to uploads."""

from __future__ import annotations

import logging
import re
from time import time as clock

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

# An id is a capability: whoever reads it in a log could fill, fetch or remove the upload (reliability 5.2, row 21).
_CAPABILITY = re.compile(r"[A-Za-z0-9_-]{24,}")
_TEMPLATE = {
    **vars(logging.LogRecord("", logging.INFO, __file__, 0, "%s %s %d", (), None)),
    "action": "request",
}


def shorten(text: str) -> str:
    """Return a path or an id with every id cut to its first eight characters: enough to find it, not to use it."""
    return _CAPABILITY.sub(_cut, text)


def _cut(match: re.Match[str]) -> str:
    # A template of `sub` is put together in Python, for every request anew.
    return match[0][:8] + "..."


class AccessLogger(AbstractAccessLogger):
    """Writes method, path, status, bytes and seconds of each request, as a sentence and as fields."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write one record; aiohttp calls this when the answer was sent. `time` is in seconds."""
        # Not by `Logger.info`, nor as a record begins, which find out who logs where: that costs more than the rest.
        record = logging.LogRecord.__new__(logging.LogRecord)
        fields = vars(record)
        fields.update(_TEMPLATE)
        now = clock()
        fields["name"] = self.logger.name
        fields["args"] = (request.method, shorten(request.path), response.status)
        fields["created"] = now
        fields["msecs"] = (now - int(now)) * 1000
        fields["remote"] = request.remote or ""
        fields["received"] = request.content_length or 0
        fields["sent"] = response.body_length
        fields["seconds"] = round(time, 4)
        self.logger.handle(record)
