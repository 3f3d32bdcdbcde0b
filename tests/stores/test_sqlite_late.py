"""A database whose disk stands still: who asks is answered, and nothing piles up (I11)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.waiting import until
from tusd_py.errors import StoreBusy
from tusd_py.models.limits import Durability, Usage
from tusd_py.models.upload import UploadInfo
from tusd_py.stores.sqlite import SqliteInfoStore, database

NAMES = [f"{n:03}" for n in range(20)]
UPLOADS = [UploadInfo(id=name, length=9) for name in NAMES]
LATE = "tusd-py late reads"


class Disk:
    """What the reader's statements wait for."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self._goes = threading.Event()

    def hold(self, statement: str) -> None:
        """Run on the reader's thread, before every statement."""
        self.statements.append(statement)
        self._goes.wait()

    def let_go(self) -> None:
        self._goes.set()

    async def is_waited_for(self) -> bool:
        return bool(self.statements)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteInfoStore]:
    """Uploads that were stored by an earlier run, so that none is remembered."""
    store = SqliteInfoStore(tmp_path / "uploads.sqlite3", durability=Durability.NONE, boot_id="boot")
    await store.open()
    for upload in UPLOADS:
        await store.insert(upload, durable=False)
    await store.close()
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def disk(store: SqliteInfoStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Disk]:
    """A disk that stands still, below a store that has little patience."""
    disk = Disk()
    reader = store._database._reader
    assert reader is not None
    await reader.set_trace_callback(disk.hold)
    monkeypatch.setattr(database, "READ_TIMEOUT", 0.05)
    yield disk
    disk.let_go()


def waiting(store: SqliteInfoStore) -> int:
    """Return how much the reader's thread has still to begin with."""
    reader = store._database._reader
    assert reader is not None
    return reader._tx.qsize()


async def caught_up(store: SqliteInfoStore) -> None:
    """Wait until the reader has got over what was given up."""
    late = store._database._late
    assert late is not None
    await asyncio.wait([late])


async def test_answered_in_time(store: SqliteInfoStore, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for a row or the usage gets an error that clients try again, then the row, once the disk goes on."""
    for look in (store.get("000"), store.usage(), store.get("000")):
        with pytest.raises(StoreBusy) as caught:
            await look
        assert caught.value.status == 423
        assert caught.value.retry_after
    monkeypatch.undo()
    disk.let_go()
    assert await store.get("000") == UPLOADS[0]
    assert await store.usage() == Usage(len(NAMES), 9 * len(NAMES))


async def test_nothing_piles_up(store: SqliteInfoStore, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often clients try again, no more waits for the disk than the first of them had asked for (I19)."""
    for _ in range(5):
        failures = await asyncio.gather(*map(store.get, NAMES), return_exceptions=True)
        assert {type(failure) for failure in failures} == {StoreBusy}
        assert waiting(store) <= len(NAMES)
    monkeypatch.undo()
    disk.let_go()
    await caught_up(store)
    assert await asyncio.gather(*map(store.get, NAMES)) == UPLOADS
    assert len(disk.statements) <= 2 * len(NAMES) + 1


async def test_callers_that_go_away(store: SqliteInfoStore, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a cancelled caller had asked for piles up as little, and hurts nobody who asks afterwards (I19)."""
    monkeypatch.undo()
    for _ in range(5):
        looks = [asyncio.create_task(store.get(name)) for name in NAMES]
        await asyncio.sleep(0)  # all of them ask
        await until(disk.is_waited_for)
        for look in looks:
            look.cancel()
        await asyncio.wait(looks)
        assert all(look.cancelled() for look in looks)
        assert waiting(store) <= len(NAMES)
    disk.let_go()
    assert await asyncio.gather(*map(store.get, NAMES)) == UPLOADS
    assert len(disk.statements) <= 2 * len(NAMES) + 1


async def test_patient_reads(store: SqliteInfoStore, disk: Disk) -> None:
    """Lists are for those who have time: a start, the sweeper, `tusd-py fsck`; on a slow disk they get everything."""
    listing = asyncio.create_task(store.list_uploads())
    await until(disk.is_waited_for)
    for name in NAMES[:2]:
        with pytest.raises(StoreBusy):
            await store.get(name)
    assert not listing.done()
    disk.let_go()
    assert await listing == UPLOADS


async def test_closing(store: SqliteInfoStore, disk: Disk) -> None:
    """A store closes without waiting for the disk, its reader when that goes on; then it opens again (I17)."""
    reader = store._database._reader
    assert reader is not None
    with pytest.raises(StoreBusy):
        await store.get("000")
    closing = asyncio.create_task(store.close())
    assert await asyncio.wait([closing], timeout=10) == ({closing}, set())
    assert LATE not in {task.get_name() for task in asyncio.all_tasks()}
    disk.let_go()
    reader._thread.join(5)
    assert not reader._thread.is_alive()
    await store.open()
    assert await store.get("000") == UPLOADS[0]
