"""At the weaker levels what was acknowledged is synced now and then, and at a clean stop (3.3, I1)."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.engine.rooms import house
from tests.support.client import Client
from tests.support.servers import process
from tusd_py.engine.settle import settle
from tusd_py.models.limits import Durability
from tusd_py.models.upload import UploadState
from tusd_py.stores.sqlite import SqliteInfoStore

WEAKER = (Durability.NONE, Durability.FINISH)


@pytest.mark.parametrize("level", WEAKER)
async def test_order(level: Durability) -> None:
    """Bytes are on stable storage before anybody notes that they are. (3.1, I1)"""
    async with house(level) as rooms:
        upload_id = await rooms.create(8)
        await rooms.append(upload_id, 0, b"abcd")
        rooms.diary.take()
        assert (rooms.row(upload_id).offset, rooms.row(upload_id).synced_offset) == (4, 0)
        assert await settle(rooms.engine._ctx) == 1
        assert rooms.diary.take() == ["sync_all", "mark_synced"]
        assert rooms.row(upload_id).synced_offset == 4
        assert await settle(rooms.engine._ctx) == 0
        assert rooms.diary.take() == []


async def test_nothing_to_do_at_the_strong_level() -> None:
    """At `patch` everything is synced already: no sync is added. (3.3)"""
    async with house(Durability.PATCH) as rooms:
        await rooms.append(await rooms.create(8), 0, b"abcd")
        rooms.diary.take()
        assert await settle(rooms.engine._ctx) == 0
        assert rooms.diary.take() == []


async def test_a_failed_sync_notes_nothing() -> None:
    """When the disk fails, what it may have lost is never noted, but taken back. (I9)"""
    async with house(Durability.NONE) as rooms:
        upload_id = await rooms.create(8)
        await rooms.append(upload_id, 0, b"abcd")
        rooms.diary.take()
        rooms.diary.at("sync_all", OSError("the disk is gone"))
        with pytest.raises(OSError, match="disk is gone"):
            await settle(rooms.engine._ctx)
        assert rooms.row(upload_id).synced_offset == 0
        assert rooms.diary.take() == ["sync_all", "fall_back"]
        # The next sync would succeed, and say nothing about these bytes.
        assert await settle(rooms.engine._ctx) == 0
        assert rooms.row(upload_id).offset == 0


@pytest.mark.parametrize("level", WEAKER)
async def test_clean_stop_and_reboot(tmp_path: Path, session: ClientSession, level: Durability) -> None:
    """What a server acknowledged before a clean stop is all there after the machine was started anew. (I1, I3)"""
    async with process(tmp_path / "data", durability=str(level)) as server:
        client = Client(session, server.url)
        urls = [await client.upload(b"whole"), await client.create(10)]
        assert (await client.patch(urls[1], 0, b"half.")).offset == 5
    store = SqliteInfoStore(tmp_path / "data" / "uploads.sqlite3", durability=level, boot_id="another boot")
    await store.open()
    found = [await store.get(url.rsplit("/", 1)[1]) for url in urls]
    await store.close()
    assert [(upload.state, upload.offset) for upload in found if upload] == [
        (UploadState.FINISHED, 5),
        (UploadState.OPEN, 5),
    ]
