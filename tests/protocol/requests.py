"""Heads of requests, built short."""

from __future__ import annotations

from typing import Any

from multidict import CIMultiDict

from tusd_py.models.limits import EXTENSIONS, Limits
from tusd_py.protocol.messages import RequestHead
from tusd_py.protocol.tus1 import Tus1

ID = "0123456789abcdef0123456789abcdef"
T = ("Tus-Resumable", "1.0.0")
CT = ("Content-Type", "application/offset+octet-stream")


def head(method: str, *headers: tuple[str, str], upload_id: str | None = None, **fields: Any) -> RequestHead:
    """A head with exactly these headers; `body=n` announces n bytes, `body=None` a chunked body."""
    body = fields.pop("body", 0)
    return RequestHead(
        method=method,
        upload_id=upload_id,
        headers=CIMultiDict(headers),
        has_body=body is None or body > 0,
        body_length=body,
        **fields,
    )


def patch(*headers: tuple[str, str], **fields: Any) -> RequestHead:
    """A PATCH of a known-good id with version and media type, and these headers."""
    return head("PATCH", T, CT, *headers, upload_id=ID, **fields)


def post(*headers: tuple[str, str], **fields: Any) -> RequestHead:
    """A POST to the base path with version, and these headers."""
    return head("POST", T, *headers, **fields)


def dialect(*, off: tuple[str, ...] = (), **limits: Any) -> Tus1:
    """A dialect with all extensions but these."""
    return Tus1(Limits(extensions=frozenset(EXTENSIONS) - set(off), **limits))
