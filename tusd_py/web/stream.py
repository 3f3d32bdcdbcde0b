"""The three things that aiohttp's StreamReader knows and does not offer.

1. What is buffered right now, without waiting, without joining it into a new object, and also after the connection
   was reset: `readany()` raises then and leaves bytes behind that a client believes delivered (CORE-BODY-05).
2. Being readable again after somebody was woken by an exception, so that aiohttp can read the rest of a refused body
   away and the client gets to see the answer.
3. That the framing of a body turned out to be malformed: the parser in C tells the connection, which queues a 400
   behind the request that is still reading, but not the reader (CORE-BODY-16).

All are private to aiohttp. They are used here only; `tests/web/test_stream.py` fails when a new aiohttp differs.
"""

from __future__ import annotations

from aiohttp import StreamReader, web
from aiohttp.web_protocol import _ErrInfo


def take_buffered(content: StreamReader) -> list[bytes]:
    """Return the buffers that have arrived, in order, and let the transport go on when it had to stop.

    The number of bytes is bounded by the reader's high-water mark plus one read of the socket.
    """
    # Only what is there now: taking may resume the transport, and a fast client must not keep us here.
    return [content._read_nowait_chunk(-1) for _ in range(len(content._buffer))]


def revive(content: StreamReader, reason: BaseException) -> None:
    """Undo `content.set_exception(reason)`; any other exception stays."""
    if content._exception is reason:
        content._exception = None


def is_malformed(request: web.Request) -> bool:
    """Return whether the framing of a body that is still being read broke, so that nothing more will come."""
    if request.content.is_eof():
        return False
    return any(isinstance(message, _ErrInfo) for message, _ in request.protocol._messages)
