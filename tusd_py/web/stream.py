"""What aiohttp knows of a body and does not offer.

1. What is buffered right now, without waiting, without joining it (but for crumbs), and also after the connection
   was reset: `readany()` raises then and leaves bytes behind that a client believes delivered (CORE-BODY-05).
2. Being readable again after somebody was woken by an exception, so that aiohttp can read the rest of a refused body
   away and the client gets to see the answer.
3. That the framing of a body turned out to be malformed: the parser in C tells the connection, which queues a 400
   behind the request that is still reading, but not the reader (CORE-BODY-16).
4. Giving up a connection in the middle of a body, and having it back behind the body for the next request: the bytes
   then need not pass through the interpreter. Where this aiohttp does not look as expected, or somebody stands between
   the connection and the reader, it is not done.

5. How much a connection takes from its socket at once, which is asyncio's to say, and how many chunks become buffers.

All are private to aiohttp or asyncio. They are used here only; `tests/web/test_stream.py` fails when a new one differs.
"""

from __future__ import annotations

import os
import socket
from asyncio import selector_events
from contextlib import suppress

from aiohttp import StreamReader, web
from aiohttp.http import HttpRequestParser
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo

FIRST_READ = 32 * 1024
"""Bytes that a connection of our own server takes at once before anybody knows what they are."""
MANY = 64
"""Buffers at a time that are worth a look at their size."""
TINY = 1024
"""Bytes of a buffer whose copy is cheaper than a place of its own in everything that is done with it."""
CRUMBS_READ = 32 * 1024
"""Bytes that are taken at once from a connection that sends crumbs ..."""
CRUMBS = 512
"""... and how many of them aiohttp makes buffers of before we take those."""


def take_buffered(content: StreamReader) -> list[bytes]:
    """Return the buffers that have arrived, in order, and let the transport go on when it had to stop.

    They are the very objects that arrived, unless they are crumbs: then they are joined. The number of bytes is bounded
    by the reader's high-water mark plus one read of the socket.
    """
    crumbs = is_crumbs(content)
    # Only what is there now: taking may resume the transport, and a fast client must not keep us here.
    buffers = [content._read_nowait_chunk(-1) for _ in range(len(content._buffer))]
    return [b"".join(buffers)] if crumbs else buffers


def is_crumbs(content: StreamReader) -> bool:
    """Return whether what has arrived are `MANY` buffers or more, on average smaller than `TINY`.

    A client that sends chunks of a byte pays little for each; we must not keep a hundred times as much (I19).
    """
    count = len(content._buffer)
    return count >= MANY and sum(map(len, content._buffer)) < count * TINY


def revive(content: StreamReader, reason: BaseException) -> None:
    """Undo `content.set_exception(reason)`; any other exception stays."""
    # The reader of a body without bytes is shared by all of them, and keeps no exception.
    if getattr(content, "_exception", None) is reason:
        content._exception = None


def read_at_once(request: web.Request, size: int) -> None:
    """Let the connection of a request take so many bytes from its socket at a time, if it is one that can be told."""
    with suppress(AttributeError):
        request.transport.max_size = size  # type: ignore[union-attr]


def read_crumbs(request: web.Request) -> None:
    """Let few chunks of a body become buffers ahead of us, however many the client sends."""
    with suppress(AttributeError):
        request.content._high_water_chunks, request.content._low_water_chunks = CRUMBS, CRUMBS // 2
    read_at_once(request, CRUMBS_READ)


def read_little_at_first() -> None:
    """Let all connections of this process begin with `FIRST_READ`: asyncio's own size is for few connections."""
    selector_events._SelectorTransport.max_size = FIRST_READ  # type: ignore[attr-defined]


def is_malformed(request: web.Request) -> bool:
    """Return whether the framing of a body that is still being read broke, so that nothing more will come."""
    if request.content.is_eof():
        return False
    return any(isinstance(message, _ErrInfo) for message, _ in request.protocol._messages)


def can_detach() -> bool:
    """Return whether this aiohttp is one whose connections we know how to give up and take back."""
    return all(
        hasattr(kind, name)
        for kind, names in (
            (RequestHandler, ("_parser", "_reading_paused", "_loop", "_read_bufsize", "_max_msg_queue_size")),
            (RequestHandler, ("_current_request", "_manager", "max_line_size", "max_field_size", "max_headers")),
            (StreamReader, ("_buffer", "_read_nowait_chunk", "total_bytes")),
        )
        for name in names
    )


def detach(request: web.Request, least: int) -> tuple[list[bytes], socket.socket, int] | None:
    """Stop aiohttp from reading the body of a request of which at least `least` bytes are still to come.

    Returns the buffers that have arrived, a socket of its own on the same connection, and how many bytes to take from
    it; None, and nothing has changed, when the body cannot be had this way: it is chunked or encrypted, has (nearly)
    arrived, or a middleware reads it. Undo with `reattach`.
    """
    transport = request.transport
    if transport is None or transport.get_extra_info("sslcontext") is not None:
        return None
    plain = transport.get_extra_info("socket")
    if plain is None or not _can_be_had(request, least):
        return None
    try:
        own = socket.socket(plain.family, plain.type, plain.proto, fileno=os.dup(plain.fileno()))
        own.setblocking(False)  # a host may have set a default timeout
    except OSError:
        return None
    buffers = _take_all(request)
    transport.pause_reading()
    return buffers, own, _left_of(request)


def take_over(request: web.Request, least: int) -> tuple[list[bytes], int] | None:
    """Return the buffers that have arrived and how many bytes are still to come, for another protocol to take them.

    There are `least` of them or more. None as in `detach`, but for encryption. Undo with `reattach`.
    """
    if not _can_be_had(request, least):
        return None
    return _take_all(request), _left_of(request)


def _can_be_had(request: web.Request, least: int) -> bool:
    protocol, content, transport = request.protocol, request.content, request.transport
    if type(content) is not StreamReader or request._message.chunked or protocol._current_request is not request:
        return False
    if transport is None or transport.is_closing() or not hasattr(protocol._manager, "_kwargs"):
        return False
    left = _left_of(request)
    return left >= least and left > 0 and not content.is_eof() and content.exception() is None


def _left_of(request: web.Request) -> int:
    return (request.content_length or 0) - request.content.total_bytes


def _take_all(request: web.Request) -> list[bytes]:
    """Return all buffers that aiohttp has; it goes on to read meanwhile."""
    protocol, content = request.protocol, request.content
    buffers: list[bytes] = []
    while True:
        buffers += take_buffered(content)
        if not content._buffer:
            if not protocol._reading_paused:
                return buffers
            # The parser may hold back more of what was received.
            protocol.resume_reading()


def reattach(request: web.Request, *, complete: bool) -> None:
    """Let aiohttp have a connection again whose body was taken from it: all of it, or less."""
    protocol, transport = request.protocol, request.transport
    if transport is None or protocol._parser is None:
        return
    if not complete:
        # The parser goes on waiting for more bytes than will come: whatever comes counts as the rest of the body and
        # is thrown away, and the connection is closed behind it.
        transport.resume_reading()
        return
    protocol._parser = HttpRequestParser(
        protocol,
        protocol._loop,
        protocol._read_bufsize,
        max_line_size=protocol.max_line_size,
        max_field_size=protocol.max_field_size,
        max_headers=protocol.max_headers,
        payload_exception=RequestPayloadError,
        auto_decompress=protocol._manager._kwargs.get("auto_decompress", True),  # type: ignore[union-attr]
        max_msg_queue_size=protocol._max_msg_queue_size,
    )
    request.content.feed_eof()
