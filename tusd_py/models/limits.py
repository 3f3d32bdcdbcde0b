"""What a server allows: sizes, times, extensions, and how much a power cut may cost."""

from __future__ import annotations

from enum import StrEnum

import msgspec

EXTENSIONS: tuple[str, ...] = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "termination",
    "concatenation",
    "checksum",
    "expiration",
)
"""Every extension offered, in the order in which `Tus-Extension` names them."""


class Durability(StrEnum):
    """What survives a power cut or a crash of the operating system. A killed process loses nothing at any level.

    `none`: offsets fall back to the last synced one, never to corrupt data. `finish`: finished uploads and their
    jobs survive. `patch`: every offset that a client was ever shown survives.
    """

    NONE = "none"
    FINISH = "finish"
    PATCH = "patch"

    @property
    def syncs_progress(self) -> bool:
        """Whether bytes are on stable storage before an offset is shown."""
        return self is Durability.PATCH

    @property
    def syncs_finish(self) -> bool:
        """Whether bytes are on stable storage before an upload is called finished."""
        return self is not Durability.NONE


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of one mount. Every field has its setting; the defaults are those of the settings."""

    max_size: int | None = None
    """Largest upload in bytes; None = unlimited."""
    max_open_uploads: int | None = None
    """Most unfinished uploads at a time; None = unlimited."""
    max_open_size: int | None = None
    """Most bytes that all unfinished uploads together may have announced; None = unlimited."""
    max_metadata_size: int = 65536
    """Longest `Upload-Metadata` header in characters."""
    max_parts: int = 1000
    """Most partial uploads in one final upload."""
    expire_after: float | None = 7 * 86400.0
    """Seconds without a new byte after which an unfinished upload expires; None = never (extension off)."""
    extensions: frozenset[str] = frozenset(EXTENSIONS)
    """Enabled tus extensions, a subset of `EXTENSIONS`."""
    strict_metadata: bool = False
    """Refuse malformed metadata pairs and duplicate keys instead of ignoring them."""
    download: bool = True
    """Whether GET serves finished uploads."""
    method_override: bool = True
    """Whether `X-HTTP-Method-Override` is honoured."""


class Usage(msgspec.Struct, frozen=True):
    """What unfinished uploads take up at a moment."""

    uploads: int
    """How many there are."""
    announced: int
    """Bytes they will have together, as far as they have said; a deferred length counts nothing."""
