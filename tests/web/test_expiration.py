"""Expiration: unfinished uploads run out of time, nothing else is ever removed (protocol section 6)."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import StartServer
from tests.support.client import CT, Answer, Client, T
from tests.support.servers import Target
from tests.support.timed import STORES, Timed, name_of, timed
from tests.support.waiting import until
from tests.support.wire import Wire
from tusd_py.models.upload import UploadInfo, UploadKind, UploadState

PERIOD = 3600.0
DAY = 86400.0
FIXDATE = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT"
)
Methods = dict[str, Answer]


@pytest.fixture(params=STORES)
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Timed]:
    """A server whose time stands still, with uploads that live for an hour."""
    async with timed(request.param, tmp_path, expire_after=PERIOD) as house:
        yield house


@pytest.fixture
def guest(session: aiohttp.ClientSession, house: Timed) -> Client:
    """A client of that server."""
    return Client(session, house.url)


def expiry(answer: Answer) -> float:
    """Return Upload-Expires as seconds since the Unix epoch."""
    value = answer.headers["Upload-Expires"]
    assert FIXDATE.fullmatch(value), value
    return parsedate_to_datetime(value).timestamp()


async def every_method(client: Client, url: str) -> Methods:
    """Ask for an upload in every way."""
    return {
        "HEAD": await client.head(url),
        "PATCH": await client.patch(url, 0, b"x"),
        "GET": await client.get(url),
        "DELETE": await client.delete(url),
    }


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/St_Johns"])
async def test_creation_says_when(
    start_server: StartServer,
    client_of: Callable[[Target], Client],
    monkeypatch: pytest.MonkeyPatch,
    zone: str,
) -> None:
    """Upload-Expires is an IMF-fixdate a period ahead, whatever locale and zone the server has (EXP-01)."""
    monkeypatch.setenv("TZ", zone)
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    time.tzset()
    try:
        client = client_of(await start_server(expire_after="7d"))
        answer = await client.post({"Upload-Length": "10"})
        assert abs(expiry(answer) - (time.time() + 7 * DAY)) < 60
    finally:
        monkeypatch.undo()
        time.tzset()


async def test_default_period(client: Client) -> None:
    """By default an unfinished upload lives for a week (EXP-01)."""
    answer = await client.post({"Upload-Length": "10"})
    assert abs(expiry(answer) - (time.time() + 7 * DAY)) < 60


async def test_every_patch_answer_says_when(client: Client) -> None:
    """Success, conflict, oversize and mismatch all carry Upload-Expires while the upload is unfinished (EXP-02)."""
    url = await client.create(10)
    answers = [
        await client.patch(url, 0, b"hello"),
        await client.patch(url, 0, b"hello"),
        await client.patch(url, 5, b"too long"),
        await client.patch(url, 5, b"x", {"Upload-Checksum": "sha1 AAAA"}),
        await client.patch(url, 5, b"", {"Upload-Length": "11"}),
    ]
    assert [answer.status for answer in answers] == [204, 409, 413, 460, 400]
    for answer in answers:
        assert expiry(answer) > time.time()


async def test_a_finished_upload_has_no_expiry(client: Client) -> None:
    """No answer about a finished upload names an expiry (EXP-03)."""
    url = await client.create(5)
    last = await client.patch(url, 0, b"hello")
    again = await client.patch(url, 5)
    empty = await client.post({"Upload-Length": "0"})
    whole = await client.post({"Upload-Length": "5", **CT}, b"hello")
    head = await client.head(url)
    assert [answer.status for answer in (last, again, empty, whole, head)] == [204, 204, 201, 201, 200]
    for answer in (last, again, empty, whole, head):
        assert "Upload-Expires" not in answer.headers


async def test_expired_before_the_sweep(house: Timed, guest: Client) -> None:
    """From the moment of its expiry an upload is 410 for every method (EXP-04, TERM-08, CORE-HEAD-08)."""
    url = await guest.create(10)
    await guest.patch(url, 0, b"x")
    house.clock.advance(PERIOD - 1)
    assert await guest.offset(url) == 1
    house.clock.advance(1)
    for method, answer in (await every_method(guest, url)).items():
        assert (method, answer.status) == (method, 410)
        assert "Upload-Offset" not in answer.headers
        assert answer.code == "ERR_UPLOAD_EXPIRED" or method == "HEAD"
    assert await house.stored() == {name_of(url)}


async def test_swept(house: Timed, guest: Client) -> None:
    """The sweeper leaves neither data nor row; clients see 404 or 410 (EXP-05)."""
    gone, stays = await guest.create(10), await guest.create(10)
    await guest.patch(gone, 0, b"x")
    house.clock.advance(PERIOD - 1)
    await guest.patch(stays, 0, b"x")
    house.clock.advance(1)
    assert await house.sweeper.sweep() == 1
    assert await house.stored() == await house.rows() == {name_of(stays)}
    assert {answer.status for answer in (await every_method(guest, gone)).values()} <= {404, 410}
    assert await guest.offset(stays) == 1


async def test_many_are_swept_at_once(house: Timed, guest: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """More expired uploads than fit a batch all go in one sweep, those in use excepted (EXP-05, I13)."""
    monkeypatch.setattr("tusd_py.engine.expire.BATCH", 3)
    urls = [await guest.create(10) for _ in range(11)]
    for url in urls:
        await guest.patch(url, 0, b"x")
    house.clock.advance(PERIOD)
    busy = [await house.engine._ctx.locker.acquire(name_of(url), timeout=0) for url in urls[:4]]
    assert await house.sweeper.sweep() == 7
    assert await house.stored() == {name_of(url) for url in urls[:4]}
    for lock in busy:
        await lock.release()
    assert await house.sweeper.sweep() == 4
    assert await house.stored() == set()


async def test_finished_uploads_stay(house: Timed, guest: Client) -> None:
    """However old, a finished upload is served and never swept: single, final and empty ones (EXP-06, I13)."""
    part = await guest.upload(b"part", Upload_Concat="partial")
    final = await guest.post({"Upload-Concat": f"final;{part}"})
    contents = {
        await guest.upload(b"hello"): b"hello",
        await guest.create(0): b"",
        (await guest.post({"Upload-Length": "2", **CT}, b"ab")).headers["Location"]: b"ab",
        final.headers["Location"]: b"part",
    }
    house.clock.advance(1000 * DAY)
    await house.sweeper.sweep()
    for url, content in contents.items():
        assert await guest.offset(url) == len(content)
        assert (await guest.get(url)).body == content
        assert (await guest.patch(url, len(content))).status in (204, 403)
    assert await house.stored() == {name_of(url) for url in contents}


@pytest.mark.parametrize("kind", [UploadKind.SINGLE, UploadKind.FINAL])
async def test_a_finished_upload_with_a_stale_expiry_stays(house: Timed, kind: UploadKind) -> None:
    """Even if its row still names an expiry, what is finished is not swept (EXP-06, I13)."""
    upload = UploadInfo(
        id="f" * 32, kind=kind, state=UploadState.FINISHED, length=0, finished_at=1.0, expires_at=house.clock.now()
    )
    await house.data.create(upload.id, durable=False)
    await house.info.insert(upload, durable=False)
    house.clock.advance(DAY)
    assert await house.sweeper.sweep() == 0
    assert await house.stored() == {upload.id}


async def test_a_declared_length_moves_no_expiry(house: Timed, guest: Client) -> None:
    """A PATCH that only tells the length brings no bytes, so the period goes on (EXP-07)."""
    url = await guest.create(None)
    first = expiry(await guest.head(url))
    house.clock.advance(60)
    assert expiry(await guest.patch(url, 0, b"", {"Upload-Length": "10"})) == first


async def test_new_bytes_move_the_expiry(house: Timed, guest: Client) -> None:
    """A PATCH with bytes starts the period anew; HEAD, a refused one and an empty one do not (EXP-07)."""
    created = await guest.post({"Upload-Length": "10"})
    url, first = created.headers["Location"], expiry(created)
    house.clock.advance(60)
    assert expiry(await guest.head(url)) == first
    assert expiry(await guest.patch(url, 0)) == first
    assert expiry(await guest.patch(url, 7, b"x")) == first
    assert expiry(await guest.patch(url, 0, b"x")) == first + 60
    assert expiry(await guest.head(url)) == first + 60
    house.clock.advance(PERIOD - 1)
    assert await guest.offset(url) == 1
    house.clock.advance(1)
    assert (await guest.head(url)).status == 410


@pytest.mark.parametrize(("length", "offset"), [(10, 10), (20, 10)], ids=["finishes", "unfinished"])
async def test_a_running_patch_outlives_the_expiry(house: Timed, guest: Client, length: int, offset: int) -> None:
    """A PATCH that is under way when the time runs out is neither swept nor killed, and it counts (EXP-08, I13)."""
    url = await guest.create(length)
    headers = {**T, **CT, "Upload-Offset": "0", "Content-Length": "10"}
    async with await Wire.open(url) as wire:
        wire.start("PATCH", url, headers)
        wire.send(b"hello")
        await until(lambda: house.is_receiving(url))
        house.clock.advance(PERIOD + 1)
        assert await house.sweeper.sweep() == 0
        wire.send(b"world")
        answer = await wire.answer()
    assert (answer.status, answer.headers["Upload-Offset"]) == (204, str(offset))
    assert await house.sweeper.sweep() == 0
    assert await guest.offset(url) == offset


async def test_finished_partials_expire(house: Timed, guest: Client) -> None:
    """A finished partial is a piece of an unfinished file: it expires and cannot be concatenated then (EXP-09)."""
    part = await guest.upload(b"part", Upload_Concat="partial")
    empty = await guest.create(0, Upload_Concat="partial")
    house.clock.advance(PERIOD)
    refused = await guest.post({"Upload-Concat": f"final;{part}"})
    assert refused.status == 410
    assert "Location" not in refused.headers
    for url in (part, empty):
        assert (await guest.head(url)).status == 410
    assert await house.sweeper.sweep() == 2
    assert await house.stored() == await house.rows() == set()


async def test_extension_off_says_nothing(start_server: StartServer, client_of: Callable[[Target], Client]) -> None:
    """With a period of 0 the extension is not advertised and no answer has Upload-Expires (EXP-10)."""
    client = client_of(await start_server(expire_after="0"))
    assert "expiration" not in (await client.send("OPTIONS")).headers["Tus-Extension"].split(",")
    created = await client.post({"Upload-Length": "10"})
    url = created.headers["Location"]
    for answer in (created, await client.patch(url, 0, b"x"), await client.patch(url, 9), await client.head(url)):
        assert "Upload-Expires" not in answer.headers


@pytest.mark.parametrize("stores", STORES)
async def test_extension_off_removes_nothing(session: aiohttp.ClientSession, tmp_path: Path, stores: str) -> None:
    """Without the extension the oldest unfinished upload stays (EXP-10)."""
    async with timed(stores, tmp_path, expire_after=None) as house:
        client = Client(session, house.url)
        url = await client.create(10)
        house.clock.advance(1000 * DAY)
        assert await house.sweeper.sweep() == 0
        assert (await client.patch(url, 0, b"x")).offset == 1


async def test_sweep_in_the_middle(house: Timed, guest: Client) -> None:
    """While the data is being removed the upload is unknown already: nobody sees a row without data (EXP-11)."""
    url = await guest.create(10)
    house.clock.advance(PERIOD)
    house.data.removing.shut()
    sweeping = asyncio.create_task(house.sweeper.sweep())
    await house.data.removing.knocked.wait()
    # A HEAD waits for nobody; a PATCH gets in line and finds nothing either.
    head = await guest.head(url)
    patching = asyncio.create_task(guest.patch(url, 0, b"x"))
    getting = await guest.get(url)
    house.data.removing.open()
    assert await sweeping == 1
    statuses = {head.status, getting.status, (await patching).status}
    assert statuses <= {404, 410}
    assert await house.stored() == await house.rows() == set()


async def test_patch_wins_the_race(house: Timed, guest: Client) -> None:
    """A PATCH that came in time revives its upload although the sweeper had it on its list (EXP-11)."""
    url = await guest.create(10)
    house.clock.advance(PERIOD - 1)
    lock = await house.engine._ctx.locker.acquire(name_of(url), timeout=0)
    patching = asyncio.create_task(guest.patch(url, 0, b"x"))
    await until(lambda: _has_waiter(house, url))
    await lock.release()
    assert (await patching).offset == 1
    house.clock.advance(1)
    assert await house.sweeper.sweep() == 0
    assert await guest.offset(url) == 1


async def test_pinned_parts_stay(house: Timed, guest: Client) -> None:
    """A part that runs out of time while it is being copied is kept until the copy is done (I13)."""
    parts = [await guest.upload(data, Upload_Concat="partial") for data in (b"abc", b"def")]
    house.data.copying.shut()
    joining = asyncio.create_task(guest.post({"Upload-Concat": "final;" + " ".join(parts)}))
    await house.data.copying.knocked.wait()
    house.clock.advance(PERIOD)
    assert await house.sweeper.sweep() == 0
    assert {name_of(part) for part in parts} < await house.stored()
    house.data.copying.open()
    final = (await joining).headers["Location"]
    assert (await guest.get(final)).body == b"abcdef"
    assert await house.sweeper.sweep() == 2
    assert await house.stored() == {name_of(final)}


async def test_real_time(start_server: StartServer, client_of: Callable[[Target], Client]) -> None:
    """A running server removes what expired by itself, from the disk too, and keeps what is finished (EXP-05, -06)."""
    target = await start_server(expire_after="1s", sweep_interval="200ms")
    client = client_of(target)
    finished = await client.upload(b"hello")
    url = await client.create(10)
    await client.patch(url, 0, b"hello")
    assert await client.offset(url) == 5
    path = target.data_path(url)
    await until(lambda: _is_gone(path))
    assert (await client.head(url)).status in (404, 410)
    assert (await client.get(finished)).body == b"hello"


async def _is_gone(path: Path) -> bool:
    return not path.exists()


async def _has_waiter(house: Timed, url: str) -> bool:
    return bool(house.engine._ctx.locker._lines[name_of(url)].waiters)
