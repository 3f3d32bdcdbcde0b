"""Bytes before offset, offset before answer: what is asked of the stores, and when (reliability 3.1 and 3.3, I1)."""

from __future__ import annotations

import asyncio

import pytest

from tests.engine.rooms import House, house
from tusd_py.abc import Announcement
from tusd_py.engine.context import NoHooks
from tusd_py.engine.create import SMALL_BODY
from tusd_py.models.hook import HookEvent, Moment
from tusd_py.models.limits import Durability
from tusd_py.models.upload import UploadKind, UploadState
from tusd_py.protocol.intents import Append


class Heeding(NoHooks):
    """Somebody who heeds one moment, and has nothing to say."""

    def __init__(self, moment: Moment) -> None:
        self._moment = moment

    def heeds(self, moment: Moment) -> bool:
        return moment is self._moment

    def announce(self, event: HookEvent) -> Announcement:
        return Silence()


class Silence(Announcement):
    def confirm(self) -> None:
        pass

    def withdraw(self) -> None:
        pass


NONE, FINISH, PATCH = Durability.NONE, Durability.FINISH, Durability.PATCH


@pytest.mark.parametrize(
    ("level", "steps"),
    [
        (NONE, ["insert open", "answer"]),
        (FINISH, ["insert open", "answer"]),
        (PATCH, ["insert open durable", "answer"]),
    ],
)
async def test_create(level: Durability, steps: list[str]) -> None:
    """The row is there before the client hears of it; data only when there is a byte to be in it. (3.1 Create, 3.3)"""
    async with house(level) as rooms:
        await rooms.create()
        assert rooms.diary.take() == steps


@pytest.mark.parametrize("moment", [Moment.PRE_CREATE, Moment.POST_CREATE])
async def test_create_with_hooks(moment: Moment) -> None:
    """Who has a say in a creation, or is told of it, finds its data; that is made before the row. (3.1 Create)"""
    async with house() as rooms:
        rooms.engine._ctx.hooks = Heeding(moment)
        await rooms.create()
        assert rooms.diary.take() == ["create durable", "insert open durable", "answer"]


@pytest.mark.parametrize(
    ("level", "steps"),
    [
        (NONE, ["create", "write 0+4", "advance 4 synced 0", "answer"]),
        (FINISH, ["create", "write 0+4", "advance 4 synced 0", "answer"]),
        (PATCH, ["create", "write 0+4", "sync", "advance 4 synced 4 durable", "answer"]),
    ],
)
async def test_progress(level: Durability, steps: list[str]) -> None:
    """At level patch bytes are on stable storage before an offset counts them; below it nothing is synced. (I1, 3.3)"""
    async with house(level) as rooms:
        upload_id = await rooms.create()
        rooms.diary.take()
        assert (await rooms.append(upload_id, 0, b"abcd")).offset == 4
        assert rooms.diary.take() == steps


@pytest.mark.parametrize(
    ("level", "steps"),
    [
        (NONE, ["write 4+4", "seal 8", "finish 8 synced 0", "finished", "answer"]),
        (FINISH, ["write 4+4", "seal 8 durable", "finish 8 synced 8 durable", "finished", "answer"]),
        (PATCH, ["write 4+4", "seal 8 durable", "finish 8 synced 8 durable", "finished", "answer"]),
    ],
)
async def test_finish(level: Durability, steps: list[str]) -> None:
    """Data is sealed before the upload is called finished; at finish and above both survive a power cut.

    (3.1 Finish, 3.3, I14)
    """
    async with house(level) as rooms:
        upload_id = await rooms.create()
        await rooms.append(upload_id, 0, b"abcd")
        rooms.diary.take()
        assert (await rooms.append(upload_id, 4, b"efgh")).is_finished
        assert rooms.diary.take() == steps
        assert [job.upload_id for job in await rooms.info.due_jobs(rooms.clock.now(), limit=9)] == [upload_id]


@pytest.mark.parametrize(
    ("level", "steps"),
    [
        (NONE, ["create", "insert finished", "finished", "answer"]),
        (FINISH, ["create durable", "insert finished durable", "finished", "answer"]),
        (PATCH, ["create durable", "insert finished durable", "finished", "answer"]),
    ],
)
async def test_born_finished(level: Durability, steps: list[str]) -> None:
    """An upload of no bytes is finished by its insertion, with its jobs, as safely as any finish. (CRE-POST-07, I14)"""
    async with house(level) as rooms:
        upload_id = await rooms.create(0)
        assert rooms.diary.take() == steps
        assert [job.upload_id for job in await rooms.info.due_jobs(rooms.clock.now(), limit=9)] == [upload_id]


LARGE = bytes(SMALL_BODY + 1)


async def test_create_with_first_bytes() -> None:
    """A small body is there before its upload is made, bytes first and with them the row. (3.1, CWU-01)"""
    async with house() as rooms:
        upload_id = await rooms.create(8, b"ab", b"cd")
        assert rooms.diary.take() == ["create +4 durable", "insert open durable", "answer"]
        assert rooms.stored(upload_id) == b"abcd"
        row = rooms.row(upload_id)
        assert (row.offset, row.synced_offset, row.length) == (4, 4, 8)


async def test_create_with_all_bytes() -> None:
    """Creation with every byte is a finish, once, with the jobs in the same transaction. (3.1, CWU-01)"""
    async with house() as rooms:
        upload_id = await rooms.create(4, b"abcd")
        assert rooms.diary.take() == ["create +4 durable", "insert finished durable", "finished", "answer"]
        assert [job.upload_id for job in await rooms.info.due_jobs(rooms.clock.now(), limit=9)] == [upload_id]


@pytest.mark.parametrize(
    ("level", "marks", "synced"), [(NONE, ("", ""), 0), (FINISH, ("", " durable"), 0), (PATCH, (" durable",) * 2, 4)]
)
async def test_first_bytes_are_as_durable_as_others(level: Durability, marks: tuple[str, str], synced: int) -> None:
    """What comes with a creation is synced where a PATCH would sync it. (3.3)"""
    some, every = marks
    async with house(level) as rooms:
        upload_id = await rooms.create(8, b"abcd")
        assert rooms.diary.take() == [f"create +4{some}", f"insert open{some}", "answer"]
        assert rooms.row(upload_id).synced_offset == synced
        await rooms.create(4, b"abcd")
        assert rooms.diary.take() == [f"create +4{every}", f"insert finished{every}", "finished", "answer"]


async def test_create_with_a_large_body() -> None:
    """A larger body is a creation and an append, in this order. (3.1, CWU-01)"""
    size = len(LARGE)
    async with house() as rooms:
        upload_id = await rooms.create(size + 1, LARGE)
        assert rooms.diary.take() == [
            "insert open durable", "create", f"write 0+{size}", "sync", f"advance {size} synced {size} durable",
            "answer",
        ]  # fmt: skip
        assert rooms.stored(upload_id) == LARGE
        await rooms.create(size, LARGE)
        assert rooms.diary.take() == [
            "insert open durable", "create", f"write 0+{size}", f"seal {size} durable",
            f"finish {size} synced {size} durable", "finished", "answer",
        ]  # fmt: skip


@pytest.mark.parametrize("level", list(Durability))
async def test_append_of_nothing(level: Durability) -> None:
    """An append without bytes asks nothing of the stores, before and after the finish; nobody is told twice. (I14)"""
    async with house(level) as rooms:
        upload_id = await rooms.create(4)
        rooms.diary.take()
        await rooms.append(upload_id, 0)
        assert rooms.diary.take() == ["answer"]
        await rooms.append(upload_id, 0, b"abcd")
        rooms.diary.take()
        await rooms.append(upload_id, 4)
        assert rooms.diary.take() == ["answer"]
        assert len(rooms.finished) == 1


@pytest.mark.parametrize(
    ("level", "mark"), [(NONE, ""), (FINISH, " durable"), (PATCH, " durable")], ids=["none", "finish", "patch"]
)
async def test_remove(level: Durability, mark: str) -> None:
    """The upload is unknown before its data goes, and the row goes last: a crash leaves something to finish.

    At every level, because a power cut may bring back a row whose file is gone. (3.1 Delete, I7, I12)
    """
    async with house(level) as rooms:
        upload_id = await rooms.fill(b"abcd")
        await rooms.engine.terminate(upload_id)
        assert rooms.diary.take() == ["mark_deleting durable", f"remove{mark}", "delete"]


async def test_assembly() -> None:
    """A final upload is looked at by nobody until its bytes are copied, sealed and committed with its jobs.

    (3.1 Concat, CAT-20)
    """
    async with house() as rooms:
        parts = tuple([await rooms.fill(data, kind=UploadKind.PARTIAL) for data in (b"abcd", b"ef")])
        final = await rooms.create(None, kind=UploadKind.FINAL, parts=parts, concat="final;x")
        assert rooms.diary.take() == [
            "create", "insert assembling", "copy 0+4", "copy 4+2", "seal 6 durable",
            "finish 6 synced 6 durable", "finished", "answer",
        ]  # fmt: skip
        assert rooms.stored(final) == b"abcdef"
        assert rooms.row(final).state is UploadState.FINISHED


async def test_offset_is_seen_only_when_it_is_safe() -> None:
    """While bytes are written and synced, everybody still sees the old offset. (I3, 3.3)"""
    seen: list[int] = []
    async with house() as rooms:
        upload_id = await rooms.create()

        def look() -> None:
            seen.append(rooms.row(upload_id).offset)

        for verb in ("write", "sync", "advance"):
            rooms.diary.at(verb, look)
        await rooms.append(upload_id, 0, b"abcd")
        assert seen == [0, 0, 0]
        assert rooms.row(upload_id).offset == 4


async def test_cancelled_request_is_done_to_its_end() -> None:
    """Whoever asked may go away: what was begun is committed, not left half-way. (I1)"""
    async with house() as rooms:
        upload_id = await rooms.create()
        entered, opened = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            entered.set()
            await opened.wait()

        request = asyncio.create_task(rooms.append(upload_id, 0, b"ab", wait, b"cd"))
        await entered.wait()
        request.cancel()
        await asyncio.wait([request])
        opened.set()
        assert await _offset_after(rooms, upload_id) == 4
        assert rooms.stored(upload_id) == b"abcd"


async def _offset_after(rooms: House, upload_id: str) -> int:
    """Return the offset once whoever holds the upload has let go."""
    lock = await rooms.locker.acquire(upload_id, timeout=5)
    await lock.release()
    return rooms.row(upload_id).offset


async def test_every_writer_has_its_own_number() -> None:
    """Each append raises the epoch, so that an older writer is fenced off. (I10)"""
    async with house() as rooms:
        upload_id = await rooms.create()
        epochs = [rooms.row(upload_id).epoch]
        for offset in (0, 2, 4):
            await rooms.append(upload_id, offset, b"ab")
            epochs.append(rooms.row(upload_id).epoch)
        assert epochs == sorted(set(epochs))
        intent = Append(upload_id=upload_id, offset=6, has_body=False)
        assert intent.offset == rooms.row(upload_id).offset
