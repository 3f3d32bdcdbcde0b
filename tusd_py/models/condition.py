"""Which uploads a hook or a job is for."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import msgspec

from tusd_py.models.upload import UploadInfo, UploadKind


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """Holds for an upload when all of it does; the default holds for every upload but partial ones."""

    metadata: dict[str, str] = {}
    """Values by key, each a pattern with `*`, `?` and `[...]`; a key that the client did not send matches nothing."""
    min_size: int | None = None
    """Bytes that the upload has at least, as declared; a deferred length does not match."""
    max_size: int | None = None
    """Bytes that the upload has at most, as declared; a deferred length does not match."""
    partial: bool = False
    """Whether it may be a part of a concatenation."""

    def holds(self, upload: UploadInfo, metadata: Mapping[str, str]) -> bool:
        """Whether it is for an upload; `metadata` is the decoded one."""
        if upload.kind is UploadKind.PARTIAL and not self.partial:
            return False
        if not all(key in metadata and fnmatchcase(metadata[key], glob) for key, glob in self.metadata.items()):
            return False
        return self._fits(upload.length)

    def _fits(self, length: int | None) -> bool:
        if self.min_size is None and self.max_size is None:
            return True
        if length is None:
            return False
        return (self.min_size or 0) <= length and (self.max_size is None or length <= self.max_size)
