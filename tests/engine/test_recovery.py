"""What a crash left half-done is finished at the next start (reliability 3.1, I12, I16, CAT-20)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.engine.rooms import House, house
from tusd_py.errors import DataLost, StoreError, UploadNotFound
from tusd_py.models.limits import Durability
from tusd_py.models.upload import UploadInfo, UploadState


async def leave(rooms: House, upload_id: str, state: UploadState, data: bytes | None) -> None:
    """Put into the rooms what a crash at some moment leaves there."""
    await rooms.info.insert(UploadInfo(id=upload_id, length=4, state=state), durable=True)
    if data is not None:
        await rooms.data.create(upload_id, durable=True)
        await (await rooms.data.write_to(upload_id)).write(0, [data])


@pytest.mark.parametrize("state", [UploadState.DELETING, UploadState.ASSEMBLING])
@pytest.mark.parametrize("data", [b"abcd", b"", None], ids=["with data", "empty", "data gone"])
async def test_half_done(state: UploadState, data: bytes | None) -> None:
    """A removal and a concatenation that were cut leave neither row nor data after the next start. (3.1, CAT-20)"""
    async with house(start=False) as rooms:
        await leave(rooms, "half", state, data)
        rooms.diary.take()
        await rooms.engine.start()
        assert rooms.diary.take() == ["mark_deleting durable", "remove durable", "delete"]
        assert (await rooms.info.list_uploads(), rooms.data._contents) == ([], {})


async def test_everything_else_stays() -> None:
    """Open and finished uploads are as they were, also expired ones: a start removes nothing else. (I16)"""
    async with house(start=False) as rooms:
        await leave(rooms, "finished", UploadState.FINISHED, b"abcd")
        await leave(rooms, "open", UploadState.OPEN, b"ab")
        await leave(rooms, "expired", UploadState.OPEN, b"ab")
        rooms.info._uploads["expired"] = replace(rooms.row("expired"), expires_at=1.0)
        before = dict(rooms.info._uploads)
        rooms.diary.take()
        await rooms.engine.start()
        assert rooms.diary.take() == []
        assert rooms.info._uploads == before
        assert sorted(rooms.data._contents) == ["expired", "finished", "open"]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), StoreError("no")])
async def test_what_cannot_be_removed(error: Exception) -> None:
    """A removal that fails keeps neither the others nor the server from going on; it stays unknown. (I12, I16)"""
    async with house(start=False) as rooms:
        for name in ("one", "two"):
            await leave(rooms, name, UploadState.DELETING, b"abcd")
        rooms.diary.at("remove", error)
        await rooms.engine.start()
        assert [upload.id for upload in await rooms.info.list_uploads()] == ["one"]
        with pytest.raises(UploadNotFound):
            await rooms.engine.inspect("one")


async def test_many() -> None:
    """More than one batch of leftovers is finished, too. (I18)"""
    async with house(start=False) as rooms:
        for number in range(1203):
            await leave(rooms, f"{number:05}", UploadState.DELETING, b"")
        await leave(rooms, "00600x", UploadState.OPEN, b"ab")
        await rooms.engine.start()
        assert [upload.id for upload in await rooms.info.list_uploads()] == ["00600x"]


@pytest.mark.parametrize("verb", ["remove", "delete"])
async def test_crash_inside_a_removal(verb: str) -> None:
    """Wherever a removal stops, the upload is unknown from its first step on, and gone after a start. (3.1, I12)"""
    async with house() as rooms:
        upload_id = await rooms.fill(b"abcd")
        rooms.diary.at(verb, RuntimeError("the process dies here"))
        with pytest.raises(RuntimeError):
            await rooms.engine.terminate(upload_id)
        assert rooms.row(upload_id).state is UploadState.DELETING
        await rooms.engine.start()
        assert (await rooms.info.list_uploads(), rooms.data._contents) == ([], {})


@pytest.mark.parametrize("level", list(Durability))
async def test_file_that_never_held_anything(level: Durability) -> None:
    """An upload whose name did not survive, and of which no byte was acknowledged, is gone on with (I7).

    One whose bytes are gone is not.
    """
    async with house(level) as rooms:
        empty, begun = await rooms.create(), await rooms.create()
        await rooms.append(begun, 0, b"ab")
        for upload_id in (empty, begun):
            await rooms.data.remove(upload_id, durable=False)
        assert (await rooms.append(empty, 0, b"abcdefgh")).is_finished
        with pytest.raises(DataLost):
            await rooms.append(begun, 2, b"cdefgh")


@pytest.mark.parametrize("level", list(Durability))
async def test_level_is_raised(level: Durability) -> None:
    """What was acknowledged at a weaker level is on stable storage before anybody is served at level patch (I1, I3)."""
    async with house(level, start=False) as rooms:
        await rooms.info.insert(UploadInfo(id="begun", length=9, offset=4), durable=False)
        await rooms.engine.start()
        promised = level is Durability.PATCH
        assert ("sync_all" in rooms.diary.take()) == promised
        found = await rooms.info.get("begun")
        assert found is not None
        assert found.synced_offset == (4 if promised else 0)
