"""Concatenation: what goes wrong in the middle leaves no final upload, and parts that can be used again."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.support.client import Client, chunked
from tests.support.disks import small_disk
from tests.support.latency import slowest_head
from tests.support.servers import Target, process, serve
from tests.support.timed import STORES, Timed, name_of, timed
from tests.support.waiting import until
from tusd_py.errors import DataLost, InsufficientStorage

MIB = 1024 * 1024
PART = {"Upload_Concat": "partial"}


@pytest.fixture(params=STORES)
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Timed]:
    """A server whose copying can be made to fail."""
    async with timed(request.param, tmp_path) as house:
        yield house


@pytest.fixture
def guest(session: aiohttp.ClientSession, house: Timed) -> Client:
    """A client of that server."""
    return Client(session, house.url)


async def big_part(client: Client, size: int) -> tuple[str, str]:
    """Upload a partial upload of random bytes, repeated; return its URL and the digest of its content."""
    piece = os.urandom(MIB)
    url = await client.create(size, **PART)
    count = size // MIB
    answer = await client.patch(url, 0, chunked(*[piece] * count))
    assert (answer.status, answer.offset) == (204, size)
    return url, await asyncio.to_thread(digest_of, piece, count)


def digest_of(piece: bytes, count: int) -> str:
    """Return the digest of a piece repeated."""
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update(piece)
    return digest.hexdigest()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InsufficientStorage(), 507),
        (OSError(5, "Input/output error"), 500),
        (DataLost(), 404),
        (RuntimeError("a bug"), 500),
    ],
    ids=["full", "broken", "part-lost", "bug"],
)
async def test_failing_copy(house: Timed, guest: Client, error: Exception, status: int) -> None:
    """A copy that fails leaves neither row nor data of the final upload; the next attempt works (CAT-20)."""
    parts = [await guest.upload(data, **PART) for data in (b"abc", b"def")]
    house.data.copying.error = error
    answer = await guest.post({"Upload-Concat": "final;" + " ".join(parts)})
    assert answer.status == status
    assert "Location" not in answer.headers
    assert await house.stored() == await house.rows() == {name_of(part) for part in parts}
    assert not house.engine._ctx.pins
    assert [(await guest.get(part)).body for part in parts] == [b"abc", b"def"]
    final = (await guest.post({"Upload-Concat": "final;" + " ".join(parts)})).headers["Location"]
    assert (await guest.get(final)).body == b"abcdef"


async def test_nothing_to_see_while_copying(house: Timed, guest: Client) -> None:
    """Until it is whole a final upload is unknown, and its parts can be read but not removed (CAT-20, CONC-11)."""
    parts = [await guest.upload(data, **PART) for data in (b"abc", b"def")]
    house.data.copying.shut()
    joining = asyncio.create_task(guest.post({"Upload-Concat": "final;" + " ".join(parts)}))
    await house.data.copying.knocked.wait()
    (name,) = await house.rows() - {name_of(part) for part in parts}
    answers = [await guest.head(house.url + name), await guest.get(house.url + name)]
    answers += [await guest.patch(house.url + name, 0, b"x"), await guest.delete(house.url + name)]
    assert [answer.status for answer in answers] == [404, 404, 404, 404]
    assert [(await guest.get(part)).body for part in parts] == [b"abc", b"def"]
    refused = await guest.delete(parts[0])
    assert (refused.status, refused.headers["Retry-After"]) == (423, "1")
    house.data.copying.open()
    assert (await joining).headers["Location"] == house.url + name
    assert (await guest.get(house.url + name)).body == b"abcdef"
    assert (await guest.delete(parts[0])).status == 204


async def test_client_gone_while_copying(house: Timed, guest: Client) -> None:
    """A client that does not wait for the answer stops nothing half-way: the final becomes whole (CAT-20)."""
    part = await guest.upload(b"abc", **PART)
    house.data.copying.shut()
    joining = asyncio.create_task(guest.post({"Upload-Concat": f"final;{part}"}))
    await house.data.copying.knocked.wait()
    joining.cancel()
    await asyncio.wait([joining])
    house.data.copying.open()
    (name,) = await house.rows() - {name_of(part)}
    await until(lambda: _is_finished(house, name))
    assert (await guest.get(house.url + name)).body == b"abc"
    assert not house.engine._ctx.pins


async def test_killed_while_copying(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    """After SIGKILL in the middle of a copy there is no final upload, the parts are whole, and asking again works
    (CAT-20, I7).
    """
    data_dir = tmp_path / "data"
    async with process(data_dir) as target:
        client = Client(session, target.url)
        url, digest = await big_part(client, 64 * MIB)
        part = target.data_path(url)
        joining = asyncio.create_task(client.post({"Upload-Concat": "final;" + " ".join([url] * 64)}))
        await until(lambda: _has_more(data_dir, part))
        assert target.process is not None
        target.process.kill()
        await target.process.wait()
        with contextlib.suppress(aiohttp.ClientError):
            assert (await joining).status == 0, "the copy was done before the server was killed"
    (left,) = files(data_dir) - {part}
    async with process(data_dir) as target:
        client = Client(session, target.url)
        assert (await client.head(target.url + left.name)).status == 404
        assert (await client.get(target.url + left.name)).status == 404
        assert files(data_dir) == {part}
        url = target.url + part.name
        assert await client.offset(url) == 64 * MIB
        assert await download_digest(client, url) == digest
        answer = await client.post({"Upload-Concat": f"final;{url}"})
        assert answer.status == 201
        assert await download_digest(client, answer.headers["Location"]) == digest


async def test_disk_full_while_copying(mode: str, client_of: Callable[[Target], Client], tmp_path: Path) -> None:
    """A concatenation that does not fit is 507, leaves nothing, and a smaller one works then (CAT-20, I8)."""
    with small_disk(tmp_path / "disk", "32m") as disk:
        async with serve(mode, disk / "data") as target:
            client = client_of(target)
            url = await client.create(8 * MIB, **PART)
            await client.patch(url, 0, io.BytesIO(bytes(8 * MIB)))
            refused = await client.post({"Upload-Concat": f"final;{url} {url} {url}"})
            assert (refused.status, refused.code) == (507, "ERR_INSUFFICIENT_STORAGE")
            assert "Location" not in refused.headers
            assert files(target.data_dir) == {target.data_path(url)}
            assert await client.offset(url) == 8 * MIB
            final = (await client.post({"Upload-Concat": f"final;{url}"})).headers["Location"]
            assert (await client.get(final)).body == bytes(8 * MIB)


async def test_copying_blocks_nobody(client: Client) -> None:
    """While 256 MiB are copied, HEADs on another upload take less than 100 ms (CAT-19)."""
    other = await client.create(10)
    url, _ = await big_part(client, 64 * MIB)

    async def join() -> None:
        answer = await client.post({"Upload-Concat": "final;" + " ".join([url] * 4)})
        assert answer.status == 201
        assert await client.offset(answer.headers["Location"]) == 256 * MIB
        assert (await client.delete(answer.headers["Location"])).status == 204

    # The bound belongs to the row.
    assert await slowest_head(client, other, join) < 0.1
    await client.delete(url)


def files(data_dir: Path) -> set[Path]:
    """Return all data files."""
    return set((data_dir / "uploads").glob("*/*"))


async def download_digest(client: Client, url: str) -> str:
    """Return the digest of what GET returns."""
    digest = hashlib.sha256()
    async with client.session.get(url) as response:
        assert response.status == 200
        async for piece in response.content.iter_any():
            digest.update(piece)
    return digest.hexdigest()


async def _has_more(data_dir: Path, part: Path) -> bool:
    return any(os.path.getsize(path) > MIB for path in files(data_dir) - {part})


async def _is_finished(house: Timed, name: str) -> bool:
    upload = await house.info.get(name)
    return upload is not None and upload.is_finished
