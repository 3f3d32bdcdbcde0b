"""What the Python clients send, header by header, and what they need to get (protocol section 14)."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from urllib.parse import urlsplit

import pytest

from tests.support.client import Answer, Client
from tests.support.servers import Target
from tests.support.state import nothing_created, unchanged

REQUESTS = {
    "User-Agent": "python-requests/2.34.2",
    "Accept-Encoding": "gzip, deflate",
    "Accept": "*/*",
    "Connection": "keep-alive",
}


class Tuspy:
    """Client tuspy 1.1.0: all of its headers in its spelling."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def create(self, length: int | None, metadata: str = "") -> Answer:
        size = {"Upload-Defer-Length": "1"} if length is None else {"upload-length": str(length)}
        headers = {**REQUESTS, "Tus-Resumable": "1.0.0", **size, "upload-metadata": metadata, "Content-Length": "0"}
        return await self._client.send("POST", None, headers)

    async def patch(self, url: str, offset: int, chunk: bytes, **headers: str) -> Answer:
        usual = {
            **REQUESTS,
            "upload-offset": str(offset),
            "Content-Type": "application/offset+octet-stream",
            "Tus-Resumable": "1.0.0",
            "Content-Length": str(len(chunk)),
        }
        return await self._client.send(
            "PATCH", url, usual | {name.replace("_", "-"): value for name, value in headers.items()}, chunk
        )

    async def head(self, url: str) -> Answer:
        return await self._client.send("HEAD", url, {**REQUESTS, "Tus-Resumable": "1.0.0"})


@pytest.fixture
def tuspy(client: Client) -> Tuspy:
    return Tuspy(client)


@pytest.mark.parametrize("metadata", ["", "filename d29ybGQucGRm,note "], ids=["none", "some"])
async def test_tuspy_upload(tuspy: Tuspy, client: Client, metadata: str) -> None:
    """Client tuspy always sends metadata, if only empty, and reads the offset of every PATCH. (section 14: tuspy)"""
    created = await tuspy.create(12, metadata)
    assert 200 <= created.status < 300
    url = created.headers["location"]
    assert int((await tuspy.head(url)).headers["upload-offset"]) == 0
    for offset in (0, 5, 10):
        chunk = b"hello worlds"[offset : offset + 5]
        answer = await tuspy.patch(url, offset, chunk)
        assert 200 <= answer.status < 300
        assert int(answer.headers["upload-offset"]) == offset + len(chunk)
    assert (await client.get(url)).body == b"hello worlds"


async def test_tuspy_upload_of_nothing(tuspy: Tuspy, client: Client) -> None:
    """Client tuspy sends no PATCH for an empty file. (section 14: tuspy, CRE-POST-07)"""
    url = (await tuspy.create(0)).headers["location"]
    assert (await client.get(url)).status == 200


async def test_tuspy_checksum(tuspy: Tuspy, client: Client) -> None:
    """Client tuspy sends sha1 of each chunk if it is told to. (section 14: tuspy)"""
    url = (await tuspy.create(5)).headers["location"]
    digest = b64encode(hashlib.sha1(b"hello").digest()).decode()
    answer = await tuspy.patch(url, 0, b"hello", upload_checksum=f"sha1 {digest}")
    assert int(answer.headers["upload-offset"]) == 5
    assert (await client.get(url)).body == b"hello"


@pytest.mark.parametrize("size", [10, 12], ids=["last chunk empty", "last chunk full"])
async def test_tuspy_deferred_length(tuspy: Tuspy, client: Client, size: int) -> None:
    """The length comes with the last chunk, maybe an empty one, and again if an answer got lost. (section 14: tuspy)"""
    data = b"hello worlds"[:size]
    url = (await tuspy.create(None)).headers["location"]
    for offset in (0, 5):
        answer = await tuspy.patch(url, offset, data[offset : offset + 5])
        assert int(answer.headers["upload-offset"]) == offset + 5
    answer = await tuspy.patch(url, 10, data[10:], upload_length=str(size))
    assert int(answer.headers["upload-offset"]) == size
    again = await tuspy.patch(url, size, b"", upload_length=str(size))
    assert 200 <= again.status < 300
    assert int(again.headers["upload-offset"]) == size
    assert (await client.get(url)).body == data


async def test_tuspy_judges_head_by_the_offset(tuspy: Tuspy, client: Client) -> None:
    """Client tuspy takes any HEAD with an offset for a success, so failures must not have one. (section 14: tuspy)"""
    url = (await tuspy.create(5)).headers["location"]
    assert (await client.delete(url)).status == 204
    for gone in (url, client.base + "unknown", client.base):
        assert "upload-offset" not in (await tuspy.head(gone)).headers


async def test_tuspy_resumes(tuspy: Tuspy, client: Client, server: Target) -> None:
    """After a conflict tuspy asks for the offset and goes on. (section 14: tuspy)"""
    url = (await tuspy.create(10)).headers["location"]
    await tuspy.patch(url, 0, b"hello")
    async with unchanged(client, server, url):
        assert (await tuspy.patch(url, 0, b"hello")).status == 409
    offset = int((await tuspy.head(url)).headers["upload-offset"])
    assert (await tuspy.patch(url, offset, b"world")).status == 204
    assert (await client.get(url)).body == b"helloworld"


AIOTUS = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate", "User-Agent": "Python/3.12 aiohttp/3.14.5"}


class Aiotus:
    """Client aiotus 1.1.0: all of its headers."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def create(self, headers: dict[str, str]) -> str:
        answer = await self._client.send("POST", None, {**AIOTUS, "Tus-Resumable": "1.0.0", **headers})
        assert answer.status == 201
        # It is stored and used as it is.
        assert urlsplit(answer.headers["Location"]).scheme == "http"
        return answer.headers["Location"]

    async def head(self, url: str) -> Answer:
        return await self._client.send("HEAD", url, {**AIOTUS, "Tus-Resumable": "1.0.0"})

    async def fill(self, url: str, data: bytes, chunk_size: int) -> None:
        """Ask for the offset, then send chunk after chunk, believing the offset of each answer."""
        offset = int((await self.head(url)).headers["Upload-Offset"])
        while offset != len(data):
            chunk = data[offset : offset + chunk_size]
            headers = {
                **AIOTUS,
                "Tus-Resumable": "1.0.0",
                "Upload-Offset": str(offset),
                "Content-Length": str(len(chunk)),
                "Content-Type": "application/offset+octet-stream",
            }
            answer = await self._client.send("PATCH", url, headers, chunk)
            assert answer.status < 400
            assert int(answer.headers["Upload-Offset"]) == offset + len(chunk)
            offset += len(chunk)


async def test_aiotus_upload(client: Client) -> None:
    """Client aiotus needs 201, an absolute Location, HEAD after it, and its metadata back. (section 14: aiotus)"""
    aiotus = Aiotus(client)
    data = bytes(range(256)) * 40
    metadata = "filename d29ybGQucGRm, confidential, empty "
    url = await aiotus.create({"Upload-Length": str(len(data)), "Upload-Metadata": metadata})
    await aiotus.fill(url, data, 4096)
    assert (await client.get(url)).body == data
    pairs = [pair.split() for pair in (await aiotus.head(url)).headers["Upload-Metadata"].split(",")]
    assert pairs == [["filename", "d29ybGQucGRm"], ["confidential"], ["empty"]]


async def test_aiotus_joins_parts(client: Client) -> None:
    """Client aiotus looks whether OPTIONS lists concatenation, and names parts by their paths. (section 14: aiotus)"""
    aiotus = Aiotus(client)
    options = await client.send("OPTIONS", None, AIOTUS)
    assert options.status < 400
    assert "1.0.0" in [version.strip() for version in options.headers["Tus-Version"].split(",")]
    assert "concatenation" in [name.strip() for name in options.headers["Tus-Extension"].split(",")]
    assert "Tus-Max-Size" not in options.headers
    parts = []
    for data in (b"hello", b"worlds"):
        part = await aiotus.create({"Upload-Length": str(len(data)), "Upload-Concat": "partial"})
        await aiotus.fill(part, data, 4 * 2**20)
        parts.append(urlsplit(part).path)
    final = await aiotus.create({"Upload-Concat": "final;" + " ".join(parts)})
    head = await aiotus.head(final)
    assert (head.headers["Upload-Offset"], head.headers["Upload-Length"]) == ("11", "11")
    assert (await client.get(final)).body == b"helloworlds"


async def test_aiotus_wants_failure_beside_the_base(client: Client, server: Target) -> None:
    """A creation below the base URL must fail. (section 14: aiotus, CORE-PATCH-18)"""
    with nothing_created(server):
        headers = {**AIOTUS, "Tus-Resumable": "1.0.0", "Upload-Length": "5"}
        answer = await client.send("POST", client.base + "x", headers)
    assert answer.status == 405
