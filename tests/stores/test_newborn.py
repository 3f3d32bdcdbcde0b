"""New files that are made at the same time share their syncs, and nothing else (reliability 3.1, Create)."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.stores.moving import descriptors
from tests.stores.placed import located
from tests.support.waiting import until
from tusd_py.errors import InsufficientStorage
from tusd_py.stores import posix
from tusd_py.stores.file import FileDataStore
from tusd_py.stores.posix import NewFile, Root


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FileDataStore]:
    store = FileDataStore(tmp_path / "uploads", threads=8)
    await store.open()
    yield store
    await store.close()


class Syncs:
    """Every sync below the stores, by the name of what is synced; the first one can be held up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.failing: dict[str, int] = {}
        self.begun = threading.Event()
        self.goes_on = threading.Event()
        self.goes_on.set()
        for call in ("fsync", "fdatasync"):
            monkeypatch.setattr(posix.os, call, self._watch(getattr(os, call)))

    def _watch(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def sync(fd: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{fd}"))
            is_file = stat.S_ISREG(os.fstat(fd).st_mode)
            assert not is_file or path.exists()
            self.begun.set()
            assert self.goes_on.wait(10)
            self.names.append(path.name)
            if code := self.failing.get(path.name):
                raise OSError(code, os.strerror(code))
            real(fd)

        return sync


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    return Syncs(monkeypatch)


async def _together(store: FileDataStore, syncs: Syncs, *ids: str) -> list[Any]:
    """Create files with a byte while the sync of another one stands still; return what came of them."""
    syncs.goes_on.clear()
    first = asyncio.create_task(store.create("zz-first", durable=True))
    assert await asyncio.to_thread(syncs.begun.wait, 10)
    others = [asyncio.create_task(store.create(each, [b"x"], durable=True)) for each in ids]
    await until(lambda: _exist(store, ids))
    syncs.goes_on.set()
    await first
    return await asyncio.gather(*others, return_exceptions=True)


async def test_every_file_and_its_directory(store: FileDataStore, syncs: Syncs) -> None:
    """Nobody is told of a file before it and its directory are synced, in this order. (3.1)"""
    ids = [f"{shard}-{at}" for shard in ("bb", "cc") for at in range(4)]
    assert await _together(store, syncs, *ids) == [None] * len(ids)
    for each in ids:
        assert each[:2] in syncs.names[syncs.names.index(each) :]


async def test_syncs_are_shared(store: FileDataStore, syncs: Syncs) -> None:
    """A directory is synced once for all files that were made while the syncs before were running."""
    ids = [f"bb-{at}" for at in range(6)]
    await _together(store, syncs, *ids)
    # At most once for the first of them, once for all others, and the root above them once each time.
    assert syncs.names.count("bb") <= 2


async def test_one_fails(store: FileDataStore, syncs: Syncs) -> None:
    """What cannot be synced is refused and removed, and only that; a full disk is told as such (I1, I8)."""
    syncs.failing = {"cc-broken": errno.EIO, "dd-full": errno.ENOSPC}
    outcome = await _together(store, syncs, "cc-good", "cc-broken", "dd-full", "ee-good")
    assert [type(each) for each in outcome] == [type(None), OSError, InsufficientStorage, type(None)]
    assert [located(store, each).exists() for each in ("cc-good", "cc-broken", "dd-full", "ee-good")] == [1, 0, 0, 1]


async def test_a_directory_fails(store: FileDataStore, syncs: Syncs) -> None:
    """A name that may not survive is no upload; the same name can be had again afterwards (I1)."""
    syncs.failing = {"cc": errno.EIO}
    outcome = await _together(store, syncs, "cc-one", "dd-two", "cc-three")
    assert [type(each) for each in outcome] == [OSError, type(None), OSError]
    assert not located(store, "cc-one").exists()
    syncs.failing = {}
    await store.create("cc-one", durable=True)


async def test_the_same_name_twice(store: FileDataStore, syncs: Syncs) -> None:
    """Of two files of one name the first is made and stays."""
    outcome = await _together(store, syncs, "cc-one", "cc-one")
    assert sorted(type(each).__name__ for each in outcome) == ["NoneType", "UploadExists"]
    assert located(store, "cc-one").read_bytes() == b"x"


async def test_cancelled(store: FileDataStore, syncs: Syncs) -> None:
    """Whoever is cancelled leaves no descriptor behind, and holds up nobody who is settled with them."""
    syncs.goes_on.clear()
    first = asyncio.create_task(store.create("aa-first", durable=True))
    assert await asyncio.to_thread(syncs.begun.wait, 10)
    ids = [f"bb-{at}" for at in range(3)]
    others = [asyncio.create_task(store.create(each, [b"x"], durable=True)) for each in ids]
    await until(lambda: _exist(store, ids))
    others[0].cancel()
    others[1].cancel()
    syncs.goes_on.set()
    outcome = await asyncio.gather(first, *others, return_exceptions=True)
    assert [type(each) for each in outcome] == [type(None), asyncio.CancelledError, asyncio.CancelledError, type(None)]
    assert not [each for each in descriptors() if "bb-" in each]


async def test_settling_breaks_down(store: FileDataStore, syncs: Syncs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a settling that broke down, and the next one works."""
    real = Root.settle

    def broken(root: Root, files: Sequence[NewFile]) -> object:
        if files[0].key.startswith("zz"):
            return real(root, files)
        for each in files:
            os.close(each.fd)
        raise ValueError

    monkeypatch.setattr(Root, "settle", broken)
    assert [type(each) for each in await _together(store, syncs, "cc-one", "cc-two")] == [ValueError, ValueError]
    monkeypatch.undo()
    await store.create("cc-three", durable=True)


async def _exist(store: FileDataStore, ids: Sequence[str]) -> bool:
    return all(located(store, each).exists() for each in ids)
