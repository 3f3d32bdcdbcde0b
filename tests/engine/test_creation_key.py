"""A creation with a key happens once, whoever comes first and whatever is under way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from tests.engine.rooms import House, ScriptedBody, house
from tusd_py.errors import (
    IdempotencyKeyReused,
    RejectedBefore,
    UploadFinishing,
    UploadInterrupted,
    UploadLocked,
    UploadNotFound,
)
from tusd_py.models.limits import Limits
from tusd_py.models.upload import UploadInfo, UploadKind, UploadState
from tusd_py.protocol.creation_key import digest_of
from tusd_py.protocol.intents import Create

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"
EXPIRING = Limits(expire_after=100.0)


def put(rooms: House, intent: Create, **fields: Any) -> UploadInfo:
    """Let an upload be there that an earlier request has made."""
    upload = UploadInfo(
        id="earlier",
        **{"length": intent.length, "creation_key": KEY, "creation_digest": digest_of(intent), **fields},
    )
    rooms.info._uploads[upload.id] = upload
    return upload


async def test_without_a_key_nothing_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends no key pays nothing: no lock more, no question more."""
    async with house() as rooms:
        asked: list[object] = []
        monkeypatch.setattr(rooms.info, "find_created", asked.append)
        acquire = rooms.locker.acquire

        async def watch(name: str, **options: Any) -> Any:
            asked.extend([name] if "/" in name else [])
            return await acquire(name, **options)

        monkeypatch.setattr(rooms.locker, "acquire", watch)
        for body in ((), (b"1234",), (b"12345678",)):
            await rooms.create(8, *body)
        assert asked == []
        assert [upload.creation_digest for upload in await rooms.info.list_uploads()] == [None] * 3


@pytest.mark.parametrize(
    "body", [(), (b"1234",), (b"12345678",), (bytes(100_000),)], ids=["none", "some", "all", "large"]
)
async def test_again(body: tuple[bytes, ...]) -> None:
    """The second request makes, stores and finishes nothing, and reads no byte of its body."""
    length = max(8, sum(map(len, body)))
    async with house() as rooms:
        first = await rooms.create(length, *body, key=KEY)
        before = rooms.row(first)
        rooms.diary.take()
        unread = ScriptedBody(b"never read")
        intent = Create(length=length, has_body=True, with_upload=True, body_length=8, key=KEY)
        assert await rooms.engine.create(intent, unread, Limits()) == before
        assert unread.script == [b"never read"]
        assert rooms.diary.take() == []
        assert rooms.locker._lines == {}
        assert len(rooms.finished) == (before.offset == length)


async def test_at_once() -> None:
    """Of many at once one makes the upload, and all others have it."""
    async with house() as rooms:
        made = await asyncio.gather(*(rooms.create(8, b"1234", key=KEY) for _ in range(20)))
        assert len(set(made)) == 1
        assert [upload.id for upload in await rooms.info.list_uploads()] == made[:1] == [*rooms.data._contents]
        assert rooms.locker._lines == {}


@pytest.mark.parametrize("size", [8, 100_000], ids=["small", "large"])
async def test_while_the_first_receives(size: int) -> None:
    """The second has the URL while the first is still sending, and a PATCH with it takes over."""
    async with house() as rooms:
        found: list[UploadInfo] = []

        async def come_again() -> None:
            found.append(await rooms.engine.create(Create(length=size, key=KEY), ScriptedBody(), Limits()))
            taking = asyncio.create_task(rooms.append(found[0].id, 4, bytes(size - 4)))
            while body.reason is None:
                await asyncio.sleep(0)
            tasks.append(taking)

        tasks: list[asyncio.Task[UploadInfo]] = []
        body = ScriptedBody(bytes(4), come_again)
        intent = Create(length=size, has_body=True, with_upload=True, body_length=size, key=KEY)
        with pytest.raises(UploadInterrupted):
            await rooms.engine.create(intent, body, Limits())
        assert found[0].offset == 0
        assert (await tasks[0]).is_finished
        assert [upload.id for upload in await rooms.info.list_uploads()] == [found[0].id]


@pytest.mark.parametrize("way", ["plain", "some", "all", "final"])
async def test_somebody_was_faster(way: str) -> None:
    """Who loses a race that no lock has decided leaves nothing, and has the upload of the winner."""
    async with house() as rooms:
        part = await rooms.fill(b"abcd", kind=UploadKind.PARTIAL)
        fields: dict[str, Any] = {"kind": UploadKind.FINAL, "parts": (part,)} if way == "final" else {}
        length = None if way == "final" else 8
        body = {"some": (b"1234",), "all": (b"12345678",)}.get(way, ())
        rooms.diary.at("insert", lambda: put(rooms, Create(length=length, **fields)))
        assert await rooms.create(length, *body, key=KEY, **fields) == "earlier"
        assert {upload.id for upload in await rooms.info.list_uploads()} == {part, "earlier"}
        assert [*rooms.data._contents] == [part]
        assert rooms.locker._lines == {}


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"state": UploadState.REJECTED, "rejection": "no cats"}, RejectedBefore),
        ({"state": UploadState.FINISHING}, UploadFinishing),
        ({"state": UploadState.ASSEMBLING}, UploadLocked),
        ({"creation_digest": "other"}, IdempotencyKeyReused),
        ({"creation_digest": "other", "state": UploadState.REJECTED}, IdempotencyKeyReused),
    ],
    ids=["rejected", "finishing", "assembling", "another", "another, rejected"],
)
async def test_what_became_of_it(fields: dict[str, Any], error: type[Exception]) -> None:
    """What cannot be gone on with is answered as to HEAD, or with a reason to ask again; nothing is made."""
    async with house() as rooms:
        upload = put(rooms, Create(length=8), **fields)
        with pytest.raises(error):
            await rooms.create(8, key=KEY)
        assert await rooms.info.list_uploads() == [upload]
        assert rooms.diary.take() == []


@pytest.mark.parametrize("body", [(), (b"1234",)], ids=["none", "some"])
async def test_removed(body: tuple[bytes, ...]) -> None:
    """When the upload was removed, the key is for a new one."""
    async with house() as rooms:
        first = await rooms.create(8, *body, key=KEY)
        await rooms.engine.terminate(first)
        second = await rooms.create(8, *body, key=KEY)
        assert second != first
        with pytest.raises(UploadNotFound):
            await rooms.engine.inspect(first)


async def test_expired() -> None:
    """When its time ran out, it is removed as a sweep would do it, and the key is for a new one."""
    async with house() as rooms:
        first = await rooms.create(8, b"1234", key=KEY, limits=EXPIRING)
        rooms.clock.advance(101)
        second = await rooms.create(9, b"5678", key=KEY, limits=EXPIRING)
        assert second != first
        assert [upload.id for upload in await rooms.info.list_uploads()] == [second] == [*rooms.data._contents]


async def test_finished_does_not_expire() -> None:
    """A finished upload is found however late."""
    async with house() as rooms:
        first = await rooms.create(4, b"1234", key=KEY, limits=EXPIRING)
        rooms.clock.advance(10_000)
        assert await rooms.create(4, key=KEY, limits=EXPIRING) == first


@pytest.mark.parametrize("why", ["held", "pinned", "went on"])
async def test_expired_but_in_use(why: str) -> None:
    """What somebody uses is not removed, whatever the clock says; its client asks again. (I13)"""
    async with house() as rooms:
        first = await rooms.create(8, b"1234", key=KEY, limits=EXPIRING)
        rooms.clock.advance(101)
        lock = await rooms.locker.acquire(first, timeout=0) if why == "held" else None
        rooms.engine._ctx.pins[first] += why == "pinned"
        if why == "went on":
            get = rooms.info.get

            async def get_later(upload_id: str) -> UploadInfo | None:
                found = await get(upload_id)
                return found and replace(found, expires_at=None)

            rooms.info.get = get_later  # type: ignore[method-assign]
        with pytest.raises(UploadLocked):
            await rooms.create(8, key=KEY, limits=EXPIRING)
        assert rooms.row(first).is_open
        if lock is not None:
            await lock.release()
        assert rooms.locker._lines == {}


async def test_the_first_takes_long() -> None:
    """While somebody else decides about the key, the others are told to come again."""
    async with house(lock_timeout=0.01) as rooms:
        deciding = await rooms.locker.acquire(f"creation/{KEY}", timeout=0)
        with pytest.raises(UploadLocked):
            await rooms.create(8, key=KEY)
        assert await rooms.info.list_uploads() == []
        await deciding.release()
        await rooms.create(8, key=KEY)


async def test_a_failed_creation_keeps_nothing() -> None:
    """A creation that failed has not used its key: the next one makes the upload."""
    async with house() as rooms:
        rooms.diary.at("insert", RuntimeError("a bug"))
        with pytest.raises(RuntimeError):
            await rooms.create(8, key=KEY)
        assert rooms.locker._lines == {}
        upload_id = await rooms.create(8, key=KEY)
        assert rooms.row(upload_id).creation_key == KEY


async def test_removed_while_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload that goes between two looks is not answered with an URL that leads nowhere."""
    async with house() as rooms:
        upload = put(rooms, Create(length=8))

        async def find_and_lose(key: str) -> UploadInfo:
            del rooms.info._uploads[upload.id]
            return upload

        monkeypatch.setattr(rooms.info, "find_created", find_and_lose)
        with pytest.raises(UploadLocked):
            await rooms.create(8, key=KEY)
