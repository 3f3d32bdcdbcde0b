"""aiotus 1.1, a tus client on aiohttp, against our server."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.interop.arrival import assert_arrived, location_of
from tests.interop.mounts import Member, Mount
from tests.support.proxy import Cut, CuttingProxy

aiotus = pytest.importorskip("aiotus", reason="NOT RUN: needs aiotus")

# aiotus sends each chunk as bytes.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")

CLIENT = "aiotus"
MIB = 2**20
AT_ONCE = aiotus.RetryConfiguration(retry_attempts=10, max_retry_period_seconds=0)


@pytest.fixture
async def own_session() -> AsyncIterator[aiohttp.ClientSession]:
    """A session for aiotus: its connections go with the proxy they lead to."""
    async with aiohttp.ClientSession() as session:
        yield session


async def upload(session: Any, server: Mount, path: Path, base: str | None = None, **options: Any) -> str:
    """Upload a file with aiotus, maybe on another way than the direct one, and return its URL."""
    with path.open("rb") as stream:
        url = await aiotus.upload(
            base or server.url, stream, client_session=session, config=AT_ONCE, headers=server.headers, **options
        )
    assert url is not None
    return str(url)


@pytest.mark.parametrize("chunk_size", [MIB, 1_000_003, 8 * MIB], ids=["even", "odd", "one request"])
async def test_chunks(
    client: Member, server: Mount, own_session: aiohttp.ClientSession, file: Path, chunk_size: int
) -> None:
    """A file arrives in as many requests as the client likes. (protocol 14, CORE-PATCH-01)"""
    url = await upload(own_session, server, file, chunksize=chunk_size)
    await assert_arrived(client, server, url, file)


async def test_metadata(server: Mount, own_session: aiohttp.ClientSession, file: Path) -> None:
    """Metadata is read back by the client as it was sent, values that are missing included. (CRE-META-01)"""
    metadata = {"filename": "s\u0142o\u0144ce".encode(), "marked": None}
    url = await upload(own_session, server, file, metadata=metadata)
    assert await aiotus.metadata(url, own_session, AT_ONCE, server.headers) == metadata


async def test_empty_file(client: Member, server: Mount, own_session: aiohttp.ClientSession, tmp_path: Path) -> None:
    """A file of no bytes is finished by its creation. (CRE-POST-07)"""
    path = tmp_path / "empty"
    path.touch()
    await assert_arrived(client, server, await upload(own_session, server, path), path)


@pytest.mark.parametrize("chunk_size", [MIB, 8 * MIB], ids=["chunks", "one request"])
@pytest.mark.parametrize("how", list(Cut), ids=lambda how: how.name)
async def test_cut(
    client: Member,
    server: Mount,
    proxy: CuttingProxy,
    own_session: aiohttp.ClientSession,
    *,
    file: Path,
    how: Cut,
    chunk_size: int,
) -> None:
    """Connections that are cut cost nothing but retries: aiotus asks for the offset and goes on there. (I1, I3, I4)"""
    for count in (300_000, 400_000, 500_000):
        proxy.cut_after(count, how)
    url = await upload(own_session, server, file, proxy.url, chunksize=chunk_size)
    assert proxy.cut == 3
    await assert_arrived(client, server, url, file)


@pytest.mark.parametrize("cuts", [0, 2], ids=["whole", "cut"])
async def test_parts(
    client: Member, server: Mount, proxy: CuttingProxy, own_session: aiohttp.ClientSession, *, file: Path, cuts: int
) -> None:
    """Four parts at the same time become one file with the metadata of the whole, cut or not. (CAT-01, CAT-04, I3)"""
    content = file.read_bytes()
    step = -(-len(content) // 4)
    for _ in range(cuts):
        proxy.cut_after(300_000)
    url = await aiotus.upload_multiple(
        proxy.url,
        [io.BytesIO(content[at : at + step]) for at in range(0, len(content), step)],
        {"filename": b"film.bin"},
        client_session=own_session,
        config=AT_ONCE,
        headers=server.headers,
        parallel_uploads=4,
    )
    assert proxy.cut == cuts
    location = await assert_arrived(client, server, str(url), file)
    head = await client.head(location)
    assert head.headers["Upload-Concat"].startswith("final;")
    assert head.headers["Upload-Metadata"] == "filename ZmlsbS5iaW4="


async def test_several_at_once(client: Member, server: Mount, own_session: aiohttp.ClientSession, file: Path) -> None:
    """Uploads of several tasks do not disturb each other. (I4)"""
    urls = await asyncio.gather(*(upload(own_session, server, file, chunksize=500_000) for _ in range(5)))
    assert len({location_of(client, url) for url in urls}) == 5
    for url in urls:
        await assert_arrived(client, server, url, file)
