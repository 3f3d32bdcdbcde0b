"""After a failed sync the kernel calls lost pages clean: what was acknowledged goes back to what was synced (I9)."""

from __future__ import annotations

import asyncio
import errno

import pytest
from msgspec.structs import replace

from tests.engine.rooms import House, ScriptedBody, house
from tusd_py.engine.settle import settle
from tusd_py.errors import InsufficientStorage, MismatchedOffset, StoreError
from tusd_py.models.limits import Durability, Limits
from tusd_py.models.upload import UploadKind, UploadState
from tusd_py.protocol.intents import Create

IO_ERROR = OSError(errno.EIO, "Input/output error")
ERRORS = pytest.mark.parametrize("error", [IO_ERROR, InsufficientStorage()], ids=["EIO", "ENOSPC"])
WEAKER = pytest.mark.parametrize("level", [Durability.NONE, Durability.FINISH])


async def half(rooms: House, size: int = 8) -> str:
    """Return an upload that has 4 bytes, all of them acknowledged."""
    upload_id = await rooms.create(size)
    await rooms.append(upload_id, 0, b"abcd")
    rooms.diary.take()
    return upload_id


async def fail_to_settle(rooms: House) -> None:
    rooms.diary.at("sync_all", IO_ERROR)
    with pytest.raises(OSError, match="Input/output"):
        await settle(rooms.engine._ctx)


@ERRORS
async def test_failed_seal_takes_back(error: Exception) -> None:
    """At `finish` a failed sync at the end costs what was not synced; client and row say so, and it goes on. (I9)"""
    async with house(Durability.FINISH) as rooms:
        upload_id = await half(rooms)
        rooms.diary.at("seal", error)
        with pytest.raises(StoreError) as caught:
            await rooms.append(upload_id, 4, b"efgh")
        assert caught.value.status in (500, 507)
        assert caught.value.upload is not None
        assert caught.value.upload.offset == (await rooms.engine.inspect(upload_id)).offset == 0
        assert rooms.diary.take()[:3] == ["write 4+4", "seal 8 durable", "advance 0 synced 0 durable"]
        with pytest.raises(MismatchedOffset):
            await rooms.append(upload_id, 4, b"efgh")
        await rooms.append(upload_id, 0, b"ABCDEFGH")
        assert rooms.row(upload_id).is_finished
        assert rooms.stored(upload_id) == b"ABCDEFGH"


async def test_what_was_synced_stays() -> None:
    """Only what came after the last good sync is taken back. (I1, I9)"""
    async with house(Durability.FINISH) as rooms:
        upload_id = await half(rooms, 12)
        await settle(rooms.engine._ctx)
        await rooms.append(upload_id, 4, b"efgh")
        rooms.diary.at("seal", IO_ERROR)
        with pytest.raises(StoreError):
            await rooms.append(upload_id, 8, b"ijkl")
        assert (rooms.row(upload_id).offset, rooms.row(upload_id).synced_offset) == (4, 4)


async def test_taking_back_that_fails() -> None:
    """When the row cannot be stored either, the file is cut: nobody can finish it; a later PATCH takes it back. (I9)"""
    async with house(Durability.FINISH) as rooms:
        upload_id = await half(rooms)
        rooms.diary.at("seal", IO_ERROR)
        for _ in range(2):
            rooms.diary.at("advance", StoreError())
        with pytest.raises(StoreError):
            await rooms.append(upload_id, 4, b"efgh")
        assert rooms.stored(upload_id) == b""
        # Neither while the store fails,
        with pytest.raises(StoreError):
            await rooms.append(upload_id, 4, b"efgh")
        # nor afterwards.
        with pytest.raises(MismatchedOffset) as caught:
            await rooms.append(upload_id, 4, b"efgh")
        assert caught.value.upload is not None
        assert caught.value.upload.offset == rooms.row(upload_id).offset == 0
        assert (await rooms.append(upload_id, 0, b"abcdefgh")).is_finished


async def test_a_sync_that_comes_too_late() -> None:
    """Bytes that came after a sync of everything had begun, in place of lost ones, are not noted by it. (I9)"""
    async with house(Durability.FINISH) as rooms:
        upload_id = await half(rooms)

        async def lose_and_write_again() -> None:
            rooms.diary.at("seal", IO_ERROR)
            with pytest.raises(StoreError):
                await rooms.append(upload_id, 4, b"efgh")
            await rooms.append(upload_id, 0, b"abcd")

        real = rooms.data.sync_all

        async def sync_slowly() -> None:
            await real()
            await lose_and_write_again()

        rooms.data.sync_all = sync_slowly  # type: ignore[method-assign]
        assert await settle(rooms.engine._ctx) == 0
        rooms.data.sync_all = real  # type: ignore[method-assign]
        assert (rooms.row(upload_id).offset, rooms.row(upload_id).synced_offset) == (4, 0)


@ERRORS
async def test_nothing_to_take_back_at_the_strong_level(error: Exception) -> None:
    """At `patch` every offset that is shown was synced: also after a checkpoint that failed beside a body. (I9)"""
    async with house(checkpoint_bytes=4) as rooms:
        upload_id = await half(rooms, 100)
        rooms.diary.at("sync", error)
        with pytest.raises(StoreError):
            await rooms.append(upload_id, 4, b"efgh", b"ijkl", b"mnop")
        row = rooms.row(upload_id)
        assert (row.offset, row.synced_offset) == (4, 4)
        assert not rooms.engine._ctx.doubts.uploads


async def test_bytes_of_a_weaker_level_are_synced() -> None:
    """At `patch` nothing is called synced that a weaker level left unsynced, even if no byte is added. (I1)"""
    async with house() as rooms:
        upload_id = await rooms.create(None)
        await rooms.append(upload_id, 0, b"abcd")
        rooms.info._uploads[upload_id] = replace(rooms.row(upload_id), synced_offset=0)
        rooms.diary.take()
        await rooms.append(upload_id, 4, length=8)
        assert rooms.diary.take() == ["sync", "advance 4 synced 4 durable", "answer"]


async def test_failed_concatenation_leaves_nothing() -> None:
    """A final upload whose sync failed is removed: nothing of it was acknowledged. (I9, CAT-20)"""
    async with house(Durability.FINISH) as rooms:
        part = await rooms.fill(b"abcd", kind=UploadKind.PARTIAL)
        rooms.diary.at("seal", IO_ERROR)
        with pytest.raises(OSError, match="Input/output"):
            await rooms.create(None, kind=UploadKind.FINAL, parts=(part,), concat="final;x")
        assert [upload.id for upload in await rooms.info.list_uploads()] == [part]


@WEAKER
async def test_failed_sync_takes_back_everything(level: Durability) -> None:
    """What a failed sync of everything covered is never noted, only what was written again. (I9)"""
    async with house(level) as rooms:
        upload_id = await half(rooms)
        await fail_to_settle(rooms)
        assert rooms.row(upload_id).offset == 0
        await rooms.append(upload_id, 0, b"abc")
        assert await settle(rooms.engine._ctx) == 1
        assert (rooms.row(upload_id).offset, rooms.row(upload_id).synced_offset) == (3, 3)


async def test_failed_sync_opens_what_was_finished() -> None:
    """At `none` a finished upload that was not synced is open again and owes no job; a final one is removed. (I9)"""
    async with house(Durability.NONE) as rooms:
        parts = [await rooms.fill(b"abcd", kind=UploadKind.PARTIAL)]
        final = await rooms.create(None, kind=UploadKind.FINAL, parts=tuple(parts), concat="final;x")
        upload_id = await rooms.fill(b"abcd")
        await fail_to_settle(rooms)
        row = rooms.row(upload_id)
        assert (row.state, row.offset, row.finished_at) == (UploadState.OPEN, 0, None)
        assert rooms.row(final).state is UploadState.DELETING
        assert await rooms.info.due_jobs(rooms.clock.now(), limit=9) == []


@WEAKER
async def test_bytes_on_their_way_when_a_sync_fails(level: Durability) -> None:
    """Bytes that were written before a sync of everything failed, and were not committed yet, do not count. (I9)"""
    async with house(level) as rooms:
        upload_id, other = await rooms.create(), await half(rooms)
        with pytest.raises(StoreError):
            await rooms.append(upload_id, 0, b"abcd", lambda: fail_to_settle(rooms), b"efgh")
        assert (rooms.row(upload_id).offset, rooms.row(other).offset) == (0, 0)
        assert (await rooms.append(upload_id, 0, b"abcdefgh")).is_finished


async def test_first_bytes_on_their_way_when_a_sync_fails() -> None:
    """An upload whose first bytes were stored before a sync failed is not made. (I9)"""
    async with house(Durability.NONE) as rooms:
        await half(rooms)
        real = rooms.data.create

        async def create(*args: object, **kwargs: object) -> None:
            await real(*args, **kwargs)  # type: ignore[arg-type]
            await fail_to_settle(rooms)

        rooms.data.create = create  # type: ignore[method-assign]
        with pytest.raises(StoreError):
            await rooms.engine.create(
                Create(length=8, has_body=True, with_upload=True, body_length=4), ScriptedBody(b"abcd"), Limits()
            )
        assert [upload.offset for upload in await rooms.info.list_uploads()] == [0]


async def test_falling_back_that_fails() -> None:
    """While the falling back cannot be stored nothing is committed or noted; the next try comes first. (I9)"""
    async with house(Durability.NONE) as rooms:
        upload_id = await half(rooms)
        rooms.diary.at("sync_all", IO_ERROR)
        rooms.diary.at("fall_back", StoreError())
        with pytest.raises(StoreError):
            await settle(rooms.engine._ctx)
        assert rooms.row(upload_id).offset == 4
        with pytest.raises(StoreError):
            await rooms.append(upload_id, 4, b"efgh")
        rooms.diary.take()
        assert await settle(rooms.engine._ctx) == 0
        assert rooms.diary.take() == ["fall_back"]
        assert rooms.row(upload_id).offset == 0


async def test_a_sync_nobody_waits_for() -> None:
    """A sync whose caller went away is heard when it fails, and the next one waits for it. (I9)"""
    async with house(Durability.NONE) as rooms:
        upload_id, release = await half(rooms), asyncio.Event()
        real = rooms.data.sync_all

        async def fail_slowly() -> None:
            rooms.data.sync_all = real  # type: ignore[method-assign]
            await release.wait()
            raise IO_ERROR

        rooms.data.sync_all = fail_slowly  # type: ignore[method-assign]
        first = asyncio.create_task(settle(rooms.engine._ctx))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        second = asyncio.create_task(settle(rooms.engine._ctx))
        release.set()
        await second
        assert (rooms.row(upload_id).offset, rooms.row(upload_id).synced_offset) == (0, 0)


async def test_a_stale_row_is_left_alone() -> None:
    """An upload that somebody else changed meanwhile keeps its row and its bytes. (I9, I10)"""
    async with house(Durability.FINISH) as rooms:
        upload_id = await half(rooms)

        def take_away_and_fail() -> None:
            rooms.info._uploads[upload_id] = replace(rooms.row(upload_id), epoch=9)
            raise IO_ERROR

        rooms.diary.at("seal", take_away_and_fail)
        with pytest.raises(StoreError):
            await rooms.append(upload_id, 4, b"efgh")
        assert (rooms.row(upload_id).offset, rooms.row(upload_id).epoch) == (4, 9)
        assert rooms.stored(upload_id).startswith(b"abcd")


async def test_a_slow_disk_does_not_hold_up_the_end() -> None:
    """A stop waits for the last sync as long as the shutdown timeout, and leaves rows as unsynced as they are. (I17)"""
    async with house(Durability.FINISH, shutdown_timeout=0.01) as rooms:
        upload_id = await half(rooms)
        rooms.data.sync_all = asyncio.Event().wait  # type: ignore[method-assign,assignment]
        closed: list[str] = []
        rooms.data.close = closed.append  # type: ignore[method-assign,assignment]
        await asyncio.wait_for(rooms.engine.stop(), 5)
        # Closing the data would wait for its threads, and they for the disk.
        assert closed == []
        del rooms.data.close
        assert (rooms.row(upload_id).offset, rooms.row(upload_id).synced_offset) == (4, 0)
        del rooms.data.sync_all
        syncing = rooms.engine._ctx.syncing
        assert syncing is not None
        syncing.cancel()
        await rooms.engine.start()
