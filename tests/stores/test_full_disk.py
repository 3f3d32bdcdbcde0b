"""A file system that is really full: what is refused, and what still works (I8)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tusd_py.errors import InsufficientStorage
from tusd_py.models.limits import Durability
from tusd_py.models.upload import UploadInfo
from tusd_py.stores.file import FileDataStore
from tusd_py.stores.sqlite import SqliteInfoStore, commits
from tusd_py.testing.stored import ID, OTHER, content, fill

MIB = 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    if os.geteuid() != 0:
        pytest.skip("NOT RUN: needs root to mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tusd-py-test", disk], check=False)
    if mounted.returncode != 0:
        pytest.skip("NOT RUN: mounting a tmpfs is not allowed here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill_up(path: Path) -> None:
    """Take every byte that is left."""
    with path.open("wb", buffering=0) as file:
        for size in (MIB, 4096, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass


async def insert_many(info: SqliteInfoStore) -> None:
    for n in range(1000):
        await info.insert(UploadInfo(id=f"more-{n}", metadata="m" * 60_000), durable=True)


async def test_data_on_a_full_disk(disk: Path) -> None:
    """The part that fits is stored and told; other uploads can be read and removed, then there is space (I5, I8)."""
    store = FileDataStore(disk / "uploads")
    await store.open()
    await fill(store, OTHER, b"o" * 4 * MIB)
    await store.create(ID, durable=True)
    data = await store.write_to(ID)
    with pytest.raises(InsufficientStorage) as caught:
        await data.write(0, [b"x" * MIB] * 30)
    written = caught.value.written
    assert 15 * MIB < written <= 20 * MIB
    with pytest.raises(InsufficientStorage) as caught:
        await data.copy(written, OTHER, 4 * MIB)
    assert caught.value.written == 0
    assert await content(store, OTHER) == b"o" * 4 * MIB
    await store.remove(OTHER, durable=True)
    await data.write(written, [b"y" * MIB])
    await data.seal(written + MIB, durable=True)
    await data.close()
    assert await content(store, ID) == b"x" * written + b"y" * MIB
    await store.close()


async def test_removal_on_a_full_disk(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Creating is refused, looking works, DELETE works and gives the space back, then all is as before (row 52)."""
    info = SqliteInfoStore(disk / "uploads.sqlite3", durability=Durability.PATCH)
    await info.open()
    names = [f"{n:04}" for n in range(300)]
    for name in names:
        await info.insert(UploadInfo(id=name), durable=False)
    fill_up(disk / "filler")
    with pytest.raises(InsufficientStorage):
        await insert_many(info)
    assert (disk / "ballast").exists()
    assert await info.get(names[0]) is not None
    for name in names:
        assert await info.mark_deleting(name, durable=True)
        await info.delete(name)
    assert await info.known(names) == set()
    monkeypatch.setattr(commits, "STOW_INTERVAL", 0)
    (disk / "filler").unlink()
    await info.insert(UploadInfo(id="new", metadata="m" * 60_000), durable=True)
    await info.insert(UploadInfo(id="newer"), durable=True)
    assert (disk / "ballast").stat().st_size == 4 * MIB
    await info.close()


async def test_start_on_a_full_disk(disk: Path) -> None:
    """A server starts on a full disk, and still removes (I8)."""
    info = SqliteInfoStore(disk / "uploads.sqlite3", durability=Durability.PATCH)
    await info.open()
    await info.insert(UploadInfo(id="one"), durable=True)
    await info.close()
    fill_up(disk / "filler")
    await info.open()
    assert await info.mark_deleting("one", durable=True)
    await info.delete("one")
    assert await info.get("one") is None
    await info.close()
