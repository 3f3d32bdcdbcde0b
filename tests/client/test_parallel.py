"""One file in several parts at once, put together by the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import Told
from tests.client.test_resuming import begin
from tests.client.toy import Rule, Toy, cuts, normal, says, swallows, taking
from tests.support.client import Client as Plain
from tests.support.proxy import CuttingProxy
from tests.support.servers import Target
from tusd_py.client.client import Client
from tusd_py.client.errors import GaveUp, Refused, SourceChanged
from tusd_py.client.pieces import split
from tusd_py.client.records import Created, Options, Resumed, Uploaded
from tusd_py.client.urlstore import UrlStore

MIB = 2**20
Make = Callable[..., Path]


async def bring(url: str, path: Path, told: Told | None = None, **options: Any) -> Uploaded:
    async with Client(url, options=Options(**{"retry_for": 60.0, "parallel": 3, **options})) as client:
        return await client.upload(path, on_event=told.append if told is not None else None)


def stored(toy: Toy, done: Uploaded) -> bytes:
    return bytes(toy.uploads["/files/" + done.url.rsplit("/", 1)[1]])


@pytest.mark.parametrize(
    ("size", "parts", "ranges"),
    [
        (0, 3, [(0, 0)]),
        (1, 3, [(0, 1)]),
        (MIB, 2, [(0, MIB)]),
        (MIB + 1, 2, [(0, MIB), (MIB, MIB + 1)]),
        (2 * MIB + 1, 64, [(0, MIB), (MIB, 2 * MIB), (2 * MIB, 2 * MIB + 1)]),
        (10 * MIB, 3, [(0, 3 * MIB), (3 * MIB, 6 * MIB), (6 * MIB, 10 * MIB)]),
    ],
)
def test_parts_are_whole_mebibytes(size: int, parts: int, ranges: list[tuple[int, int]]) -> None:
    """All but the last; so many as there are come out again when they are asked for."""
    assert ranges == split(size, parts)
    assert ranges == split(size, len(ranges))


async def test_a_file_arrives_in_parts(server: Target, client: Plain, make_file: Make, told: Told) -> None:
    """With its metadata at the whole and at each part, for servers that look at it."""
    path = make_file(7 * MIB + 5)
    done = await bring(server.url, path, told, checksum=True)
    assert path.read_bytes() == server.data_path(done.url).read_bytes()
    assert (path.stat().st_size, path.stat().st_size) == (done.size, done.sent)
    assert ["Created", "Finished"] == told.story
    (created,) = told.of(Created)
    assert 3 == created.parts
    part, whole = await client.head(created.url), await client.head(done.url)
    assert "partial" == part.headers["Upload-Concat"]
    assert whole.headers["Upload-Concat"].startswith("final;")
    assert part.headers["Upload-Metadata"] == whole.headers["Upload-Metadata"]


async def test_connections_that_are_cut(server: Target, make_file: Make) -> None:
    """Each part goes on by itself."""
    path = make_file(6 * MIB)
    async with CuttingProxy.open(server.url) as proxy:
        for count in (300, MIB, MIB // 2, 10, MIB):
            proxy.cut_after(count)
        done = await bring(proxy.url, path)
        assert 5 == proxy.cut
    assert path.read_bytes() == server.data_path(done.url).read_bytes()


@pytest.mark.parametrize(
    "trouble", [swallows, cuts, says(503), says(423), says(401), says(302, Location="/login"), says(200, "<html>")]
)
async def test_putting_together_is_tried_again(toy: Toy, make_file: Make, trouble: Rule) -> None:
    """By the same key: a server that knows it does not do it twice."""
    toy.knows_keys = True
    toy.on("POST", normal, normal, normal, trouble)
    path = make_file(3 * MIB)
    done = await bring(toy.url, path)
    assert path.read_bytes() == stored(toy, done)
    assert 4 == len(toy.uploads)


async def test_a_part_that_is_lost_before_the_end_is_brought_again(toy: Toy, make_file: Make, told: Told) -> None:
    """404 to the final POST: each part is looked for."""

    def lose_one(toy: Toy, request: Any) -> Any:
        del toy.uploads["/files/1"]
        return toy.answer(request)

    toy.on("POST", normal, normal, normal, lose_one)
    path = make_file(3 * MIB)
    done = await bring(toy.url, path, told)
    assert path.read_bytes() == stored(toy, done)
    assert ["Created", "Restarted", "Finished"] == told.story
    assert 4 == len([each for each in toy.asked("PATCH") if each.body])


async def test_parts_that_are_lost_for_ever(toy: Toy, make_file: Make) -> None:
    """It ends."""

    def never(toy: Toy, request: Any) -> Any:
        return says(404)(toy, request) if "final" in request.headers["Upload-Concat"] else toy.answer(request)

    toy.always("POST", never)
    with pytest.raises(GaveUp, match="again and again"):
        await bring(toy.url, make_file(3 * MIB))


async def test_the_first_failure_stops_the_others(toy: Toy, make_file: Make) -> None:
    """And is what is raised, as it is; nothing runs on afterwards."""
    toy.on("PATCH", normal, says(403, "no more"), *[says(503, Retry_After="3600")] * 10)
    with pytest.raises(Refused, match=r"^no more$"):
        await bring(toy.url, make_file(9 * MIB), chunk_size=MIB)
    others = asyncio.all_tasks() - {asyncio.current_task()} - toy._tasks
    assert not [task for task in others if "Lane" in repr(task)]


async def test_a_server_that_cannot_put_together_gets_one(make_file: Make, told: Told) -> None:
    """In one request."""
    async with Toy.open(extensions="creation") as toy:
        path = make_file(4 * MIB)
        done = await bring(toy.url, path, told)
        assert "OPTIONS POST PATCH" == toy.methods
        assert path.read_bytes() == stored(toy, done)
        assert "Upload-Concat" not in toy.asked("POST")[0].headers


async def test_small_parts_go_with_their_creation(toy: Toy, make_file: Make) -> None:
    """The last one may be."""
    path = make_file(MIB + 5)
    done = await bring(toy.url, path)
    assert path.read_bytes() == stored(toy, done)
    assert 1 == len(toy.asked("PATCH"))


@pytest.mark.parametrize("parallel", [1, 3, 5])
async def test_another_run_goes_on_with_the_parts_there_are(
    toy: Toy, store: UrlStore, make_file: Make, told: Told, parallel: int
) -> None:
    """However many it was told to make."""
    path = make_file(9 * MIB)
    await begin(toy.url, path, store, toy, parallel=3)
    (remembered,) = await store.list()
    assert 3 == len(remembered.urls)
    had = sum(map(len, toy.uploads.values()))
    async with Client(toy.url, store=store, options=Options(parallel=parallel)) as client:
        done = await client.upload(path, on_event=told.append)
    assert path.read_bytes() == stored(toy, done)
    assert 9 * MIB - had == done.sent
    assert Resumed(url=str(remembered.urls[0]), size=9 * MIB, offset=had, parts=3) == told.of(Resumed)[0]
    assert 1 == len(toy.asked("POST"))
    assert [] == await store.list()


async def test_another_run_goes_on_with_the_only_part_there_is(toy: Toy, store: UrlStore, make_file: Make) -> None:
    """One that was begun whole stays whole."""
    path = make_file(4 * MIB)
    await begin(toy.url, path, store, toy)
    async with Client(toy.url, store=store, options=Options(parallel=4)) as client:
        await client.upload(path)
    assert "OPTIONS HEAD PATCH" == toy.methods


async def test_one_part_that_vanishes_is_begun_anew_alone(toy: Toy, make_file: Make, told: Told) -> None:
    """The others stay."""

    def lose_own(toy: Toy, request: Any) -> Any:
        del toy.uploads[request.path]
        return toy.answer(request)

    toy.on("PATCH", normal, lose_own)
    path = make_file(3 * MIB)
    done = await bring(toy.url, path, told)
    assert path.read_bytes() == stored(toy, done)
    assert 1 == len([name for name in told.story if name == "Restarted"])


async def test_a_file_that_changes_takes_all_its_parts_with_it(toy: Toy, make_file: Make) -> None:
    """Nothing of it stays on the server."""
    path = make_file(3 * MIB)

    def change(toy: Toy, request: Any) -> Any:
        path.write_bytes(b"")
        return toy.answer(request)

    toy.on("PATCH", taking(5), change)
    with pytest.raises(SourceChanged, match="shrank"):
        await bring(toy.url, path)
    assert {} == toy.uploads
