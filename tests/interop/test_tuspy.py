"""tuspy 1.1, the tus project's own Python client, against our server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.interop.arrival import assert_arrived, location_of, until_committed
from tests.interop.leftovers import LEAVES_FILES_OPEN
from tests.interop.mounts import Member, Mount
from tests.support.proxy import Cut, CuttingProxy

tusclient = pytest.importorskip("tusclient.client", reason="NOT RUN: needs tuspy")
storage = pytest.importorskip("tusclient.storage.filestorage", reason="NOT RUN: needs tuspy with tinydb")
exceptions = pytest.importorskip("tusclient.exceptions")
fingerprint = pytest.importorskip("tusclient.fingerprint.fingerprint")
uploaders = pytest.importorskip("tusclient.uploader")

pytestmark = LEAVES_FILES_OPEN

CLIENT = "tuspy"
MIB = 2**20


def tus_client(server: Mount, base: str | None = None) -> Any:
    """Return tuspy's client of a server, maybe on another way than the direct one."""
    return tusclient.TusClient(base or server.url, headers=dict(server.headers))


async def upload(server: Mount, path: Path, base: str | None = None, **options: Any) -> Any:
    """Upload a file with tuspy, on a thread, and return its uploader."""

    def run() -> Any:
        uploader = tus_client(server, base).uploader(str(path), **options)
        uploader.upload()
        return uploader

    return await asyncio.to_thread(run)


@pytest.mark.parametrize("chunk_size", [MIB, 1_000_003, 8 * MIB], ids=["even", "odd", "one request"])
async def test_chunks(client: Member, server: Mount, file: Path, chunk_size: int) -> None:
    """A file arrives in as many requests as the client likes. (protocol 14, CORE-PATCH-01)"""
    uploader = await upload(server, file, chunk_size=chunk_size)
    assert uploader.offset == file.stat().st_size
    await assert_arrived(client, server, uploader.url, file)


async def test_checksums(client: Member, server: Mount, file: Path) -> None:
    """Every chunk with its SHA-1 is taken. (protocol 14, CHK-01)"""
    uploader = await upload(server, file, chunk_size=MIB, upload_checksum=True)
    await assert_arrived(client, server, uploader.url, file)


@pytest.mark.parametrize(
    ("metadata", "header"),
    [
        ({}, None),
        ({"filename": "film.bin"}, "filename ZmlsbS5iaW4="),
        ({"filename": "s\u0142o\u0144ce", "filetype": "a/b"}, "filename c8WCb8WEY2U=,filetype YS9i"),
        ({"empty": ""}, "empty"),
    ],
    ids=["none", "name", "non-ascii", "empty value"],
)  # fmt: skip
async def test_metadata(
    client: Member, server: Mount, file: Path, metadata: Mapping[str, str], header: str | None
) -> None:
    """Metadata comes back as it was sent; none, which tuspy sends as an empty header, is none. (CRE-META-01, A9)"""
    uploader = await upload(server, file, metadata=metadata)
    head = await client.head(location_of(client, uploader.url))
    assert (head.headers.get("Upload-Metadata") or "").strip() == (header or "")
    await assert_arrived(client, server, uploader.url, file)


async def test_empty_file(client: Member, server: Mount, tmp_path: Path) -> None:
    """A file of no bytes is finished by its creation: tuspy sends nothing more. (CRE-POST-07)"""
    path = tmp_path / "empty"
    path.touch()
    uploader = await upload(server, path)
    await assert_arrived(client, server, uploader.url, path)


@pytest.mark.parametrize("how", list(Cut), ids=lambda how: how.name)
@pytest.mark.parametrize("at", [MIB // 2, MIB + 5_000, 2 * MIB], ids=["first", "second", "later"])
async def test_cut_and_retried(
    client: Member, server: Mount, proxy: CuttingProxy, file: Path, *, how: Cut, at: int
) -> None:
    """A connection that is cut costs nothing but a retry: tuspy asks for the offset and goes on there. (I1, I3)"""
    proxy.cut_after(at, how)
    uploader = await upload(server, file, proxy.url, chunk_size=8 * MIB, retries=3, retry_delay=0)
    assert proxy.cut == 1
    await assert_arrived(client, server, uploader.url, file)


async def test_cut_again_and_again(client: Member, server: Mount, proxy: CuttingProxy, file: Path) -> None:
    """A file gets through a network that never lets more than 400 kB pass. (I1, I3, I4)"""
    for index in range(6):
        proxy.cut_after(400_000 + index * 1000, Cut.RST if index % 2 else Cut.FIN)
    uploader = await upload(server, file, proxy.url, chunk_size=8 * MIB, retries=10, retry_delay=0)
    assert proxy.cut == 6
    await assert_arrived(client, server, uploader.url, file)


async def test_cut_with_checksums(client: Member, server: Mount, proxy: CuttingProxy, file: Path) -> None:
    """A chunk with a checksum that was cut is dropped and sent again as a whole. (CHK, I5)"""
    proxy.cut_after(MIB // 2)
    uploader = await upload(server, file, proxy.url, chunk_size=MIB, upload_checksum=True, retries=3, retry_delay=0)
    assert proxy.cut == 1
    await assert_arrived(client, server, uploader.url, file)


async def test_resumed_later(client: Member, server: Mount, proxy: CuttingProxy, file: Path) -> None:
    """Another uploader that is given the URL goes on where the first was cut; what arrived then is not lost. (I1)"""
    proxy.cut_after(2 * MIB)
    first = tus_client(server, proxy.url).uploader(str(file), chunk_size=8 * MIB)
    with pytest.raises(exceptions.TusUploadFailed):
        await asyncio.to_thread(first.upload)
    location = location_of(client, first.url)
    await until_committed(client, location)
    second = await asyncio.to_thread(lambda: tus_client(server).uploader(str(file), url=location, chunk_size=MIB))
    assert 0 < second.offset <= 2 * MIB
    await asyncio.to_thread(second.upload)
    await assert_arrived(client, server, location, file)


async def test_url_storage(client: Member, server: Mount, proxy: CuttingProxy, file: Path, tmp_path: Path) -> None:
    """A URL that was stored is found again after the program was restarted, and the file goes on. (protocol 14)"""
    first, again = [storage.FileStorage(str(tmp_path / "urls.json")) for _ in range(2)]
    proxy.cut_after(2 * MIB)
    with pytest.raises(exceptions.TusUploadFailed):
        await upload(server, file, proxy.url, chunk_size=8 * MIB, store_url=True, url_storage=first)
    with file.open("rb") as stream:
        stored = first.get_item(fingerprint.Fingerprint().get_fingerprint(stream))
    first.close()
    await until_committed(client, stored)
    uploader = await upload(server, file, proxy.url, chunk_size=MIB, store_url=True, url_storage=again)
    again.close()
    assert uploader.url == stored
    await assert_arrived(client, server, uploader.url, file)


async def test_deferred_length(client: Member, server: Mount, file: Path) -> None:
    """An upload created without a length gets it with a later request, which tuspy repeats in all. (DEF-01, DEF-05)"""

    class Deferred(uploaders.Uploader):  # type: ignore[misc, name-defined]
        def get_url_creation_headers(self) -> dict[str, str]:
            headers = {**self.get_headers(), "upload-defer-length": "1"}
            # tuspy sends what its client has with every request: the length from the first PATCH on.
            self.client.set_headers({"Upload-Length": str(self.get_file_size())})
            return headers

    def run() -> Any:
        uploader = Deferred(str(file), client=tus_client(server), chunk_size=MIB)
        uploader.set_url(uploader.create_url())
        return uploader

    uploader = await asyncio.to_thread(run)
    head = await client.head(uploader.url)
    assert (head.headers["Upload-Defer-Length"], "Upload-Length" in head.headers) == ("1", False)
    await asyncio.to_thread(uploader.upload)
    await assert_arrived(client, server, uploader.url, file)


async def test_stopped_and_continued(client: Member, server: Mount, file: Path) -> None:
    """An uploader may stop at an offset; the server shows just that, and takes the rest later. (CORE-HEAD-01)"""
    uploader = tus_client(server).uploader(str(file), chunk_size=MIB)
    await asyncio.to_thread(lambda: uploader.upload(stop_at=MIB + 100))
    assert await client.offset(uploader.url) == MIB + 100
    await asyncio.to_thread(uploader.upload)
    await assert_arrived(client, server, uploader.url, file)


async def test_several_at_once(client: Member, server: Mount, tmp_path: Path) -> None:
    """Uploads of several programs do not disturb each other. (I4)"""
    files = []
    for index in range(6):
        path = tmp_path / str(index)
        path.write_bytes(os.urandom(700_000 + index))
        files.append(path)
    done = await asyncio.gather(*(upload(server, path, chunk_size=100_000) for path in files))
    for path, uploader in zip(files, done, strict=True):
        await assert_arrived(client, server, uploader.url, path)


async def test_upload_that_is_gone(client: Member, server: Mount, file: Path) -> None:
    """A URL that the server does not know is an error that tuspy understands. (CORE-HEAD-02)"""
    url = await client.create(5)
    assert (await client.delete(url)).status == 204
    make: Callable[[], Any] = lambda: tus_client(server).uploader(str(file), url=url)  # noqa: E731
    with pytest.raises(exceptions.TusCommunicationError) as caught:
        await asyncio.to_thread(make)
    assert caught.value.status_code == 404
