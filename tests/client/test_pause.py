"""A pause cuts what is running; its end goes on from what the server has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.client.conftest import Told
from tests.client.toy import Toy, normal, says
from tests.support.servers import Target
from tests.support.waiting import until
from tusd_py.client import patience
from tusd_py.client.client import Client
from tusd_py.client.records import Created, Event, Options, Progress, Retrying
from tusd_py.client.uploader import Uploader

MIB = 2**20
Make = Callable[..., Path]


def pausing_at(kind: type[Event], told: Told) -> Callable[[Event], None]:
    """Pause the uploader that is known by then when such an event comes for the first time."""

    def tell(event: Event) -> None:
        told.append(event)
        if len(told.of(kind)) == 1 and isinstance(event, kind):
            told.uploader.pause()  # type: ignore[attr-defined]

    return tell


async def is_paused(uploader: Uploader) -> bool:
    return uploader.paused


async def test_a_pause_cuts_the_request_that_runs(toy: Toy, make_file: Make, told: Told) -> None:
    """The connection is closed in the middle of the body, and nothing is sent until the end of the pause."""
    path = make_file(4 * MIB)
    async with Client(toy.url, options=Options(limit_rate=8 * MIB)) as client:
        told.uploader = uploader = client.uploader(path, on_event=pausing_at(Progress, told))
        running = asyncio.create_task(uploader.run())

        async def is_cut() -> bool:
            return toy.broken_off == 1

        await until(is_cut)
        assert uploader.paused
        assert "OPTIONS POST" == toy.methods
        await client.upload(make_file(1, "other"))
        assert "OPTIONS POST POST" == toy.methods
        uploader.resume()
        assert not uploader.paused
        done = await running
    assert "OPTIONS POST POST HEAD PATCH" == toy.methods
    assert path.read_bytes() == toy.uploads["/files/" + done.url.rsplit("/", 1)[1]]
    assert [] == told.of(Retrying)


async def test_what_a_server_had_at_the_pause_is_not_sent_again(server: Target, make_file: Make, told: Told) -> None:
    """The bytes of the request that was cut count."""
    path = make_file(4 * MIB)
    async with Client(server.url, options=Options(limit_rate=8 * MIB)) as client:
        uploader = client.uploader(path, on_event=told.append)
        running = asyncio.create_task(uploader.run())

        async def has_begun() -> bool:
            return bool(told.of(Created))

        async def is_cut() -> bool:
            return uploader._lanes[0]._sending is None

        await until(has_begun)
        await server.until_stored(told.of(Created)[0].url, MIB)
        uploader.pause()
        await until(is_cut)
        uploader.resume()
        done = await running
    assert path.read_bytes() == server.data_path(done.url).read_bytes()
    assert done.sent == 4 * MIB


async def test_a_pause_before_the_beginning(toy: Toy, make_file: Make) -> None:
    """Nothing is asked."""
    async with Client(toy.url) as client:
        uploader = client.uploader(make_file(1))
        uploader.pause()
        running = asyncio.create_task(uploader.run())
        await client.upload(make_file(1, "other"))
        assert "OPTIONS POST" == toy.methods
        uploader.resume()
        await running
    assert "OPTIONS POST POST" == toy.methods


async def test_a_pause_ends_the_waiting_for_another_attempt(toy: Toy, make_file: Make, told: Told) -> None:
    """When it is over, nobody waits for an hour any more."""
    toy.on("PATCH", says(503, Retry_After="3600"))
    async with Client(toy.url) as client:
        told.uploader = uploader = client.uploader(make_file(MIB), on_event=pausing_at(Retrying, told))
        running = asyncio.create_task(uploader.run())
        await until(lambda: is_paused(uploader))
        uploader.resume()
        await running
    assert "OPTIONS POST PATCH HEAD PATCH" == toy.methods


async def test_a_pause_is_no_failure_and_no_waste_of_time(
    toy: Toy, make_file: Make, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it was, and however little was allowed: after it, there is as much patience as ever."""
    now = [1000.0]
    monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=lambda: now[0]))
    toy.on("PATCH", says(503, Retry_After="3600"), normal)
    async with Client(toy.url, options=Options(retry_for=60)) as client:
        told.uploader = uploader = client.uploader(make_file(MIB), on_event=pausing_at(Retrying, told))
        running = asyncio.create_task(uploader.run())
        await until(lambda: is_paused(uploader))
        now[0] += 86400
        toy.on("HEAD", says(503))
        uploader.resume()
        await running


async def test_pausing_twice_and_resuming_twice(toy: Toy, make_file: Make, told: Told) -> None:
    """Does what doing it once does."""
    path = make_file(4 * MIB)

    def tell(event: Event) -> None:
        told.append(event)
        if len(told.of(Progress)) == 1 and isinstance(event, Progress):
            for _ in range(2):
                uploader.pause()
            for _ in range(2):
                uploader.resume()
            uploader.pause()
            uploader.resume()

    async with Client(toy.url, options=Options(limit_rate=8 * MIB)) as client:
        uploader = client.uploader(path, on_event=tell)
        done = await uploader.run()
    assert path.read_bytes() == toy.uploads["/files/" + done.url.rsplit("/", 1)[1]]
    assert "OPTIONS POST HEAD PATCH" == toy.methods


async def test_a_paused_upload_can_be_cancelled(toy: Toy, make_file: Make) -> None:
    """A pause holds nobody who wants to leave."""
    async with Client(toy.url) as client:
        uploader = client.uploader(make_file(1))
        uploader.pause()
        running = asyncio.create_task(uploader.run())
        await client.upload(make_file(1, "other"))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
