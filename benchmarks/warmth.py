"""Memory that is in use: pages that lay idle cost whoever touches them first, and it should be none of the servers.

The host of a virtual machine takes back memory that the machine has not used for a moment, and gives it again page by
page, at many times what storing a page costs. So the page cache is kept full, as it is on any machine that has been
running for a while: whoever stores something then gets pages that held something else just before.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import TracebackType

LEFT = 768 * 2**20
"""Bytes that stay free, for what is not in the page cache."""
LARGEST = 2**43
"""Bytes of the file: so many that what was read once is not read again."""


class Warmth:
    """Reads a file without a byte in it, whose pages take memory and no disk, until little memory is free."""

    def __init__(self, place: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=place, buffering=0)  # noqa: SIM115 - closed by __exit__
        self._file.truncate(LARGEST)
        self._position = 0
        self._buffer = memoryview(bytearray(2**20))

    def __enter__(self) -> Warmth:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def keep(self) -> None:
        """Take what has become free since the last time. The kernel keeps some free whatever is asked of it."""
        for _ in range(0, free_memory() - LEFT, len(self._buffer)):
            os.preadv(self._file.fileno(), [self._buffer], self._position)
            self._position = (self._position + len(self._buffer)) % LARGEST


def free_memory() -> int:
    """Return how many bytes of memory nothing is in, not even a page of a file."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemFree:"):
            return int(line.split()[1]) * 1024
    return 0
