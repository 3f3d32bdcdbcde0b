"""A look at the files of uploads as they are, for `tusd-py fsck`. Changes nothing."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from tusd_py.errors import DataLost, StartupError, UploadNotFound
from tusd_py.models.stored import Entry, Stored
from tusd_py.models.upload import UploadInfo
from tusd_py.stores.places import NAMED, SHARD, is_key
from tusd_py.stores.posix import Root

BATCH = 1000


class FileInspector:
    """Looks at the directory of a `FileDataStore`, by the rules of that store."""

    def __init__(self, root: Path) -> None:
        """Remember the place. It may be missing: then all data is."""
        self._path = root

    async def look(self, uploads: Sequence[UploadInfo]) -> list[Stored]:
        """Return what is there of each upload. Raises `StartupError` when the directory itself cannot be used."""
        return await asyncio.to_thread(self._look, uploads)

    async def entries(self) -> AsyncIterator[Sequence[Entry]]:
        """Yield everything below the directory, in batches; what is in no place of ours comes first. Raises `OSError`.

        Directories between the data with paths of its own are not mentioned, however empty.
        """
        shards, others = await asyncio.to_thread(self._top)
        yield others
        for shard in shards:
            found = await asyncio.to_thread(self._in_shard, shard)
            for start in range(0, len(found), BATCH):
                yield found[start : start + BATCH]
        named = self._named()
        while (batch := await asyncio.to_thread(next, named, None)) is not None:
            yield batch

    def _look(self, uploads: Sequence[UploadInfo]) -> list[Stored]:
        if not os.path.lexists(self._path):
            return [Stored(fault="it is missing", is_missing=True) for _ in uploads]
        try:
            root = Root(self._path)
        except OSError as error:
            raise StartupError(f"The data directory {self._path} cannot be used: {error.strerror}") from error
        with closing(root):
            return [_look_at(root, upload) for upload in uploads]

    def _top(self) -> tuple[list[str], list[Entry]]:
        if not self._path.is_dir():
            return [], []
        with os.scandir(self._path) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        directories = [each.name for each in entries if each.is_dir(follow_symlinks=False)]
        shards = list(filter(SHARD.fullmatch, directories))
        ours = {*shards, NAMED}.intersection(directories)
        others = [each for each in entries if each.name not in ours]
        return shards, [_entry(each.name, each.stat(follow_symlinks=False), None) for each in others]

    def _in_shard(self, shard: str) -> list[Entry]:
        with os.scandir(self._path / shard) as found:
            return sorted((_in(shard, each) for each in found), key=lambda entry: entry.path)

    def _named(self) -> Iterator[list[Entry]]:
        if not self._path.is_dir():
            return
        with closing(Root(self._path)) as root:
            for batch in root.named():
                yield [_entry(NAMED + key, found, key) for key, found in batch]


def _look_at(root: Root, upload: UploadInfo) -> Stored:
    try:
        descriptor, found = root.open(upload.key)
    except DataLost as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return Stored(fault="it is missing", is_missing=True)
        return Stored(fault="it is not a plain file with a single name")
    except UploadNotFound:
        return Stored(fault="no file can have the name of this upload")
    except OSError as error:
        return Stored(fault=f"it cannot be opened ({error.strerror})")
    with closing(descriptor), descriptor.use() as fd:
        counted = min(found.st_size, upload.offset)
        # A file system that knows no holes says that the first is at the end.
        hole = os.lseek(fd, 0, os.SEEK_HOLE) if counted else 0
    return Stored(size=found.st_size, hole=hole if hole < counted else None)


def _in(shard: str, entry: os.DirEntry[str]) -> Entry:
    key = entry.name if entry.name[:2] == shard else None
    return _entry(os.path.join(shard, entry.name), entry.stat(follow_symlinks=False), key)


def _entry(path: str, found: os.stat_result, key: str | None) -> Entry:
    return Entry(
        # Names are bytes; whoever reports this one wants text.
        path=os.fsencode(path).decode(errors="backslashreplace"),
        key=key if key is not None and is_key(key) else None,
        is_plain=stat.S_ISREG(found.st_mode),
        size=found.st_size,
        modified_at=found.st_mtime,
    )
