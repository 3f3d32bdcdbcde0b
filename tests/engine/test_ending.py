"""The end of an engine: nothing that runs may hold it up for longer than the shutdown timeout (I17)."""

from __future__ import annotations

import asyncio

import pytest

from tests.engine.rooms import house
from tusd_py.errors import ServerShutdown


async def test_what_takes_too_long_is_ended() -> None:
    """A request that does not end by itself, such as a huge concatenation, is ended in time. (I17)"""
    async with house(shutdown_timeout=0.01) as rooms:
        endless = asyncio.create_task(rooms.engine._run(asyncio.Event().wait()))
        await asyncio.sleep(0)
        await rooms.engine.stop()
        with pytest.raises(asyncio.CancelledError):
            await endless
        await rooms.engine.start()


async def test_a_stopped_engine_can_be_started_again() -> None:
    """Draining ends with the stop: an application that starts again takes uploads again. (I17)"""
    async with house() as rooms:
        rooms.engine.drain()
        with pytest.raises(ServerShutdown):
            await rooms.create()
        await rooms.engine.stop()
        await rooms.engine.start()
        upload_id = await rooms.create()
        assert (await rooms.append(upload_id, 0, b"12345678")).is_finished
