"""Short bodies are kept with their offset until their data is synced; no request waits for that (3.1, I1, I9)."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from tests.engine.rooms import House, house
from tests.engine.test_order import Heeding
from tests.support.waiting import until
from tusd_py.engine import journal
from tusd_py.engine.expire import Sweeper
from tusd_py.errors import InsufficientStorage, StoreError
from tusd_py.models.hook import HookEvent, HookReply, Moment
from tusd_py.models.limits import Durability
from tusd_py.models.upload import UploadState

IO_ERROR = OSError(errno.EIO, "Input/output error")
FINISH, PATCH = Durability.FINISH, Durability.PATCH
UP_TO = 8
LONG = 1000


async def begun(rooms: House, length: int = 16, **fields: Any) -> str:
    """Return an upload that has 4 bytes, which the journal keeps."""
    upload_id = await rooms.create(length, **fields)
    await rooms.append(upload_id, 0, b"abcd", size=4)
    rooms.diary.take()
    return upload_id


def kept(rooms: House) -> list[tuple[int, bytes]]:
    return [(offset, data) for _, offset, data in rooms.info.kept.kept.values()]


async def test_progress() -> None:
    """The bytes of a short body are in the transaction that counts them, and not synced. (3.1 PATCH)"""
    async with house(journal_up_to=UP_TO) as rooms:
        upload_id = await rooms.create(16)
        rooms.diary.take()
        await rooms.append(upload_id, 0, b"ab", b"cd", size=4)
        steps = ["create", "write 0+2", "write 2+2", "advance 4 synced 4 durable keeps abcd", "answer"]
        assert rooms.diary.take() == steps
        assert rooms.row(upload_id).synced_offset == 4


@pytest.mark.parametrize("level", [FINISH, PATCH])
async def test_whole_upload(level: Durability) -> None:
    """What finishes an upload is kept in the same way: the data is cut to its length, and not synced. (3.1 Finish)"""
    async with house(level, journal_up_to=UP_TO) as rooms:
        upload_id = await rooms.create(4)
        rooms.diary.take()
        await rooms.append(upload_id, 0, b"abcd", size=4)
        assert rooms.diary.take() == [
            "create", "write 0+4", "seal 4", "finish 4 synced 4 durable keeps abcd", "finished", "answer",
        ]  # fmt: skip


@pytest.mark.parametrize("length", [4, 8])
async def test_creation(length: int) -> None:
    """A creation with a short body is one row with its bytes. (3.1 Create)"""
    async with house(journal_up_to=UP_TO) as rooms:
        await rooms.create(length, b"ab", b"cd")
        state = "finished" if length == 4 else "open"
        assert rooms.diary.take()[:2] == ["create +4", f"insert {state} durable keeps abcd"]


@pytest.mark.parametrize(
    ("size", "body"), [(None, b"abcd"), (UP_TO + 1, b"abcdefghi")], ids=["of unknown length", "too long"]
)
async def test_other_bodies_are_synced(size: int | None, body: bytes) -> None:
    """A body that may be long is synced before it counts. (3.1 PATCH)"""
    async with house(journal_up_to=UP_TO) as rooms:
        upload_id = await rooms.create(16)
        rooms.diary.take()
        await rooms.append(upload_id, 0, body, size=size)
        count = len(body)
        assert rooms.diary.take() == [
            "create", f"write 0+{count}", "sync", f"advance {count} synced {count} durable", "answer",
        ]  # fmt: skip


async def test_only_where_losses_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a sync of everything may hide that bytes were lost, nothing relies on one. (I9)"""
    async with house(journal_up_to=UP_TO) as rooms:
        monkeypatch.setattr(type(rooms.data), "notices_loss", False)
        upload_id = await rooms.create(16)
        await rooms.append(upload_id, 0, b"abcd", size=4)
        assert "sync" in rooms.diary.take()
        assert not kept(rooms)


async def test_progress_at_level_finish() -> None:
    """What need not survive a power cut is not kept, and neither is an end that leaves such bytes behind it. (3.3)"""
    async with house(FINISH, journal_up_to=UP_TO) as rooms:
        upload_id = await rooms.create(8)
        await rooms.append(upload_id, 0, b"abcd", size=4)
        await rooms.append(upload_id, 4, b"efgh", size=4)
        assert "seal 8 durable" in rooms.diary.take()
        assert not kept(rooms)


async def test_checkpoint() -> None:
    """Each commit inside a body has the bytes since the one before. (3.3)"""
    async with house(journal_up_to=UP_TO, checkpoint_bytes=4) as rooms:
        upload_id = await rooms.create(16)
        await rooms.append(upload_id, 0, b"abcd", b"ef", b"gh", size=8)
        assert kept(rooms) == [(0, b"abcd"), (4, b"efgh")]
        assert "sync" not in rooms.diary.take()


async def test_commit_that_failed() -> None:
    """Bytes that a commit took along which failed are synced with the next one: nothing counts that nobody has. (I1)"""
    async with house(journal_up_to=UP_TO, checkpoint_bytes=4) as rooms:
        upload_id = await rooms.create(16)
        rooms.diary.at("advance", StoreError("the disk failed"))
        with pytest.raises(StoreError):
            await rooms.append(upload_id, 0, b"abcd", b"ef", b"gh", size=8)
        assert rooms.row(upload_id).offset == 4
        assert "sync" in rooms.diary.take()
        assert not kept(rooms)


async def test_hook_that_has_to_agree() -> None:
    """Bytes are kept with the first step that counts them, also where a hook is asked between that and the end."""
    async with house(journal_up_to=UP_TO) as rooms:
        rooms.engine._ctx.hooks = Agreeing(Moment.PRE_FINISH)
        upload_id = await rooms.create(4)
        rooms.diary.take()
        await rooms.append(upload_id, 0, b"abcd", size=4)
        assert rooms.diary.take()[2:5] == [
            "seal 4", "advance 4 synced 4 durable keeps abcd", "finish 4 synced 4 durable",
        ]  # fmt: skip
        assert rooms.row(upload_id).state is UploadState.FINISHED


class Agreeing(Heeding):
    async def ask(self, event: HookEvent) -> HookReply:
        return HookReply()


async def test_emptying() -> None:
    """Everything is synced at once before what the journal has is forgotten. (I1)"""
    async with house(journal_up_to=UP_TO) as rooms:
        await begun(rooms)
        await begun(rooms)
        await journal.empty(rooms.engine._ctx)
        assert rooms.diary.take() == ["end", "sync_all", "forget"]
        assert not kept(rooms)
        await journal.empty(rooms.engine._ctx)
        assert rooms.diary.take() == []


async def test_what_comes_meanwhile_stays() -> None:
    """What is kept while everything is being synced is not forgotten with the rest. (I1)"""
    async with house(journal_up_to=UP_TO) as rooms:
        await begun(rooms)
        rooms.diary.at("sync_all", lambda: rooms.info.kept.keep("later", 4, b"late"))
        await journal.empty(rooms.engine._ctx)
        assert kept(rooms) == [(0, b"late")]


async def test_failed_sync() -> None:
    """After a failed sync nothing is forgotten; what may be lost is written again before the next one. (I9)"""
    async with house(journal_up_to=UP_TO) as rooms:
        upload_id = await begun(rooms)
        rooms.diary.at("sync_all", IO_ERROR)
        with pytest.raises(OSError, match="Input/output"):
            await journal.empty(rooms.engine._ctx)
        assert rooms.diary.take()[-1] == "write 0+4"
        assert kept(rooms) == [(0, b"abcd")]
        assert rooms.row(upload_id).offset == 4
        rooms.data.content(upload_id).data[:] = bytes(4)
        rooms.diary.take()
        await journal.empty(rooms.engine._ctx)
        assert rooms.diary.take() == ["end", "write 0+4", "sync_all", "forget"]
        assert rooms.stored(upload_id) == b"abcd"


async def test_writing_again_that_fails() -> None:
    """As long as what may be lost cannot be written again, no sync is believed. (I9)"""
    async with house(journal_up_to=UP_TO) as rooms:
        await begun(rooms)
        rooms.diary.at("sync_all", IO_ERROR)
        for _ in range(2):
            rooms.diary.at("write", IO_ERROR)
            with pytest.raises(OSError, match="Input/output"):
                await journal.empty(rooms.engine._ctx)
        rooms.diary.take()
        await journal.empty(rooms.engine._ctx)
        assert rooms.diary.take() == ["end", "write 0+4", "sync_all", "forget"]


async def test_sync_of_one_upload_that_fails() -> None:
    """What the journal has of it is written again at once, and everything else before the next sync of all. (I9)"""
    async with house(journal_up_to=UP_TO) as rooms:
        other, upload_id = await begun(rooms), await begun(rooms)

        def lose() -> None:
            for each in (other, upload_id):
                rooms.data.content(each).data[:4] = bytes(4)
            raise IO_ERROR

        rooms.diary.at("sync", lose)
        with pytest.raises(StoreError):
            await rooms.append(upload_id, 4, b"efgh")
        assert rooms.row(upload_id).offset == 4
        assert rooms.stored(upload_id)[:4] == b"abcd"
        steps: list[str] = []

        async def is_emptied() -> bool:
            steps.extend(rooms.diary.take())
            return "forget" in steps

        await until(is_emptied)
        assert steps[-5:] == ["end", "write 0+4", "write 0+4", "sync_all", "forget"]
        assert rooms.stored(other) == b"abcd"


async def test_such_a_sync_meanwhile() -> None:
    """It forbids to forget what is being synced at that moment, too. (I9)"""
    async with house(journal_up_to=UP_TO) as rooms:
        await begun(rooms)
        ctx = rooms.engine._ctx
        rooms.diary.at("sync_all", lambda: setattr(ctx.doubts, "journaled", True))
        await journal.empty(ctx)
        assert kept(rooms) == [(0, b"abcd")]


async def test_name_of_data_that_was_not_synced() -> None:
    """The first sync of data that only the journal vouches for is told to bring its name along. (I1)"""
    async with house(journal_up_to=UP_TO) as rooms:
        upload_id = await begun(rooms)
        await rooms.append(upload_id, 4, b"efgh")
        assert rooms.data.lasting == [False]
        await journal.empty(rooms.engine._ctx)
        await rooms.append(upload_id, 8, b"ijkl")
        assert rooms.data.lasting == [False, True]


async def test_long_journal() -> None:
    """A journal that is long is emptied behind the requests; when that does not keep up, bodies are synced again."""
    async with house(journal_up_to=UP_TO, journal_size=LONG) as rooms:
        ctx = rooms.engine._ctx
        upload_id = await rooms.create(16)
        rooms.info.kept.more = LONG - 1
        assert journal.admit(ctx, 4)
        assert not ctx.journal_is_long.is_set()
        rooms.info.kept.more = LONG
        await rooms.append(upload_id, 0, b"abcd", size=4)
        steps = rooms.diary.take()
        assert "advance 4 synced 4 durable keeps abcd" in steps

        async def is_emptied() -> bool:
            steps.extend(rooms.diary.take())
            return "forget" in steps

        await until(is_emptied)
        assert [step for step in steps if step in ("end", "sync_all", "forget")] == ["end", "sync_all", "forget"]
        rooms.info.kept.more = journal.TOO_LONG * LONG
        await rooms.append(upload_id, 4, b"efgh", size=4)
        assert "sync" in rooms.diary.take()


async def test_sweeping_does_not_depend_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the journal cannot be emptied, on a full disk, say, expired uploads go all the same. (I8)"""
    async with house(journal_up_to=UP_TO) as rooms:
        upload_id = await begun(rooms)
        tried = asyncio.Event()

        async def fail() -> int:
            tried.set()
            raise InsufficientStorage

        monkeypatch.setattr(rooms.info.kept, "end", fail)
        rooms.clock.advance(8 * 86400)
        sweeping = asyncio.create_task(Sweeper(rooms.engine._ctx, 0.001).run())

        async def is_gone() -> bool:
            return upload_id not in rooms.info._uploads

        await until(is_gone)
        await asyncio.wait_for(tried.wait(), 10)
        sweeping.cancel()
        await asyncio.wait([sweeping])


async def test_end_of_the_server() -> None:
    """A clean stop leaves nothing in the journal. (I17)"""
    async with house(journal_up_to=UP_TO) as rooms:
        await begun(rooms)
        await rooms.engine.stop()
        assert not kept(rooms)
        await rooms.engine.start()


async def test_body_that_does_not_arrive() -> None:
    """What came of a short body before it broke is kept like a whole one. (I5)"""
    async with house(journal_up_to=UP_TO) as rooms:
        upload_id = await rooms.create(16)
        with pytest.raises(StoreError):
            await rooms.append(upload_id, 0, b"ab", StoreError("gone"), size=4)
        assert kept(rooms) == [(0, b"ab")]
