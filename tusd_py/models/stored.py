"""What a look at the disk finds, whether or not anything is known of it."""

from __future__ import annotations

import msgspec


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What lies where the data of one upload should be."""

    size: int | None = None
    """Bytes; None = there is nothing that the server would use."""
    fault: str = ""
    """Why it would not."""
    is_missing: bool = False
    """Whether there is nothing at all."""
    hole: int | None = None
    """Where the first hole in the bytes that count begins: nobody wrote there. None = there is none."""

    @property
    def sound(self) -> int:
        """How many bytes from the beginning may have been written by the client."""
        return self.hole if self.hole is not None else self.size or 0


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One name below the directory of the data."""

    path: str
    """Relative to that directory, as text that can be shown: bytes that are none are escaped."""
    key: str | None
    """Of the upload whose data should be there; None = it cannot be ours."""
    is_plain: bool
    """Whether it is a plain file, as data is."""
    size: int
    modified_at: float
    """Seconds since the Unix epoch."""
