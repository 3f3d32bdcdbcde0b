"""What goes into one request: a piece of a file or of what came from a pipe."""

from __future__ import annotations

import asyncio
import hashlib
from itertools import pairwise
from typing import Protocol

import msgspec

from tusd_py.client.body import Body, BytesBody, FileBody
from tusd_py.client.pace import Bucket, Meter
from tusd_py.client.source import FileSource, PipeSource, Window
from tusd_py.protocol.tus1_client import Checksum

CHECKED_SIZE = 16 * 2**20
"""Most bytes of one request with a checksum, unless the caller says otherwise: the server keeps all of it or none."""
PART_UNIT = 2**20
"""Parts of a file are multiples of so many bytes, all but the last."""

# Below what proxies take at most: Cloudflare 100 MB, others 10 MB, nginx 1 MiB, and less.
_SIZES_THAT_PASS = (90_000_000, 8 * 2**20, 2**20, 2**18)


def split(size: int, parts: int) -> list[tuple[int, int]]:
    """Return where `parts` parts of a file begin and end; fewer, when they would be smaller than `PART_UNIT`."""
    units = max(-(-size // PART_UNIT), 1)
    parts = min(parts, units)
    edges = [min(units * number // parts * PART_UNIT, size) for number in range(parts + 1)]
    return list(pairwise(edges))


class Piece(msgspec.Struct, frozen=True):
    """Bytes of one request."""

    body: Body | None
    """Sent once; None = there are no bytes."""
    size: int
    meter: Meter
    checksum: Checksum | None


class Pieces(Protocol):
    """The bytes of one upload, to be had piece by piece from any offset."""

    @property
    def total(self) -> int | None:
        """How many there are; None = the end was not seen yet."""

    async def begin(self) -> None:
        """Make sure that the first byte can be had. Raises `CannotResume`, and as `at`."""

    async def at(self, offset: int) -> Piece:
        """Return the bytes from `offset` on that go into one request; none when there are no more.

        Raises:
            SourceUnusable, SourceChanged: the file cannot be read, or is another one now.
            CannotResume: they came from a pipe, and are gone.
        """

    def shrink(self, *, below: int) -> bool:
        """Make pieces smaller than so many bytes from now on. Return whether that can be done."""

    def check(self) -> None:
        """Look whether what was sent is still there as it was. Raises `SourceChanged`."""

    async def digest(self) -> bytes:
        """Return the SHA-256 of the whole source, the end of which was seen. Raises as `at`."""


class FilePieces:
    """A range of a file."""

    def __init__(
        self,
        source: FileSource,
        start: int,
        end: int,
        *,
        chunk_size: int | None = None,
        algorithm: str | None = None,
        bucket: Bucket,
    ) -> None:
        self._source = source
        self._start = start
        self._end = end
        self._most = chunk_size or (CHECKED_SIZE if algorithm else end - start)
        self._algorithm = algorithm
        self._bucket = bucket

    def shrink(self, *, below: int) -> bool:
        """Send less at once."""
        self._most = _size_that_passes(below) or self._most
        return self._most < below

    @property
    def total(self) -> int:
        """Return how many bytes the range has."""
        return self._end - self._start

    async def begin(self) -> None:
        """Do nothing: a file can be read from anywhere."""

    async def at(self, offset: int) -> Piece:
        """Return the next bytes. With a checksum, they are read twice."""
        start = self._start + offset
        end = min(start + self._most, self._end)
        checksum = None
        if self._algorithm is not None:
            checksum = Checksum(self._algorithm, await self._source.digest(self._algorithm, start, end))
        meter = Meter()
        body = FileBody(self._source, start, end, meter, self._bucket) if start < end else None
        return Piece(body, end - start, meter, checksum)

    def check(self) -> None:
        """Look whether the file is the one that was opened."""
        self._source.check()

    async def digest(self) -> bytes:
        """Return the SHA-256 of the whole file, of which this may be a part."""
        return await self._source.digest("sha256", 0, self._source.size)


class PipePieces:
    """What comes from a pipe."""

    def __init__(self, source: PipeSource, *, algorithm: str | None = None, digest: bool, bucket: Bucket) -> None:
        """Take the checksums of pieces by `algorithm`, and with `digest` also the SHA-256 of the whole."""
        self._source = source
        self._algorithm = algorithm
        self._bucket = bucket
        self._whole = hashlib.sha256() if digest else None
        self._hashed = 0
        self._most: int | None = None

    def shrink(self, *, below: int) -> bool:
        """Send less at once; as much is kept."""
        self._most = _size_that_passes(below) or self._most
        return self._most is not None and self._most < below

    @property
    def total(self) -> int | None:
        """Return how many bytes came; None = there may be more."""
        return self._source.size

    async def begin(self) -> None:
        """Wait for the first bytes. Raises `CannotResume` when they are gone."""
        await self._source.fill(0)

    async def at(self, offset: int) -> Piece:
        """Return what has come and is not at the server yet."""
        window = await self._source.fill(offset)
        if self._whole is not None:
            await self._add_to_whole(window)
        data, checksum = window.data[: self._most], None
        if self._algorithm is not None:
            checksum = Checksum(self._algorithm, await asyncio.to_thread(_digest, self._algorithm, data))
        meter, size = Meter(), len(data)
        return Piece(BytesBody((data,), meter, self._bucket) if size else None, size, meter, checksum)

    def check(self) -> None:
        """Do nothing: what has come does not change."""

    async def digest(self) -> bytes:
        """Return the SHA-256 of all that came."""
        assert self._whole is not None
        return self._whole.digest()

    async def _add_to_whole(self, window: Window) -> None:
        """Hash what comes for the first time."""
        assert self._whole is not None
        fresh = window.data[self._hashed - window.start :]
        self._hashed += len(fresh)
        # No pause cuts this short, and after a cancellation nothing goes on.
        await asyncio.to_thread(self._whole.update, fresh)


def _digest(algorithm: str, data: memoryview) -> bytes:
    return hashlib.new(algorithm, data, usedforsecurity=False).digest()


def _size_that_passes(below: int) -> int | None:
    return next((size for size in _SIZES_THAT_PASS if size < below), None)
