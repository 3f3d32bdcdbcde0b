"""Bytes that are kept with what is known of an upload."""

from __future__ import annotations

import msgspec

from tusd_py.models.upload import UploadInfo


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Acknowledged bytes of one upload that may not survive a power cut anywhere else."""

    number: int
    """Grows with every entry."""
    upload: UploadInfo
    """As it is known now."""
    offset: int
    """Where the first of the bytes belongs."""
    data: bytes
