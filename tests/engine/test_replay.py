"""What the journal has is written to its data again; nobody else may have it, so that it stays until it is. (I1, I7)"""

from __future__ import annotations

import asyncio

import pytest

from tests.engine.rooms import STEPS_OF_A_COMMIT, House, house
from tests.engine.test_journal import IO_ERROR, UP_TO, begun, kept
from tusd_py.engine import journal
from tusd_py.engine.replay import replay
from tusd_py.errors import DataLost, UploadNotFound
from tusd_py.models.journal import JournalEntry
from tusd_py.models.upload import UploadKind


async def test_start() -> None:
    """A start writes what the journal has to the data again, whatever a power cut has left of that. (I1, I7)"""
    async with house(journal_up_to=UP_TO) as rooms:
        gone = await begun(rooms, 4)
        short = await begun(rooms)
        rooms.data._contents.pop(gone)
        rooms.data.content(short).data[:] = b""
        await journal.begin(rooms.engine._ctx)
        assert rooms.stored(gone) == rooms.stored(short) == b"abcd"
        assert kept(rooms) == [(0, b"abcd"), (0, b"abcd")]
        assert rooms.engine._ctx.journal_is_long.is_set()


async def test_start_cuts_what_is_finished() -> None:
    """A finished upload has its length again, also when the cut is what the power cut took. (I2, I6)"""
    async with house(journal_up_to=UP_TO) as rooms:
        upload_id = await begun(rooms, 4)
        rooms.data.content(upload_id).data[:] = b"xxxxyyyy"
        await journal.begin(rooms.engine._ctx)
        assert rooms.stored(upload_id) == b"abcd"


async def lost(rooms: House) -> str:
    """Return an upload of whose bytes the journal has the second four, while the first are gone."""
    upload_id = await rooms.create(16)
    await rooms.append(upload_id, 0, b"abcd")
    await rooms.append(upload_id, 4, b"efgh", size=4)
    rooms.data.content(upload_id).data[:] = b""
    rooms.diary.take()
    return upload_id


async def test_lost_data_keeps_nobody_from_starting() -> None:
    """One upload whose data cannot be written is an upload whose data is lost, and nothing else. (I7, I16)"""
    async with house(journal_up_to=UP_TO) as rooms:
        bad, good = await lost(rooms), await begun(rooms)
        rooms.data.content(good).data[:] = b""
        await journal.begin(rooms.engine._ctx)
        assert rooms.stored(bad) == b""
        assert rooms.stored(good) == b"abcd"


async def test_what_cannot_be_written_stays() -> None:
    """Nobody else has these bytes, so they are not forgotten, and are written when that is possible. (I1, I7)"""
    async with house(journal_up_to=UP_TO) as rooms:
        bad, _ = await lost(rooms), await begun(rooms)
        ctx = rooms.engine._ctx
        await journal.begin(ctx)
        await journal.empty(ctx)
        await journal.empty(ctx)
        assert kept(rooms) == [(4, b"efgh")]
        rooms.data.content(bad).data[:] = b"abcd"
        await journal.empty(ctx)
        assert rooms.stored(bad) == b"abcdefgh"
        assert kept(rooms) == []


async def test_what_cannot_be_written_is_not_served() -> None:
    """Nobody adds to such an upload or reads it, until its bytes are there; that is tried at each request. (I7)"""
    async with house(journal_up_to=UP_TO) as rooms:
        upload_id = await lost(rooms)
        ctx = rooms.engine._ctx
        await journal.begin(ctx)
        with pytest.raises(DataLost):
            await rooms.append(upload_id, 8, b"ijklmnop")
        # All of its size, and yet not all that was acknowledged.
        rooms.data.content(upload_id).data[:] = bytes(8)
        await rooms.append(upload_id, 8, b"ijklmnop")
        assert rooms.stored(upload_id) == bytes(4) + b"efghijklmnop"
        rooms.data.content(upload_id).data[:] = b""
        await journal.begin(ctx)
        with pytest.raises(DataLost):
            await rooms.engine.open_download(upload_id)
        rooms.data.content(upload_id).data[:] = b"abcdxxxxijklmnop"
        _, reader = await rooms.engine.open_download(upload_id)
        assert await reader.read(0, 16) == b"abcdefghijklmnop"


async def test_what_was_found_out_before_it_failed() -> None:
    """What cannot be written is not served either when the disk fails behind it. (I7, I9)"""
    async with house(journal_up_to=UP_TO) as rooms:
        bad, _ = await lost(rooms), await begun(rooms)
        rooms.diary.at("write", IO_ERROR)
        with pytest.raises(OSError, match="Input/output"):
            await replay(rooms.engine._ctx)
        # All of its size, and yet not all that was acknowledged.
        rooms.data.content(bad).data[:] = bytes(8)
        await rooms.append(bad, 8, b"ijklmnop")
        assert rooms.stored(bad) == bytes(4) + b"efghijklmnop"


async def test_part_that_cannot_be_written() -> None:
    """Nothing is joined out of a part whose bytes are not all there. (I7)"""
    async with house(journal_up_to=UP_TO) as rooms:
        ctx = rooms.engine._ctx
        part = await rooms.create(8, kind=UploadKind.PARTIAL)
        await rooms.append(part, 0, b"abcd")
        await rooms.append(part, 4, b"efgh", size=4)
        rooms.data.content(part).data[:] = b""
        await journal.begin(ctx)
        with pytest.raises(UploadNotFound):
            await rooms.create(None, kind=UploadKind.FINAL, parts=(part,))
        rooms.data.content(part).data[:] = b"abcdxxxx"
        final = await rooms.create(None, kind=UploadKind.FINAL, parts=(part,))
        assert rooms.stored(final) == b"abcdefgh"


async def test_removed_for_good() -> None:
    """Bytes that could not be written go with their upload. (I6)"""
    async with house(journal_up_to=UP_TO) as rooms:
        upload_id = await lost(rooms)
        await journal.begin(rooms.engine._ctx)
        await rooms.engine.terminate(upload_id)
        assert not rooms.engine._ctx.doubts.unwritten
        await journal.empty(rooms.engine._ctx)
        assert kept(rooms) == []


def slow_reads(rooms: House) -> None:
    """Let reading entries take some turns of the loop."""
    entries = rooms.info.kept.entries

    async def slow(*, after: int, limit: int) -> list[JournalEntry]:
        found = await entries(after=after, limit=limit)
        for _ in range(STEPS_OF_A_COMMIT):
            await asyncio.sleep(0)
        return found

    rooms.info.kept.entries = slow  # type: ignore[method-assign]


async def test_name_that_is_used_again() -> None:
    """An upload whose bytes are just being written again keeps its data until that is over: others may get its name."""
    async with house(journal_up_to=UP_TO) as rooms:
        upload_id = await begun(rooms)
        removing: list[asyncio.Task[None]] = []
        rooms.diary.at("write", lambda: removing.append(asyncio.create_task(rooms.engine.terminate(upload_id))))
        slow_reads(rooms)
        await replay(rooms.engine._ctx)
        steps = rooms.diary.take()
        assert "mark_deleting durable" in steps
        assert "remove durable" not in steps
        await asyncio.gather(*removing)
        assert rooms.diary.take()[0] == "remove durable"


async def test_offsets_that_fall() -> None:
    """Nothing is taken back while bytes are being written again: others could come to their place before. (I9)"""
    async with house(journal_up_to=UP_TO) as rooms:
        await begun(rooms)
        slow_reads(rooms)
        syncing: list[asyncio.Task[None]] = []
        rooms.diary.at("write", lambda: syncing.append(asyncio.create_task(journal.empty(rooms.engine._ctx))))
        rooms.diary.at("sync_all", IO_ERROR)
        await replay(rooms.engine._ctx)
        assert "fall_back" not in rooms.diary.take()
        with pytest.raises(OSError, match="Input/output"):
            await syncing[0]
        assert rooms.diary.take()[-2:] == ["fall_back", "write 0+4"]
