"""Another run goes on with what an earlier one has begun, and nobody else does meanwhile."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import Told
from tests.client.toy import Toy, cuts, normal, says, swallows, telling
from tests.support.client import Client as Plain
from tests.support.servers import Target
from tests.support.waiting import until
from tusd_py.client.client import Client
from tusd_py.client.errors import Refused, SourceBusy, SourceChanged
from tusd_py.client.records import Created, Event, Options, Progress, Resumed, Retrying
from tusd_py.client.urlstore import Stored, UrlStore

MIB = 2**20
Make = Callable[..., Path]


def cancelling_at(kind: type[Event], told: Told) -> Callable[[Event], None]:
    """Cancel the task that uploads when such an event comes."""

    def tell(event: Event) -> None:
        told.append(event)
        if isinstance(event, kind):
            told.task.cancel()  # type: ignore[attr-defined]

    return tell


async def begin(url: str, path: Path, store: UrlStore | None, toy: Toy, **options: Any) -> None:
    """Bring the first MiB of a file to the toy, and end then like a process that is killed."""
    toy.on("PATCH", *[normal] * options.get("parallel", 1), *[says(503, Retry_After="3600")] * 3)
    told = Told()
    async with Client(url, options=Options(chunk_size=MIB, **options), store=store) as client:
        told.task = asyncio.ensure_future(client.upload(path, on_event=cancelling_at(Retrying, told)))
        with pytest.raises(asyncio.CancelledError):
            await told.task
    toy.on("PATCH")
    toy.requests.clear()


UPLOADING = """
import asyncio, pathlib, sys
from tusd_py.client import UrlStore, upload
asyncio.run(upload(sys.argv[1], sys.argv[2], store=UrlStore(pathlib.Path(sys.argv[3])), limit_rate=8 * 2**20))
"""


async def test_an_uploader_that_is_killed(server: Target, store: UrlStore, make_file: Make, told: Told) -> None:
    """By kill -9: another process goes on where it was."""
    path = make_file(8 * MIB)
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", UPLOADING, path, server.url, store.path)

    async def has_some() -> bool:
        assert child.returncode is None
        begun = await store.list()
        return bool(begun and begun[0].urls[0]) and server.stored(begun[0].urls[0]) >= 2 * MIB

    try:
        await until(has_some, timeout=30)
    finally:
        child.kill()
        await child.wait()
    (begun,) = await store.list()
    async with Client(server.url, store=store) as client:
        done = await client.upload(path, on_event=told.append)
    assert begun.urls == (done.url,)
    assert path.read_bytes() == server.data_path(done.url).read_bytes()
    assert ["Resumed", "Finished"] == [name for name in told.story if name != "Retrying"]
    assert done.sent <= 6 * MIB


async def test_another_run_goes_on_where_the_first_was(toy: Toy, store: UrlStore, make_file: Make, told: Told) -> None:
    """It asks where that was, and sends the rest; afterwards nothing is remembered."""
    path = make_file(3 * MIB)
    await begin(toy.url, path, store, toy)
    (remembered,) = await store.list()
    async with Client(toy.url, store=store) as client:
        done = await client.upload(str(path), on_event=told.append)
    assert "OPTIONS HEAD PATCH" == toy.methods
    assert path.read_bytes() == toy.uploads["/files/0"]
    assert (remembered.urls[0], 2 * MIB) == (done.url, done.sent)
    assert ["Resumed", "Finished"] == told.story
    assert Resumed(url=done.url, size=3 * MIB, offset=MIB, parts=1) == told.of(Resumed)[0]
    assert [] == await store.list()


async def test_another_run_finds_one_whose_creation_was_never_answered(
    toy: Toy, store: UrlStore, make_file: Make, told: Told
) -> None:
    """By its key, which was written down before."""
    toy.knows_keys = True
    toy.on("POST", swallows, says(503, Retry_After="3600"))
    path = make_file(2 * MIB)

    def tell(event: Event) -> None:
        if isinstance(event, Retrying) and event.status == 503:
            task.cancel()

    async with Client(toy.url, store=store) as client:
        task = asyncio.ensure_future(client.upload(path, on_event=tell))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (None,) == (await store.list())[0].urls
        done = await client.upload(path)
    assert ["/files/0"] == list(toy.uploads)
    assert path.read_bytes() == toy.uploads["/files/0"]
    assert done.url.endswith("/files/0")


async def test_another_run_does_not_take_one_that_is_called_otherwise(
    toy: Toy, store: UrlStore, make_file: Make
) -> None:
    """A key stands for all that was asked for; with other metadata it is another one."""
    toy.knows_keys = True
    toy.on("POST", swallows, says(403))
    path = make_file(2 * MIB)
    async with Client(toy.url, store=store) as client:
        with pytest.raises(Refused):
            await client.upload(path)
        await client.upload(path, options=Options(metadata={"who": "me"}))
    first, again, other = (each.headers["Idempotency-Key"] for each in toy.asked("POST"))
    assert first == again != other
    assert path.read_bytes() == toy.uploads["/files/1"]


async def test_another_run_begins_anew_when_the_server_has_forgotten(
    toy: Toy, store: UrlStore, make_file: Make, told: Told
) -> None:
    """404 to the first question."""
    path = make_file(3 * MIB)
    await begin(toy.url, path, store, toy)
    toy.uploads.clear()
    async with Client(toy.url, store=store) as client:
        await client.upload(path, on_event=told.append)
    assert ["Restarted", "Created", "Finished"] == told.story
    assert path.read_bytes() == toy.uploads["/files/1"]


@pytest.mark.parametrize("wrong", [{"Upload_Offset": "9999999"}, {"Upload_Length": "5"}])
async def test_another_run_begins_anew_when_it_is_another_upload(
    toy: Toy, store: UrlStore, make_file: Make, told: Told, wrong: dict[str, str]
) -> None:
    """A server that began to count anew gives one URL to two uploads: the other one is not touched."""
    path = make_file(3 * MIB)
    await begin(toy.url, path, store, toy)
    toy.on("HEAD", telling(**wrong))
    async with Client(toy.url, store=store) as client:
        await client.upload(path, on_event=told.append)
    assert ["Restarted", "Created", "Finished"] == told.story
    assert MIB == len(toy.uploads["/files/0"])
    assert path.read_bytes() == toy.uploads["/files/1"]


async def test_another_run_trusts_what_it_has_begun_itself(toy: Toy, store: UrlStore, make_file: Make) -> None:
    """Once begun anew, an upload that is another one is no leftover, but something wrong with the server."""
    path = make_file(3 * MIB)
    await begin(toy.url, path, store, toy)
    toy.on("HEAD", says(404), telling(Upload_Offset="9999999"))
    toy.on("PATCH", cuts)
    async with Client(toy.url, store=store) as client:
        with pytest.raises(Refused, match="cannot be the upload"):
            await client.upload(path)


async def test_another_run_begins_anew_when_the_file_is_another_one(
    toy: Toy, store: UrlStore, make_file: Make, told: Told
) -> None:
    """What the server has of the old one is left alone: perhaps it had arrived."""
    await begin(toy.url, make_file(3 * MIB), store, toy)
    path = make_file(3 * MIB)
    async with Client(toy.url, store=store) as client:
        await client.upload(path, on_event=told.append)
    assert ["Restarted", "Created", "Finished"] == told.story
    assert MIB == len(toy.uploads["/files/0"])
    assert path.read_bytes() == toy.uploads["/files/1"]


async def test_another_run_gives_back_what_had_arrived(toy: Toy, store: UrlStore, make_file: Make) -> None:
    """The last answer was lost, and then the process: nothing is sent twice."""
    path = make_file(3 * MIB)
    toy.on("PATCH", swallows)
    toy.on("HEAD", says(503, Retry_After="3600"))
    told = Told()

    def tell(event: Event) -> None:
        if isinstance(event, Retrying) and event.status == 503:
            told.task.cancel()  # type: ignore[attr-defined]

    async with Client(toy.url, store=store) as client:
        told.task = asyncio.ensure_future(client.upload(path, on_event=tell))
        with pytest.raises(asyncio.CancelledError):
            await told.task
        toy.requests.clear()
        done = await client.upload(path)
    assert "HEAD" == toy.methods
    assert (3 * MIB, 0) == (done.size, done.sent)


async def test_another_run_knows_of_all_that_was_created_before_a_cancellation(
    toy: Toy, store: UrlStore, make_file: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of what was still to be written down when it came."""
    remember, calls = store.remember, 0

    async def remember_slowly(stored: Stored) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            await asyncio.Event().wait()
        await remember(stored)

    monkeypatch.setattr(store, "remember", remember_slowly)

    async with Client(toy.url, store=store, options=Options(parallel=3)) as client:
        uploader = client.uploader(make_file(9 * MIB))
        running = asyncio.create_task(uploader.run())

        async def all_are_created() -> bool:
            return calls == 2 and all(lane.url for lane in uploader._lanes)

        await until(all_are_created)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    (begun,) = await store.list()
    assert None not in begun.urls


async def test_another_run_is_refused_once_and_then_free(toy: Toy, store: UrlStore, make_file: Make) -> None:
    """What was rejected is forgotten: a server may think better of it."""
    path = make_file(3 * MIB)
    toy.on("PATCH", says(410, "ERR_UPLOAD_REJECTED: no"))
    async with Client(toy.url, store=store) as client:
        with pytest.raises(Refused):
            await client.upload(path)
        assert [] == await store.list()


async def test_another_run_goes_on_after_a_refusal_of_the_token(toy: Toy, store: UrlStore, make_file: Make) -> None:
    """What was refused for another reason can be mended."""
    path = make_file(3 * MIB)
    toy.on("PATCH", normal, *[says(401)] * 4)
    async with Client(toy.url, store=store, options=Options(chunk_size=MIB)) as client:
        with pytest.raises(Refused):
            await client.upload(path)
        done = await client.upload(path)
    assert 2 * MIB == done.sent


async def test_two_clients_do_not_upload_the_same_file(toy: Toy, store: UrlStore, make_file: Make) -> None:
    """To the same server: the second is told at once."""
    path = make_file(2 * MIB)
    async with Client(toy.url, store=store) as client, Client(toy.url, store=UrlStore(store.path)) as other:
        uploader = client.uploader(path, on_event=lambda event: uploader.pause())
        running = asyncio.ensure_future(uploader.run())

        async def has_begun() -> bool:
            return uploader.paused

        await until(has_begun)
        with pytest.raises(SourceBusy):
            await other.upload(path)
        uploader.resume()
        uploader._tell = lambda event: None
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await other.upload(path)


async def test_a_file_that_changes_is_removed_and_forgotten(
    server: Target, client: Plain, store: UrlStore, make_file: Make, told: Told
) -> None:
    """Halfway: the server has it no more, and the next run begins anew."""
    path = make_file(6 * MIB)

    def change(event: Event) -> None:
        told.append(event)
        if isinstance(event, Progress) and len(told.of(Progress)) == 1:
            os.utime(path, ns=(1, 1))

    async with Client(server.url, store=store, options=Options(limit_rate=12 * MIB)) as uploading:
        with pytest.raises(SourceChanged, match="was changed while it was read"):
            await uploading.upload(path, on_event=change)
    assert 404 == (await client.head(told.of(Created)[0].url)).status
    assert [] == await store.list()


async def test_what_was_refused_at_once_is_not_remembered(toy: Toy, store: UrlStore, make_file: Make) -> None:
    """There is nothing on the server that another run could go on with."""
    toy.always("POST", says(403))
    async with Client(toy.url, store=store) as client:
        with pytest.raises(Refused):
            await client.upload(make_file(MIB))
    assert [] == await store.list()
