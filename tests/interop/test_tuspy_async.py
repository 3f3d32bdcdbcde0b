"""tuspy's AsyncUploader against our server."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from tests.interop.arrival import assert_arrived, location_of, until_committed
from tests.interop.leftovers import LEAVES_FILES_OPEN
from tests.interop.mounts import Member, Mount
from tests.support.proxy import Cut, CuttingProxy

tusclient = pytest.importorskip("tusclient.client", reason="NOT RUN: needs tuspy")
exceptions = pytest.importorskip("tusclient.exceptions")

pytestmark = LEAVES_FILES_OPEN

CLIENT = "tuspy"
MIB = 2**20


async def uploader_of(server: Mount, path: Path, base: str | None = None, **options: Any) -> Any:
    """Return an uploader, maybe on another way than the direct one; it asks for its offset without async."""
    client = tusclient.TusClient(base or server.url, headers=dict(server.headers))
    return await asyncio.to_thread(lambda: client.async_uploader(str(path), **options))


@pytest.mark.parametrize("chunk_size", [MIB, 1_000_003, 8 * MIB], ids=["even", "odd", "one request"])
async def test_chunks(client: Member, server: Mount, file: Path, chunk_size: int) -> None:
    """A file arrives in as many requests as the client likes. (protocol 14, CORE-PATCH-01)"""
    uploader = await uploader_of(server, file, chunk_size=chunk_size, metadata={"filename": "film.bin"})
    await uploader.upload()
    location = await assert_arrived(client, server, uploader.url, file)
    assert (await client.head(location)).headers["Upload-Metadata"] == "filename ZmlsbS5iaW4="


async def test_checksums(client: Member, server: Mount, file: Path) -> None:
    """Every chunk with its SHA-1 is taken. (protocol 14, CHK-01)"""
    uploader = await uploader_of(server, file, chunk_size=MIB, upload_checksum=True)
    await uploader.upload()
    await assert_arrived(client, server, uploader.url, file)


async def test_empty_file(client: Member, server: Mount, tmp_path: Path) -> None:
    """A file of no bytes is finished by its creation. (CRE-POST-07)"""
    path = tmp_path / "empty"
    path.touch()
    uploader = await uploader_of(server, path)
    await uploader.upload()
    await assert_arrived(client, server, uploader.url, path)


@pytest.mark.parametrize("how", list(Cut), ids=lambda how: how.name)
async def test_cut_and_resumed(client: Member, server: Mount, proxy: CuttingProxy, file: Path, how: Cut) -> None:
    """Another uploader that is given the URL goes on where the first was cut. (I1, I3)"""
    proxy.cut_after(2 * MIB, how)
    first = await uploader_of(server, file, proxy.url, chunk_size=8 * MIB)
    with pytest.raises(exceptions.TusUploadFailed):
        await first.upload()
    location = location_of(client, first.url)
    await until_committed(client, location)
    second = await uploader_of(server, file, url=location, chunk_size=MIB)
    assert 0 < second.offset <= 2 * MIB
    await second.upload()
    await assert_arrived(client, server, location, file)


async def test_several_at_once(client: Member, server: Mount, tmp_path: Path) -> None:
    """Uploads of several tasks do not disturb each other. (I4)"""
    files = []
    for index in range(6):
        path = tmp_path / str(index)
        path.write_bytes(os.urandom(700_000 + index))
        files.append(path)
    uploaders = [await uploader_of(server, path, chunk_size=100_000) for path in files]
    await asyncio.gather(*(uploader.upload() for uploader in uploaders))
    for path, uploader in zip(files, uploaders, strict=True):
        await assert_arrived(client, server, uploader.url, path)
