"""Data directories with many uploads, made through tusd-py's own store, in the mix that a busy server has."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tusd_py.datadir import database_in, uploads_in
from tusd_py.models.limits import Durability
from tusd_py.models.upload import UploadInfo, UploadState
from tusd_py.stores.sqlite import SqliteInfoStore

GROUP = 1000
"""Rows of one commit: as many as the store puts into one."""
EXPIRED, OPEN = 0.05, 0.20
"""Shares of uploads: expired long ago, and (above that) open; the rest is finished."""
FILES = 10_000
"""Data files of uploads that are not expired: a sample, as nobody lists them when a request comes."""
DAY, WEEK = 86400.0, 7 * 86400.0
AGE = 3 * DAY
SHORTEST, LONGEST = 10, 33
"""Lengths are powers of two between these, evenly."""
SMALL = b"x" * 1024
SEED = 1


@dataclass(frozen=True)
class Filled:
    """A data directory and what is in it."""

    path: Path
    count: int
    known: Sequence[str]
    """Ids that clients can see."""
    expired: Sequence[str]
    files: int
    seconds: float
    """What filling took, files included."""

    @property
    def database(self) -> Path:
        """Where everything known of the uploads is."""
        return database_in(self.path)

    def size(self) -> int:
        """Return the bytes of the database, its log included."""
        return sum(each.stat().st_size for each in self.path.glob(self.database.name + "*"))


def fill(path: Path, count: int) -> Filled:
    """Make a data directory with so many uploads. The same count always has the same uploads.

    Args:
        path: a directory that is made.
        count: rows; of each that is expired there is a file as well, of the others a sample.
    """
    began = time.perf_counter()
    path.mkdir(mode=0o700)
    chance = random.Random(SEED)
    known: list[str] = []
    expired: list[str] = []
    asyncio.run(_insert(path, count, chance, known, expired))
    sample = [*expired, *chance.sample(known, min(FILES, len(known)))]
    root = uploads_in(path)
    _make_shards(root)
    for upload_id in sample:
        _write(root / upload_id[:2] / upload_id)
    # Whoever is measured first must not pay for all of this.
    os.sync()
    return Filled(path, count, known, expired, len(sample), time.perf_counter() - began)


async def _insert(path: Path, count: int, chance: random.Random, known: list[str], expired: list[str]) -> None:
    store = SqliteInfoStore(database_in(path), durability=Durability.NONE)
    await store.open()
    try:
        uploads = _uploads(count, chance)
        while group := [each for _, each in zip(range(GROUP), uploads, strict=False)]:
            await asyncio.gather(*(store.insert(each, durable=False) for each in group))
            for each in group:
                (expired if each.is_expired(time.time()) else known).append(each.id)
    finally:
        await store.close()


def _uploads(count: int, chance: random.Random) -> Iterator[UploadInfo]:
    now = time.time()
    for number in range(count):
        length = int(2 ** chance.uniform(SHORTEST, LONGEST))
        name = base64.b64encode(f"holiday {number}.mov".encode()).decode()
        born = now - chance.uniform(0, 30 * DAY)
        fate = chance.random()
        finished = fate >= OPEN
        offset = length if finished else chance.randrange(length)
        yield UploadInfo(
            id=_name(chance), state=UploadState.FINISHED if finished else UploadState.OPEN, offset=offset,
            synced_offset=offset, length=length, metadata=f"filename {name},filetype dmlkZW8vcXVpY2t0aW1l",
            epoch=1 + chance.randrange(20), created_at=born,
            expires_at=None if finished else now + (-AGE if fate < EXPIRED else WEEK) + chance.uniform(0, DAY),
            finished_at=born + chance.uniform(1, DAY) if finished else None,
        )  # fmt: skip


def _name(chance: random.Random) -> str:
    # As long as the ids that the server makes.
    return f"{chance.getrandbits(128):032x}"


def _make_shards(root: Path) -> None:
    root.mkdir(mode=0o700)
    for number in range(256):
        (root / f"{number:02x}").mkdir(mode=0o700)


def _write(path: Path) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(file, SMALL)
    finally:
        os.close(file)


def reboot(filled: Filled) -> None:
    """Let the next server believe that the operating system was started anew since the last one ran."""
    asyncio.run(_settle(filled, "another boot"))


async def _settle(filled: Filled, boot_id: str) -> None:
    store = SqliteInfoStore(filled.database, durability=Durability.NONE, boot_id=boot_id)
    await store.open()
    await store.close()


def left(filled: Filled) -> int:
    """Return how many uploads are expired and still there; safe beside a server."""
    return asyncio.run(_left(filled))


async def _left(filled: Filled) -> int:
    store = SqliteInfoStore(filled.database, durability=Durability.NONE, read_only=True)
    await store.open()
    try:
        # Those that are being removed have no expiry any more.
        going = await store.list_uploads(limit=filled.count, states=(UploadState.DELETING,))
        return len(going) + len(await store.list_expired(time.time(), limit=filled.count))
    finally:
        await store.close()


def warm(filled: Filled) -> None:
    """Have the database in the page cache."""
    with filled.database.open("rb") as file:
        while file.read(2**20):
            pass


def chill(filled: Filled) -> None:
    """Have the database out of the page cache, as far as the operating system lets go of it."""
    for path in filled.path.glob(filled.database.name + "*"):
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)
