"""GET: the bytes of a finished upload, by `sendfile` where the transport can (protocol section 11)."""

from __future__ import annotations

import asyncio
import os
import re
from datetime import UTC, datetime
from email.utils import formatdate
from typing import IO, cast
from urllib.parse import quote

import msgspec
from aiohttp import web

from tusd_py.abc import DataReader
from tusd_py.models.upload import UploadInfo
from tusd_py.protocol.metadata import parse_metadata

SLICE = 256 * 1024
"""Bytes per step of a download; each step must be taken by the client within the network timeout."""

INLINE_TYPES = frozenset(
    {
        "text/plain", "image/png", "image/jpeg", "image/gif", "image/bmp", "image/webp",
        "audio/wave", "audio/wav", "audio/x-wav", "audio/x-pn-wav", "audio/webm", "audio/ogg",
        "video/mp4", "video/webm", "video/ogg", "application/ogg",
    }
)  # fmt: skip
"""Media types that a browser may show instead of saving them; nothing that can run scripts."""

# RFC 9110, 8.3.1: type "/" subtype *( ";" name "=" token-or-quoted ).
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_MEDIA_TYPE = re.compile(rf'({_TOKEN}/{_TOKEN})(?:\s*;\s*{_TOKEN}=(?:{_TOKEN}|"[^"\\\r\n\x00-\x1f\x7f-\U0010ffff]*"))*')
_LONGEST_TYPE = 255
_LONGEST_NAME = 1024
_UNSAFE_NAME = re.compile(r'[\x00-\x1f\x7f"\\/%;]|[^\x00-\x7f]')
_ONE_RANGE = re.compile(r"bytes=(?:([0-9]{1,19})-([0-9]{0,19})|-([0-9]{1,19}))")

SAFETY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


async def send(
    request: web.Request, upload: UploadInfo, reader: DataReader, headers: dict[str, str], *, timeout: float
) -> web.StreamResponse:
    """Answer with an upload's bytes, one range of them, 304 or 416.

    A client that takes no 256 KiB for `timeout` seconds is cut off. Cancelling closes the connection.
    """
    etag = f'"{upload.id}-{reader.size:x}"'
    modified = upload.finished_at or reader.modified_at
    headers |= {"ETag": etag, "Last-Modified": formatdate(modified, usegmt=True), "Accept-Ranges": "bytes"}
    if _is_unchanged(request, etag, modified):
        return web.Response(status=304, headers=headers)
    span = _choose_range(request, etag, modified, reader.size)
    if span is None:
        headers["Content-Range"] = f"bytes */{reader.size}"
        return web.Response(status=416, headers=headers)
    if span.asked_for:
        headers["Content-Range"] = f"bytes {span.start}-{span.start + span.count - 1}/{reader.size}"
    response = web.StreamResponse(status=206 if span.asked_for else 200, headers=headers | describe(upload.metadata))
    response.content_length = span.count
    try:
        await response.prepare(request)
        await _transmit(response, reader, span, request.transport, timeout)
        await response.write_eof()
    except ConnectionError:
        # Too late for a status: the client must see that it has not got everything. Not raised, because aiohttp
        # would log whoever stops a download as an error of ours.
        response.force_close()
        if request.transport is not None:
            request.transport.abort()
    return response


def describe(metadata: str) -> dict[str, str]:
    """Return media type, disposition and safety headers for what a client said its file is.

    Whatever it said, the headers are well formed and no browser runs the file (GET-05 to GET-11, row 27).
    """
    pairs = parse_metadata(metadata)
    declared = pairs.get("filetype", b"").decode("utf-8", "replace").strip()
    match = _MEDIA_TYPE.fullmatch(declared) if len(declared) <= _LONGEST_TYPE else None
    media_type = declared if match else "application/octet-stream"
    inline = match is not None and match.group(1).lower() in INLINE_TYPES and "utf-7" not in declared.lower()
    disposition = "inline" if inline else "attachment"
    name = pairs.get("filename") or pairs.get("name") or b""
    return {
        **SAFETY_HEADERS,
        "Content-Type": media_type,
        "Content-Disposition": disposition + _filename(name.decode("utf-8", "replace")),
    }


def _filename(name: str) -> str:
    """Return the filename parameters of RFC 6266: an ASCII fallback, and the real name when that differs."""
    name = name.replace("\\", "/").rpartition("/")[2][:_LONGEST_NAME]
    name = "".join(char for char in name if char.isprintable())
    if not name.strip(". "):
        return ""
    fallback = _UNSAFE_NAME.sub("_", name)
    if fallback == name:
        return f';filename="{name}"'
    return f";filename=\"{fallback}\";filename*=UTF-8''{quote(name, safe='')}"


def _is_unchanged(request: web.Request, etag: str, modified: float) -> bool:
    """Evaluate If-None-Match, else If-Modified-Since (RFC 9110, 13.2.2)."""
    if (tags := request.if_none_match) is not None:
        return any(tag.value == "*" or f'"{tag.value}"' == etag for tag in tags)
    try:
        since = request.if_modified_since
    except OverflowError:
        # aiohttp lets a year through that no date can have; what is no date is ignored.
        return False
    return since is not None and int(modified) <= since.timestamp()


class _Span(msgspec.Struct, frozen=True):
    """The bytes to send."""

    start: int
    count: int
    asked_for: bool
    """Whether a range was asked for, be it the whole: players take 206 to bytes=0- as leave to seek."""


def _choose_range(request: web.Request, etag: str, modified: float, size: int) -> _Span | None:
    """Return what to send; None = not satisfiable.

    One range is served. Anything else in `Range`, also a list, is ignored, as RFC 9110, 14.2 allows.
    """
    whole = _Span(0, size, asked_for=False)
    match = _ONE_RANGE.fullmatch(request.headers.get("Range", ""))
    if match is None or not _if_range_holds(request.headers.get("If-Range"), etag, modified):
        return whole
    first, last, suffix = match.groups()
    if suffix is not None:
        count = min(int(suffix), size)
        return _Span(size - count, count, asked_for=True) if count else None
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    if last and int(last) < start:
        return whole
    return _Span(start, end - start + 1, asked_for=True) if start < size else None


def _if_range_holds(validator: str | None, etag: str, modified: float) -> bool:
    if validator is None:
        return True
    if validator.startswith(('"', "W/")):
        return validator == etag
    stamp = datetime.fromtimestamp(int(modified), UTC)
    return validator == formatdate(stamp.timestamp(), usegmt=True)


async def _transmit(
    response: web.StreamResponse,
    reader: DataReader,
    span: _Span,
    transport: asyncio.Transport | None,
    timeout: float,
) -> None:
    start, count = span.start, span.count
    fileno = reader.fileno()
    if transport is None:
        raise ConnectionResetError("the client is gone")
    loop = asyncio.get_running_loop()
    # uvloop leaves this method as it is: not there.
    sends = type(loop).sendfile is not asyncio.AbstractEventLoop.sendfile
    plain = transport.get_extra_info("sslcontext") is None and sends
    file = os.fdopen(os.dup(fileno), "rb", buffering=0) if fileno is not None and plain else None
    try:
        while count > 0:
            step = min(count, SLICE)
            async with asyncio.timeout(timeout):
                if file is not None:
                    sent = await loop.sendfile(transport, cast(IO[bytes], file), start, step)
                else:
                    chunk = await reader.read(start, step)
                    await response.write(chunk)
                    sent = len(chunk)
            if not sent:
                raise ConnectionResetError("the stored data ended early")
            start, count = start + sent, count - sent
    except TimeoutError:
        raise ConnectionResetError("the client stopped reading") from None
    finally:
        if file is not None:
            file.close()
