"""Disks that fail, rows that changed, data that is gone: nothing is acknowledged that is not there (I1, I5, I7, I9)."""

from __future__ import annotations

import errno
import hashlib

import pytest
from msgspec.structs import replace

from tests.engine.rooms import ScriptedBody, house
from tusd_py.errors import (
    ConnectionReset,
    DataLost,
    InsufficientStorage,
    StaleWriter,
    StoreError,
    UploadNotFound,
    UploadSizeExceeded,
)
from tusd_py.models.limits import Durability, Limits
from tusd_py.models.upload import UploadKind, UploadState
from tusd_py.protocol.intents import Checksum, Create

IO_ERROR = OSError(errno.EIO, "Input/output error")


def without_truncate(steps: list[str], offset: int) -> list[str]:
    """Leave out that the space of what does not count was given back, at the end."""
    return steps[:-1] if steps[-1] == f"truncate {offset}" else steps


@pytest.mark.parametrize("error", [IO_ERROR, InsufficientStorage()], ids=["EIO", "ENOSPC"])
async def test_failed_sync(error: Exception) -> None:
    """After a failed sync nothing counts, although a second sync would succeed; the next PATCH writes it again. (I9)"""
    async with house() as rooms:
        upload_id = await rooms.create()
        await rooms.append(upload_id, 0, b"ab")
        rooms.diary.take()
        rooms.diary.at("sync", error)
        with pytest.raises(StoreError) as caught:
            await rooms.append(upload_id, 2, b"cd")
        assert caught.value.status in (500, 507)
        assert without_truncate(rooms.diary.take(), 2) == ["write 2+2", "sync"]
        assert rooms.row(upload_id).offset == 2
        assert (await rooms.engine.inspect(upload_id)).offset == 2
        await rooms.append(upload_id, 2, b"cd")
        assert rooms.diary.take() == ["write 2+2", "sync", "advance 4 synced 4 durable", "answer"]


@pytest.mark.parametrize("error", [IO_ERROR, InsufficientStorage()], ids=["EIO", "ENOSPC"])
async def test_failed_sync_inside_a_body(error: Exception) -> None:
    """When a checkpoint's sync fails, the request ends there: the rest of the body is not committed either. (I9)"""
    async with house(checkpoint_bytes=4) as rooms:
        upload_id = await rooms.create(100)
        rooms.diary.take()
        rooms.diary.at("sync", lambda: None)
        rooms.diary.at("sync", error)
        with pytest.raises(StoreError) as caught:
            await rooms.append(upload_id, 0, b"aaaa", b"bbbb", b"cccc")
        steps = without_truncate(rooms.diary.take(), 4)
        assert steps == ["create", "write 0+4", "sync", "advance 4 synced 4 durable", "write 4+4", "sync"]
        assert rooms.row(upload_id).offset == 4
        assert caught.value.upload is not None
        assert caught.value.upload.offset == 4


@pytest.mark.parametrize("level", list(Durability))
async def test_failed_seal(level: Durability) -> None:
    """When sealing fails the upload is not finished, and the bytes since the last sync are written again. (I9)"""
    async with house(level) as rooms:
        upload_id = await rooms.create()
        await rooms.append(upload_id, 0, b"abcd")
        rooms.diary.take()
        rooms.diary.at("seal", IO_ERROR)
        with pytest.raises(StoreError):
            await rooms.append(upload_id, 4, b"efgh")
        kept = 0 if level is Durability.FINISH else 4
        back = ["advance"] if level is Durability.FINISH else []
        assert [step.split()[0] for step in rooms.diary.take()] == ["write", "seal", *back]
        assert (rooms.row(upload_id).offset, rooms.row(upload_id).state) == (kept, UploadState.OPEN)
        assert rooms.finished == []
        await rooms.append(upload_id, kept, b"abcdefgh"[kept:])
        assert rooms.diary.take()[0] == f"write {kept}+{8 - kept}"
        assert rooms.row(upload_id).is_finished


async def test_failed_write() -> None:
    """After a write that broke, only what was committed before counts. (I5)"""
    async with house() as rooms:
        upload_id = await rooms.create()
        rooms.diary.at("write", lambda: None)
        rooms.diary.at("write", IO_ERROR)
        rooms.diary.take()
        with pytest.raises(StoreError):
            await rooms.append(upload_id, 0, b"ab", b"cd")
        assert rooms.diary.take() == ["create", "write 0+2", "write 2+2"]
        assert rooms.row(upload_id).offset == 0


async def test_full_store_keeps_what_fitted() -> None:
    """When space runs out, what fitted is synced and counts, and the client is told to come back. (I8)"""
    async with house() as rooms:
        upload_id = await rooms.create()
        rooms.diary.take()
        rooms.diary.at("write", lambda: None)
        rooms.diary.at("write", InsufficientStorage(written=1))
        with pytest.raises(InsufficientStorage) as caught:
            await rooms.append(upload_id, 0, b"ab", b"cd")
        steps = without_truncate(rooms.diary.take(), 3)
        assert steps == ["create", "write 0+2", "write 2+2", "sync", "advance 3 synced 3 durable"]
        assert caught.value.status == 507
        assert caught.value.upload is not None
        assert caught.value.upload.offset == 3


async def test_commit_that_does_not_fit() -> None:
    """When the row cannot be stored nothing changed, and the same bytes may come again. (I5, I8)"""
    async with house() as rooms:
        upload_id = await rooms.create()
        rooms.diary.at("advance", InsufficientStorage())
        with pytest.raises(InsufficientStorage):
            await rooms.append(upload_id, 0, b"abcd")
        assert rooms.row(upload_id).offset == 0
        assert (await rooms.append(upload_id, 0, b"abcd")).offset == 4


async def test_failed_insert() -> None:
    """A creation whose row cannot be stored is no upload and leaves no data behind. (3.1, I8)"""
    async with house() as rooms:
        rooms.diary.at("insert", InsufficientStorage())
        with pytest.raises(InsufficientStorage):
            await rooms.create(8, b"abcd")
        assert await rooms.info.list_uploads() == []
        assert rooms.diary.take() == ["create +4 durable", "insert open durable", "remove"]
        assert rooms.data._contents == {}


@pytest.mark.parametrize("verb", ["advance", "finish"])
async def test_stale_writer(verb: str) -> None:
    """A writer that lost its upload to another one changes nothing, and its client is told to ask again. (I10)"""
    async with house() as rooms:
        upload_id = await rooms.create(4)

        def take_away() -> None:
            rooms.info._uploads[upload_id] = replace(rooms.row(upload_id), epoch=7)

        rooms.diary.at(verb, take_away)
        with pytest.raises(StaleWriter) as caught:
            await rooms.append(upload_id, 0, b"ab" if verb == "advance" else b"abcd")
        assert (caught.value.status, caught.value.code, caught.value.retry_after) == (423, "ERR_UPLOAD_LOCKED", 1)
        row = rooms.row(upload_id)
        assert (row.offset, row.epoch, row.state) == (0, 7, UploadState.OPEN)
        assert rooms.finished == []
        assert await rooms.info.due_jobs(rooms.clock.now(), limit=9) == []


async def test_stale_offset() -> None:
    """The same when the stored offset is another one: an acknowledged offset never goes back. (I3, I10)"""
    async with house() as rooms:
        upload_id = await rooms.create(100)

        def overtake() -> None:
            rooms.info._uploads[upload_id] = replace(rooms.row(upload_id), offset=50, synced_offset=50)

        rooms.diary.at("advance", overtake)
        with pytest.raises(StaleWriter):
            await rooms.append(upload_id, 0, b"ab")
        assert rooms.row(upload_id).offset == 50


async def test_removed_under_the_writer() -> None:
    """A writer whose upload is on its way out brings nothing back. (I10, I12)"""
    async with house() as rooms:
        upload_id = await rooms.create(100)

        def remove() -> None:
            rooms.info._uploads[upload_id] = replace(rooms.row(upload_id), state=UploadState.DELETING)

        rooms.diary.at("advance", remove)
        with pytest.raises(StaleWriter):
            await rooms.append(upload_id, 0, b"ab")
        assert rooms.row(upload_id).state is UploadState.DELETING
        with pytest.raises(UploadNotFound):
            await rooms.engine.inspect(upload_id)


async def test_lost_data() -> None:
    """An upload whose data is gone takes no bytes, and its row stays as it is for whoever looks into it. (I7)"""
    async with house() as rooms:
        upload_id = await rooms.create()
        await rooms.append(upload_id, 0, b"ab")
        before = rooms.row(upload_id)
        rooms.data._contents.clear()
        with pytest.raises(DataLost) as caught:
            await rooms.append(upload_id, 2, b"cd")
        assert (caught.value.status, caught.value.code) == (500, "ERR_DATA_LOST")
        assert rooms.row(upload_id) == before


async def test_data_that_became_shorter() -> None:
    """An upload whose data lost bytes is not called finished. (I7)"""
    async with house() as rooms:
        upload_id = await rooms.create()
        await rooms.append(upload_id, 0, b"abcd")
        content = rooms.data.content(upload_id)
        rooms.diary.at("seal", content.data.clear)
        with pytest.raises(DataLost):
            await rooms.append(upload_id, 4, b"efgh")
        assert (rooms.row(upload_id).offset, rooms.row(upload_id).state) == (4, UploadState.OPEN)
        assert rooms.finished == []


@pytest.mark.parametrize("left", [None, b"abc"], ids=["gone", "shorter"])
async def test_download_of_lost_data(left: bytes | None) -> None:
    """A finished upload whose data is not what was acknowledged is not served. (I7)"""
    async with house() as rooms:
        upload_id = await rooms.fill(b"abcd")
        if left is None:
            rooms.data._contents.clear()
        else:
            rooms.data.content(upload_id).data[:] = left
        with pytest.raises(DataLost):
            await rooms.engine.open_download(upload_id)


async def test_checksum_that_does_not_match() -> None:
    """Bytes that fail their check are dropped and never counted, not even by a checkpoint. (I5, CHK)"""
    async with house(checkpoint_bytes=1) as rooms:
        upload_id = await rooms.create()
        rooms.diary.take()
        checksum = Checksum("sha1", hashlib.sha1(b"other").digest())
        with pytest.raises(Exception, match="checksum"):
            await rooms.append(upload_id, 0, b"ab", b"cd", checksum=checksum)
        assert rooms.diary.take() == ["create", "write 0+2", "write 2+2", "truncate 0"]
        assert (rooms.row(upload_id).offset, rooms.stored(upload_id)) == (0, b"")


async def test_checksum_of_a_body_that_was_cut() -> None:
    """Half a body cannot be checked, so it is dropped, whatever arrived. (I5, CHK)"""
    async with house() as rooms:
        upload_id = await rooms.create()
        checksum = Checksum("sha1", hashlib.sha1(b"abcd").digest())
        with pytest.raises(ConnectionReset):
            await rooms.append(upload_id, 0, b"ab", ConnectionReset(), checksum=checksum)
        assert (rooms.row(upload_id).offset, rooms.stored(upload_id)) == (0, b"")


async def test_cut_body_is_kept() -> None:
    """What arrived before the connection was lost is stored as safely as any other byte. (I1)"""
    async with house() as rooms:
        upload_id = await rooms.create()
        rooms.diary.take()
        with pytest.raises(ConnectionReset) as caught:
            await rooms.append(upload_id, 0, b"ab", b"c", ConnectionReset())
        assert rooms.diary.take() == ["create", "write 0+2", "write 2+1", "sync", "advance 3 synced 3 durable"]
        assert caught.value.upload is not None
        assert caught.value.upload.offset == 3


async def test_refused_first_bytes_leave_nothing() -> None:
    """A creation whose bytes were refused is removed again, in the order of any removal. (CWU-04, 3.1)"""
    async with house() as rooms:
        with pytest.raises(UploadSizeExceeded):
            await rooms.engine.create(
                Create(length=2, has_body=True, with_upload=True, body_length=None), ScriptedBody(b"abc"), Limits()
            )
        assert rooms.diary.take()[-3:] == ["mark_deleting durable", "remove durable", "delete"]
        assert (await rooms.info.list_uploads(), rooms.data._contents) == ([], {})


async def test_failed_assembly_leaves_its_parts() -> None:
    """When copying fails no final upload is left, and the parts are as they were. (CAT-20, I8)"""
    async with house() as rooms:
        parts = tuple([await rooms.fill(data, kind=UploadKind.PARTIAL) for data in (b"abcd", b"ef")])
        before = [rooms.row(part) for part in parts]
        rooms.diary.at("copy", lambda: None)
        rooms.diary.at("copy", InsufficientStorage())
        with pytest.raises(InsufficientStorage):
            await rooms.create(None, kind=UploadKind.FINAL, parts=parts, concat="final;x")
        assert [upload.id for upload in await rooms.info.list_uploads()] == sorted(parts)
        assert [rooms.row(part) for part in parts] == before
        assert sorted(rooms.data._contents) == sorted(parts)
        final = await rooms.create(None, kind=UploadKind.FINAL, parts=parts, concat="final;x")
        assert rooms.stored(final) == b"abcdef"
