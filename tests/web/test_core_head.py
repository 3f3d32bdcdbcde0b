"""HEAD: where an upload stands."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from tests.support.client import Client, T
from tests.support.servers import Target
from tests.support.waiting import until
from tests.support.wire import Wire

UNKNOWN = "0123456789abcdef0123456789abcdef"


async def test_head_of_a_new_upload(client: Client) -> None:
    """HEAD shows offset 0 and the declared length, with 200, no body and no caching. (CORE-HEAD-01)"""
    answer = await client.head(await client.create(100))
    assert answer.status == 200
    assert answer.body == b""
    assert answer.headers.getall("Upload-Offset") == ["0"]
    assert answer.headers.getall("Upload-Length") == ["100"]
    assert answer.headers.getall("Cache-Control") == ["no-store"]
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Upload-Defer-Length" not in answer.headers


async def test_head_of_a_finished_upload(client: Client) -> None:
    """When every byte arrived, offset and length are equal. (CORE-HEAD-02)"""
    answer = await client.head(await client.upload(b"x" * 100))
    assert answer.status == 200
    assert answer.headers["Upload-Offset"] == answer.headers["Upload-Length"] == "100"


async def test_head_follows_every_append(client: Client) -> None:
    """Each append is visible at once, and the length stays. (CORE-HEAD-01, CORE-HEAD-02)"""
    url = await client.create(6)
    for offset in range(6):
        answer = await client.head(url)
        assert (answer.headers["Upload-Offset"], answer.headers["Upload-Length"]) == (str(offset), "6")
        assert (await client.patch(url, offset, b"x")).status == 204
    assert await client.offset(url) == 6


async def test_head_of_a_deferred_length(client: Client) -> None:
    """While the length is not known HEAD says so and has no Upload-Length; then it is the other way. (CORE-HEAD-03)"""
    url = await client.create(None)
    answer = await client.head(url)
    assert answer.status == 200
    assert answer.headers.getall("Upload-Defer-Length") == ["1"]
    assert "Upload-Length" not in answer.headers
    assert (await client.patch(url, 0, b"hello", {"Upload-Length": "10"})).status == 204
    answer = await client.head(url)
    assert answer.headers.getall("Upload-Length") == ["10"]
    assert "Upload-Defer-Length" not in answer.headers


@pytest.mark.parametrize(
    "metadata",
    [
        "filename d29ybGQucGRm,is_confidential",
        "is_confidential,filename d29ybGQucGRm",
        "a YQ==, b Yg==,  c Yw==",
        "b Yg==,a YQ==,b Yw==",
        "key ,other",
        "k !!!",
    ],
)
async def test_head_shows_metadata_verbatim(client: Client, metadata: str) -> None:
    """Upload-Metadata comes back as it was sent: order, spacing, keys without value. (CORE-HEAD-04)"""
    url = await client.create(5, Upload_Metadata=metadata)
    assert (await client.head(url)).headers.getall("Upload-Metadata") == [metadata]
    await client.patch(url, 0, b"hello")
    assert (await client.head(url)).headers.getall("Upload-Metadata") == [metadata]


@pytest.mark.parametrize("headers", [{}, {"Upload_Metadata": ""}], ids=["absent", "empty"])
async def test_head_without_metadata(client: Client, headers: dict[str, str]) -> None:
    """An upload without metadata has no Upload-Metadata, however that was said. (CORE-HEAD-05)"""
    assert "Upload-Metadata" not in (await client.head(await client.create(5, **headers))).headers


async def test_head_shows_concat_verbatim(client: Client) -> None:
    """Upload-Concat of partial and final uploads comes back as it was sent. (CORE-HEAD-06)"""
    part = await client.upload(b"hello", Upload_Concat="partial")
    assert (await client.head(part)).headers.getall("Upload-Concat") == ["partial"]
    path = "/files/" + part.rsplit("/", 1)[1]
    for value in (f"final;{part}", f"final;{path} {part}", f"final; {part}  {path}"):
        answer = await client.post({"Upload-Concat": value})
        assert answer.status == 201
        assert (await client.head(answer.headers["Location"])).headers.getall("Upload-Concat") == [value]
    assert "Upload-Concat" not in (await client.head(await client.create(5))).headers


async def test_head_of_an_unknown_upload(client: Client) -> None:
    """An unknown upload is 404: no offset, no body, no caching. (CORE-HEAD-07)"""
    _check_missing(await client.head(client.base + UNKNOWN), 404)


async def test_head_of_a_terminated_upload(client: Client) -> None:
    """After DELETE an upload is 404, exactly. (CORE-HEAD-08)"""
    url = await client.create(5)
    assert (await client.delete(url)).status == 204
    _check_missing(await client.head(url), 404)


async def test_head_of_an_expired_upload(start_server, client_of) -> None:
    """When the time of an unfinished upload ran out it is 410, without an offset. (CORE-HEAD-08)"""
    target: Target = await start_server(expire_after="200ms", sweep_interval="1h")
    client = client_of(target)
    url = await client.create(5)

    async def is_gone() -> bool:
        return (await client.head(url)).status != 200

    await until(is_gone)
    _check_missing(await client.head(url), 410)


@pytest.mark.parametrize("headers", [{}, {"Upload_Concat": "partial"}], ids=["single", "partial"])
async def test_head_shows_expiry_of_unfinished_uploads_only(client: Client, headers: dict[str, str]) -> None:
    """Upload-Expires is on HEAD until the last byte arrived. (CORE-HEAD-09)"""
    url = await client.create(5, **headers)
    for data in (b"he", b"llo"):
        answer = await client.head(url)
        left = parsedate_to_datetime(answer.headers["Upload-Expires"]) - parsedate_to_datetime(answer.headers["Date"])
        assert 6 <= left.total_seconds() / 86400 <= 7.001
        await client.patch(url, answer.offset, data)
    assert "Upload-Expires" not in (await client.head(url)).headers


async def test_head_with_a_trailing_slash(client: Client) -> None:
    """A slash at the end of an upload's URL makes no difference, and no redirect. (CORE-HEAD-11)"""
    url = await client.create(5)
    await client.patch(url, 0, b"he")
    answer = await client.head(url + "/")
    assert answer.status == 200
    assert answer.offset == 2


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_head_has_no_body_on_the_wire(client: Client, server: Target, version: str) -> None:
    """No answer to HEAD is chunked or followed by a body: the next answer begins right behind. (CORE-HEAD-12)"""
    url = await client.upload(b"hello")
    async with await Wire.open(server.url) as wire:
        alive = {"Connection": "keep-alive"}
        for path, status in ((url, 200), (client.base + UNKNOWN, 404), (client.base, 405), (url, 200)):
            wire.start("HEAD", path, {**T, **alive}, version)
            answer = await wire.answer(head=True)
            assert answer.status == status
            assert "Transfer-Encoding" not in answer.headers
        assert answer.headers["Upload-Offset"] == "5"
        wire.start("HEAD", url, {"Connection": "close"}, version)
        assert (await wire.answer(head=True)).status == 412
        assert await wire.closed() == b""


async def test_head_of_the_base(client: Client) -> None:
    """HEAD of the base URL names no upload: 405, no body. (CORE-HEAD-07, CORE-PATCH-17)"""
    answer = await client.send("HEAD", None, T)
    assert answer.status == 405
    assert answer.body == b""
    assert answer.headers["Allow"] == "OPTIONS, POST"


def _check_missing(answer, status: int) -> None:
    assert answer.status == status
    assert answer.body == b""
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    for name in ("Upload-Offset", "Upload-Length", "Upload-Expires"):
        assert name not in answer.headers
