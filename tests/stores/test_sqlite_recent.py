"""Rows that are remembered: as right as the database, at any moment, and bounded (performance: section 3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tusd_py.errors import StaleWriter, UploadExists
from tusd_py.models.limits import Durability
from tusd_py.models.upload import Progress, UploadInfo, UploadState
from tusd_py.stores.sqlite import SqliteInfoStore, recent
from tusd_py.stores.sqlite.recent import Recent


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteInfoStore]:
    store = SqliteInfoStore(tmp_path / "uploads.sqlite3", durability=Durability.NONE, boot_id="boot")
    await store.open()
    yield store
    await store.close()


def step(name: str, expected: int, offset: int, *, fence: int = 1, finished_at: float | None = None) -> Progress:
    state = UploadState.OPEN if finished_at is None else UploadState.FINISHED
    return Progress(
        upload_id=name, fence=fence, expected=expected, offset=offset, synced_offset=offset, length=9,
        expires_at=5.0, finished_at=finished_at, state=state,
    )  # fmt: skip


async def stored(store: SqliteInfoStore, name: str) -> UploadInfo | None:
    """Return the row that the database has."""
    return next((upload for upload in await store.list_uploads() if upload.id == name), None)


async def reads(store: SqliteInfoStore) -> list[str]:
    """Return a list to which every statement of the reader will be added."""
    statements: list[str] = []
    reader = store._database._reader
    assert reader is not None
    await reader.set_trace_callback(statements.append)
    return statements


async def test_what_was_changed_is_remembered(store: SqliteInfoStore) -> None:
    """After every change the next look asks no database, and sees what the database has (I3)."""
    statements = await reads(store)
    await store.insert(UploadInfo(id="one", length=9, metadata="filename eA=="), durable=False)
    first = await store.get("one")
    await store.advance(step("one", 0, 4), durable=False)
    second = await store.get("one")
    await store.finish(step("one", 4, 9, finished_at=7.0), durable=False)
    third = await store.get("one")
    assert statements == []
    assert [upload and upload.offset for upload in (first, second, third)] == [0, 4, 9]
    assert third is not None
    assert third.state is UploadState.FINISHED
    assert third == await stored(store, "one")


async def test_what_was_read_is_remembered(store: SqliteInfoStore) -> None:
    """A row of an earlier run is read once, from the database: it may have fallen back at the start (I3)."""
    await store.insert(UploadInfo(id="one", length=9), durable=False)
    await store.close()
    await store.open()
    statements = await reads(store)
    assert await store.get("one") == await store.get("one") == await stored(store, "one")
    assert len([statement for statement in statements if "id = 'one'" in statement]) == 1


@pytest.mark.parametrize("kind", ["stale", "taken"])
async def test_refused_changes_change_nothing(store: SqliteInfoStore, kind: str) -> None:
    """A change that the database refuses leaves the row as it is there (I3)."""
    await store.insert(UploadInfo(id="one", length=9), durable=False)
    stale, taken = store.advance, store.insert
    refused = stale(step("one", 3, 4), durable=False) if kind == "stale" else taken(UploadInfo(id="one"), durable=False)
    with pytest.raises((StaleWriter, UploadExists)):
        await refused
    assert await store.get("one") == await stored(store, "one") == UploadInfo(id="one", length=9)


@pytest.mark.parametrize("moment", range(6))
async def test_callers_that_go_away(store: SqliteInfoStore, moment: int) -> None:
    """A change whose caller was cancelled may have happened; what is remembered says so (I3)."""
    await store.insert(UploadInfo(id="one", length=9), durable=False)
    changing = asyncio.ensure_future(store.advance(step("one", 0, 4), durable=False))
    for _ in range(moment):
        await asyncio.sleep(0)
    changing.cancel()
    await asyncio.wait([changing])
    # The next change of this upload is committed behind the one that was given up.
    await store.mark_synced([("one", 1)])
    assert await store.get("one") == await stored(store, "one")


async def test_looks_during_changes(store: SqliteInfoStore) -> None:
    """Whoever looks while a change is under way sees what was or what will be, and later ones what is (I3)."""
    await store.insert(UploadInfo(id="one", length=9), durable=False)
    for offset in range(9):
        fence = offset + 1
        changing = asyncio.ensure_future(store.advance(step("one", offset, offset + 1, fence=fence), durable=False))
        seen = []
        while not changing.done():
            await asyncio.sleep(0)
            upload = await store.get("one")
            assert upload is not None
            seen.append(upload.offset)
        await changing
        assert set(seen) <= {offset, offset + 1}
        assert seen == sorted(seen)
        assert await store.get("one") == await stored(store, "one")


async def test_beside_another_process(store: SqliteInfoStore, tmp_path: Path) -> None:
    """A store that only looks remembers nothing: somebody else changes the rows (I3)."""
    other = SqliteInfoStore(tmp_path / "uploads.sqlite3", durability=Durability.NONE, read_only=True)
    await store.insert(UploadInfo(id="one", length=9), durable=False)
    await other.open()
    assert await other.get("one") == UploadInfo(id="one", length=9)
    await store.advance(step("one", 0, 4), durable=False)
    assert await other.get("one") == await store.get("one")
    await other.close()


async def test_removed_uploads_are_forgotten(store: SqliteInfoStore) -> None:
    """An upload on its way out is as the database says, then unknown (I12)."""
    await store.insert(UploadInfo(id="one", length=9), durable=False)
    await store.mark_deleting("one", durable=False)
    upload = await store.get("one")
    assert upload is not None
    assert upload.state is UploadState.DELETING
    await store.delete("one")
    assert await store.get("one") is None


def test_bounded() -> None:
    """The number of rows is bounded, the ones remembered longest ago go first, and long ones do not come in (I19)."""
    memory = Recent(3)
    for name in "abcd":
        memory.begin_change(name)
        memory.end_change(name, UploadInfo(id=name))
    assert [memory.get(name) is not None for name in "abcd"] == [False, True, True, True]
    long = UploadInfo(id="long", metadata="x" * (recent.LONGEST_TEXT + 1))
    memory.begin_change("long")
    memory.end_change("long", long)
    assert memory.get("long") is None
    memory.end_read("long", memory.begin_read("long"), long)
    assert memory.get("long") is None


def test_a_read_that_a_change_overtook() -> None:
    """What was read before a change is not remembered behind it, whichever ends first (I3)."""
    memory, old, new = Recent(), UploadInfo(id="x"), UploadInfo(id="x", offset=1)
    token = memory.begin_read("x")
    memory.begin_change("x")
    memory.end_change("x", new)
    memory.end_read("x", token, old)
    assert memory.get("x") is new
    token = memory.begin_read("x")
    memory.begin_change("x")
    memory.end_read("x", token, old)
    assert memory.get("x") is None
    late = memory.begin_read("x")
    memory.end_change("x", None)
    memory.end_read("x", late, old)
    assert memory.get("x") is None


def test_two_changes_at_a_time() -> None:
    """While another change of the same upload waits, nothing is remembered (I3)."""
    memory, row = Recent(), UploadInfo(id="x")
    memory.begin_change("x")
    memory.begin_change("x")
    memory.end_change("x", row)
    assert memory.get("x") is None
    memory.end_change("x", row)
    assert memory.get("x") is row
