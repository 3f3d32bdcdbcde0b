"""A request's head and an answer, as plain records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec


class HeaderMap(Protocol):
    """Header fields by case-insensitive name; `multidict`'s mappings are such."""

    def get(self, key: str, /) -> str | None:
        """Return the first value of a field, or None."""

    def getall(self, key: str, /, default: Sequence[str]) -> Sequence[str]:
        """Return all values of a field in order, or `default`."""


class RequestHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a dialect sees of a request: everything but the body."""

    method: str
    """As sent, before any override."""
    upload_id: str | None
    """The path below the base path, decoded, without a trailing slash; None = the base path itself."""
    headers: HeaderMap
    has_body: bool = False
    """Whether a body is announced: Content-Length above zero, or chunked."""
    body_length: int | None = 0
    """Content-Length; None when the body is chunked."""
    base_paths: tuple[str, ...] = ("/files/",)
    """Paths below which upload URLs of this mount may lie, each with a slash at both ends; the request's own first."""


class Reply(msgspec.Struct, kw_only=True):
    """An answer as a record; the web room puts it on the wire."""

    status: int
    headers: list[tuple[str, str]] = []
    body: bytes = b""
    reason: str | None = None
    """Reason phrase where the standard has none for the status."""
    closes: bool = False
    """Whether the connection must not be used again."""
