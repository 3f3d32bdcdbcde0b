"""Files to real servers, through whatever lies between, by one process after another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.client.conftest import Told
from tests.client.toy import Toy, cuts, normal, says
from tests.faults.networks.chaos import Weather, chaos
from tests.support.client import Client as Plain
from tests.support.hooked import hooked
from tests.support.proxy import Cut, CuttingProxy
from tests.support.servers import READY, Target, launch
from tests.support.waiting import until
from tusd_py.client.client import Client, upload
from tusd_py.client.errors import GaveUp, Refused, SourceUnusable
from tusd_py.client.records import Created, Event, Finished, Options, Warned
from tusd_py.client.source import FileSource
from tusd_py.client.urlstore import UrlStore
from tusd_py.models.hook import HookReply

MIB = 2**20
Make = Callable[..., Path]
QUICK = Options(retry_for=60)


async def test_a_file_arrives(server: Target, client: Plain, make_file: Make, told: Told) -> None:
    """With what it is called, whole, and as everything told it."""
    path = make_file(5 * MIB + 3)
    done = await upload(path, server.url, store=None, on_event=told.append, metadata={"who": "me"})
    assert path.read_bytes() == server.data_path(done.url).read_bytes()
    assert ["Created", "Finished"] == told.story
    assert Created(url=done.url, size=done.size, parts=1) == told.of(Created)[0]
    (finished,) = told.of(Finished)
    assert (done.url, done.size, done.sent, done.seconds, False) == (
        finished.url,
        finished.size,
        finished.sent,
        finished.seconds,
        finished.verified,
    )
    head = await client.head(done.url)
    assert "filename ZmlsbS5tcDQ=,filetype dmlkZW8vbXA0,who bWU=" == head.headers["Upload-Metadata"]


@pytest.mark.parametrize("how", Cut)
async def test_connections_that_are_cut(server: Target, make_file: Make, told: Told, how: Cut) -> None:
    """What the server had is not sent again."""
    path = make_file(6 * MIB)
    async with CuttingProxy.open(server.url) as proxy:
        for count in (200, MIB, 2 * MIB, 300):
            proxy.cut_after(count, how)
        async with Client(proxy.url, options=QUICK) as client:
            done = await client.upload(path, on_event=told.append)
        assert 4 == proxy.cut
    assert path.read_bytes() == server.data_path(done.url).read_bytes()
    assert done.sent < 10 * MIB


@pytest.mark.parametrize(
    "weather",
    [
        Weather(piece=7),
        Weather(delay=0.001, piece=16384),
        Weather(whole=True),
        Weather(rate=20_000_000),
    ],
    ids=["crumbs", "late", "buffered", "narrow"],
)
async def test_bad_weather(server: Target, make_file: Make, weather: Weather) -> None:
    """Slow, narrow, in crumbs, or through a proxy that buffers: the file arrives."""
    path = make_file(50_000 if weather.piece == 7 else 2 * MIB)
    async with chaos(server.url, lambda: weather) as proxy, Client(proxy.url, options=QUICK) as client:
        done = await client.upload(path)
    assert path.read_bytes() == server.data_path(done.url).read_bytes()


async def test_answers_that_do_not_come_back(server: Target, make_file: Make) -> None:
    """The way back breaks after a few bytes, again and again: nothing is lost, and nothing is there twice."""
    path = make_file(3 * MIB)
    answers = iter([0, 100, 250, 300, 400, 500, 600])
    options = Options(retry_for=60, chunk_size=MIB)
    async with (
        chaos(server.url, lambda: Weather(answers=next(answers, None))) as proxy,
        Client(proxy.url, options=options) as client,
    ):
        done = await client.upload(path)
    assert path.read_bytes() == server.data_path(done.url).read_bytes()


async def test_a_server_that_is_killed_and_comes_back(tmp_path: Path, make_file: Make, told: Told) -> None:
    """Kill -9 in the middle; on the same data directory it goes on, and the file arrives whole."""
    path, data_dir = make_file(8 * MIB), tmp_path / "data"

    async def start(port: int) -> tuple[asyncio.subprocess.Process, Target]:
        child = await launch(data_dir, port=port, checkpoint_bytes=MIB)
        stack.push_async_callback(kill, child)
        assert child.stdout is not None
        line = (await child.stdout.readline()).decode()
        assert line.startswith(READY), line
        return child, Target(line.removeprefix(READY).strip(), data_dir, "process", process=child)

    async def kill(child: asyncio.subprocess.Process) -> None:
        if child.returncode is None:
            child.kill()
        # Not `wait` alone: nobody reads what it says.
        await child.communicate()

    async with contextlib.AsyncExitStack() as stack:
        first, target = await start(0)
        async with Client(target.url, options=Options(limit_rate=16 * MIB, retry_for=60)) as client:
            running = asyncio.ensure_future(client.upload(path, on_event=told.append))

            async def has_some() -> bool:
                return bool(told.of(Created)) and target.stored(told.of(Created)[0].url) >= 2 * MIB

            await until(has_some)
            await kill(first)
            _, target = await start(target.port)
            done = await running
        assert path.read_bytes() == target.data_path(done.url).read_bytes()
    assert ["Created", "Finished"] == [name for name in told.story if name != "Retrying"]
    assert done.sent < 16 * MIB


@pytest.mark.parametrize("loses", [False, True], ids=["answered", "answer-lost"])
async def test_an_application_that_rejects_what_has_arrived(
    tmp_path: Path, make_file: Make, told: Told, loses: bool
) -> None:
    """What it says is told, also when the answer to the last byte was lost; nothing is begun anew."""
    path = make_file(3 * MIB)
    async with hooked(tmp_path / "data") as server, CuttingProxy.open(server.target.url) as proxy:
        server.app.says("pre-finish", HookReply(refuses=True, body="there is a virus in it"))
        door = server.app.door("pre-finish")
        async with Client(proxy.url, options=QUICK) as client:
            running = asyncio.create_task(client.upload(path, on_event=told.append))
            await server.app.has("pre-finish")
            if loses:
                proxy.cut_now()
            door.open()
            with pytest.raises(Refused, match="virus"):
                await running
        assert 1 == len(server.app.events("pre-create"))
    assert "Restarted" not in told.story


@pytest.mark.parametrize("trouble", ["read-only", "garbage"])
async def test_no_upload_fails_for_its_store(
    toy: Toy, store: UrlStore, make_file: Make, told: Told, trouble: str
) -> None:
    """It is told once, and the file arrives."""
    if trouble == "garbage":
        store.path.parent.mkdir(parents=True)
        store.path.write_bytes(b"no database" * 1000)
    else:
        store.path.parent.parent.mkdir(parents=True)
        store.path.parent.write_bytes(b"")
    path = make_file(2 * MIB)
    async with Client(toy.url, store=store) as client:
        await client.upload(path, on_event=told.append)
    assert ["Warned", "Created", "Finished"] == told.story
    assert "another run could not go on" in told.of(Warned)[0].reason
    assert path.read_bytes() == toy.uploads["/files/0"]


async def test_a_store_that_breaks_meanwhile(toy: Toy, store: UrlStore, make_file: Make, told: Told) -> None:
    """As well."""

    def breaking(toy: Toy, request: Any) -> Any:
        store.path.write_bytes(b"no database" * 1000)
        return toy.answer(request)

    toy.on("POST", breaking)
    async with Client(toy.url, store=store) as client:
        await client.upload(make_file(2 * MIB), on_event=told.append)
    assert ["Warned", "Created", "Finished"] == told.story


async def test_the_users_own_store(toy: Toy, make_file: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`upload` remembers by itself: a second call goes on with what the first has begun."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = make_file(2 * MIB)
    toy.on("PATCH", normal, says(403))
    with pytest.raises(Refused):
        await upload(path, toy.url, chunk_size=MIB)
    done = await upload(path, toy.url)
    assert MIB == done.sent


async def test_no_home_to_remember_in(toy: Toy, make_file: Make, monkeypatch: pytest.MonkeyPatch, told: Told) -> None:
    """A daemon without one uploads all the same."""
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)

    def homeless() -> Path:
        raise RuntimeError("no home directory")

    monkeypatch.setattr(Path, "home", homeless)
    await upload(make_file(1), toy.url, on_event=told.append)
    assert ["Warned", "Created", "Finished"] == told.story


async def test_a_server_that_is_not_there(make_file: Make, told: Told) -> None:
    """It is waited for as long as was allowed."""
    async with Toy.open() as toy:
        url = toy.url
    with pytest.raises(GaveUp, match="refused"):
        await upload(make_file(1), url, store=None, on_event=told.append, retry_for=0.2)
    assert {"Retrying"} == set(told.story)


async def test_one_client_for_many_files(toy: Toy, make_file: Make) -> None:
    """The server is asked once what it can do."""
    async with Client(toy.url) as client:
        await asyncio.gather(*(client.upload(make_file(10, f"{number}")) for number in range(5)))
    assert 1 == len(toy.asked("OPTIONS"))
    assert 5 == len(toy.uploads)


async def test_a_session_of_ones_own_stays_open(toy: Toy, make_file: Make) -> None:
    """It is its owner's."""
    async with aiohttp.ClientSession() as session:
        async with Client(toy.url, session=session) as client:
            await client.upload(make_file(1))
        assert not session.closed


async def test_a_source_of_ones_own_stays_open(toy: Toy, make_file: Make) -> None:
    """It is closed by whoever opened it."""
    source = await FileSource.open(make_file(5))
    async with Client(toy.url) as client:
        await client.upload(source)
    source.check()
    await source.close()


async def test_snapshots(toy: Toy, make_file: Make) -> None:
    """Before, nothing is known; afterwards, everything is there."""
    async with Client(toy.url) as client:
        uploader = client.uploader(make_file(2 * MIB))
        assert (0, None, 0) == (uploader.offset, uploader.size, uploader.sent)
        await uploader.run()
        assert (2 * MIB,) * 3 == (uploader.offset, uploader.size, uploader.sent)


async def test_terminating(toy: Toy, make_file: Make) -> None:
    """Once or twice: it is gone."""
    async with Client(toy.url, options=QUICK) as client:
        done = await client.upload(make_file(1))
        toy.on("DELETE", cuts, says(503))
        await client.terminate(done.url)
        await client.terminate(done.url)
        assert {} == toy.uploads
        toy.on("DELETE", says(403, "it stays"))
        with pytest.raises(Refused, match="it stays"):
            await client.terminate(done.url)


async def test_a_file_that_is_not_there(toy: Toy, tmp_path: Path) -> None:
    """Nobody is asked anything."""
    async with Client(toy.url) as client:
        with pytest.raises(SourceUnusable):
            await client.upload(tmp_path / "missing")
    assert "" == toy.methods


@pytest.mark.parametrize(
    "wrong",
    [
        {"parallel": 0},
        {"parallel": 65},
        {"chunk_size": 0},
        {"limit_rate": -1},
        {"retry_for": 0.0},
        {"network_timeout": float("nan")},
        {"metadata": {"a b": "c"}},
        {"metadata": {"": "c"}},
        {"headers": {"a b": "c"}},
    ],
)
async def test_options_that_cannot_be(toy: Toy, wrong: dict[str, Any]) -> None:
    """Said before anything is begun."""
    with pytest.raises(ValueError):
        Client(toy.url, options=Options(**wrong))
    with pytest.raises(ValueError):
        Client("ftp://example.org/")


async def test_what_a_listener_raises_is_not_swallowed(toy: Toy, make_file: Make) -> None:
    """A mistake in it is its owner's to see."""

    def listen(event: Event) -> None:
        raise LookupError("a mistake")

    async with Client(toy.url) as client:
        with pytest.raises(LookupError, match="a mistake"):
            await client.upload(make_file(1), on_event=listen)
