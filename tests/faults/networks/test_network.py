"""T8: connections that break at every place, answers that get lost, proxies that hurt (reliability 6.3)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.faults.actors import Cut
from tests.faults.check import Crowd, Plan
from tests.faults.figures import Figures
from tests.faults.lives import Life, Lives, lives
from tests.faults.networks.chaos import Weather, chaos
from tests.faults.networks.network import PATIENCE, Scene, scene, vanish
from tests.faults.security.attacks import patch
from tests.support.client import Client
from tests.support.servers import WAYS_OF_BODIES
from tests.support.waiting import until
from tests.support.wire import Wire

KIB = 1024
SIZE = 64 * KIB


@pytest.fixture(scope="module")
async def them(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lives]:
    """Where the servers come from."""
    async with lives(tmp_path_factory.mktemp("network")) as them:
        yield them


@pytest.fixture(scope="module", params=WAYS_OF_BODIES)
async def life(request: pytest.FixtureRequest, them: Lives) -> Life:
    """A server, one for each way in which bodies come in."""
    return await them.begin(them.place / request.param, **WAYS_OF_BODIES[request.param], **PATIENCE)


@pytest.fixture
async def play(
    request: pytest.FixtureRequest, them: Lives, life: Life, tmp_path: Path, figures: Figures
) -> AsyncIterator[Scene]:
    """The scene of a test; it is judged when the test is over."""
    async with scene(request.node.originalname, them, life, tmp_path, figures) as played:
        yield played


async def all_of(works: Iterable[Awaitable[None]], at_once: int = 12) -> None:
    """Do a lot of things, some at a time."""
    room = asyncio.Semaphore(at_once)

    async def one(work: Awaitable[None]) -> None:
        async with room:
            await work

    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(one(work))


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_cut_at_every_kib(play: Scene, how: Cut, volume_of: Callable[[str], int]) -> None:
    """A body cut at a boundary of 1 KiB leaves exactly what was sent, and is resumed there (I3, I5)."""

    async def cut(place: int) -> None:
        key = f"{how}-{place}"
        await play.actor.create(key, SIZE)
        await play.actor.patch(key, 0, SIZE, cut=how, after=place)

        async def is_kept() -> bool:
            return (await play.actor.head(key)).offset == place

        await until(is_kept)
        await play.finish(play.actor, key, SIZE)

    step = KIB if volume_of("T8") >= 64 else 8 * KIB
    await all_of(cut(place) for place in range(0, SIZE + 1, step))


async def test_head_split_at_every_byte(
    play: Scene, session: aiohttp.ClientSession, volume_of: Callable[[str], int]
) -> None:
    """Wherever a request falls into two packets, it is the same request (I20)."""
    client = Client(session, play.life.url)
    observer = await client.create(1)

    async def split(place: int) -> None:
        url = await client.create(11)
        raw = patch(to=url.rpartition("/")[2]).replace("<host>", play.target.host).encode()
        async with await Wire.open(url) as wire:
            wire.send(raw[:place])
            await wire.flush()
            # When somebody else has been answered, the first piece has been read.
            await client.head(observer)
            wire.send(raw[place:])
            assert (await wire.answer()).status == 204
        assert play.target.data_path(url).read_bytes() == b"hello world"

    length = len(patch(to="0" * 32).replace("<host>", play.target.host))
    await all_of(split(place) for place in range(1, length, 1 if volume_of("T8") >= 64 else 16))


@pytest.mark.needs_root("half-open connections")
async def test_half_open_is_taken_over(play: Scene) -> None:
    """A client that is gone without a word does not keep its upload: the next PATCH gets it (I11)."""
    await play.actor.create("gone", SIZE)
    async with await play.begin("gone", SIZE, 20_000) as wire:
        vanish(wire)
        assert (await play.actor.patch("gone", 20_000, SIZE - 20_000)).status == 204
    await play.finish(play.actor, "gone", SIZE)


@pytest.mark.needs_root("half-open connections")
async def test_half_open_ends(play: Scene, volume_of: Callable[[str], int]) -> None:
    """Connections of clients that are gone without a word end by the network timeout; what came stays (I3, I12)."""
    keys = [f"gone-{number}" for number in range(volume_of("T8") // 4)]

    async def leave(key: str) -> None:
        await play.actor.create(key, SIZE)
        vanish(await play.begin(key, SIZE, 3000))

    await all_of(leave(key) for key in keys)
    await play.until_quiet()
    for key in keys:
        assert (await play.actor.head(key)).offset == 3000
    await all_of(play.finish(play.actor, key, SIZE) for key in keys)


@pytest.mark.parametrize("answered", [0, 1, 30])
async def test_swallowed_answers(play: Scene, answered: int) -> None:
    """Who got no answer and repeats the request is told how far it came, and nothing happens twice (I3, I4, I14)."""
    key, most = "deaf", [answered]
    async with chaos(play.life.url, lambda: Weather(answers=most[0])) as proxy:
        deaf, hearing = play.client(proxy.url), play.actor
        assert (await deaf.create("lost", 10)).status is None
        await hearing.create(key, SIZE)
        deaf.urls[key] = hearing.urls[key].replace(play.life.url, proxy.url)
        for at in (0, SIZE // 2):
            assert (await deaf.patch(key, at, SIZE // 2)).status is None

            async def is_there(at: int = at) -> bool:
                return (await hearing.head(key)).offset == at + SIZE // 2

            await until(is_there)
            again = await hearing.patch(key, at, SIZE // 2)
            assert (again.status, again.offset) == (409, at + SIZE // 2)
        most[0] = 10**9
        await play.finish(deaf, key, SIZE)


async def test_duplicates(play: Scene, volume_of: Callable[[str], int]) -> None:
    """Of many connections with the same bytes for one upload, one has them, and the others mix nothing in (I4, I10)."""

    async def race(key: str) -> None:
        await play.actor.create(key, SIZE)
        async with asyncio.TaskGroup() as group:
            for _ in range(6):
                group.create_task(play.actor.patch(key, 0, SIZE))
        await play.finish(play.actor, key, SIZE)

    await all_of(race(f"wanted-{number}") for number in range(volume_of("T8") // 5))


async def test_body_after_a_refusal(play: Scene) -> None:
    """A body that is sent although `100 Continue` was refused is no request: what it says is not done (I5)."""
    await play.actor.create("asked", 11)
    await play.actor.create("victim", 11)
    url, victim = play.actor.urls["asked"], play.actor.urls["victim"]
    smuggled = f"DELETE {urlsplit(victim).path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\n\r\n"
    async with await Wire.open(url) as wire:
        head = {"Expect": "100-continue", "Content-Length": str(len(smuggled))}
        wire.start_patch(url, 5, head)
        assert (await wire.answer()).status == 409
        wire.send(smuggled.encode())
        assert await wire.closed() == b""
    for key in ("asked", "victim"):
        assert (await play.actor.head(key)).offset == 0
        await play.finish(play.actor, key, 11)


async def test_buffering_proxy(play: Scene) -> None:
    """Behind a proxy that keeps bodies back, an upload is whole, and what it kept back for ever never was (I3)."""
    async with chaos(play.life.url, lambda: Weather(whole=True)) as proxy:
        client = play.client(proxy.url)
        await client.create("kept", SIZE)
        play.actor.urls["kept"] = client.urls["kept"].replace(proxy.url, play.life.url)
        await client.patch("kept", 0, SIZE, cut="fin", after=SIZE // 2)
        assert (await play.actor.head("kept")).offset == 0
        await play.finish(client, "kept", SIZE)


def narrow(chance: random.Random) -> Weather:
    return Weather(rate=2_000_000, piece=8192)


def slow(chance: random.Random) -> Weather:
    return Weather(delay=0.003)


def crumbs(chance: random.Random) -> Weather:
    return Weather(piece=chance.randint(1, 300))


def lossy(chance: random.Random) -> Weather:
    return Weather(answers=chance.randint(0, 400) if chance.random() < 0.2 else None)


@pytest.mark.parametrize("kind", [narrow, slow, crumbs, lossy])
async def test_weather(
    play: Scene, kind: Callable[[random.Random], Weather], volume_of: Callable[[str], int], seeds: list[int]
) -> None:
    """In any weather a crowd that cuts and races sees nothing that it should not (I3, I4, I5)."""
    for seed in seeds:
        chance = random.Random(seed)
        async with chaos(play.life.url, partial(kind, chance)) as proxy:
            plan = Plan(clients=6, uploads=4, ops=2 * volume_of("T8"), seed=seed, cut=0.2, deletes=False)
            crowd = Crowd(proxy.url, plan, play.log, play.writers)
            await crowd.work()
            play.actor.bodies |= crowd.bodies
            play.actor.urls |= crowd.actors[0].urls
