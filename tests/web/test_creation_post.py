"""POST: a new upload and where it is."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime

import pytest

from tests.support.client import CT, Client, T
from tests.support.servers import Target, serve
from tests.support.state import check_refusal, nothing_created
from tests.support.wire import Wire

ID = r"[0-9a-f]{32,}"


@pytest.fixture(scope="module")
async def small(mode: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    """A server that takes 400 bytes at most, and gives no absolute URLs."""
    directory = tmp_path_factory.mktemp(f"small-{mode}") / "data"
    async with serve(mode, directory, max_size=400, relative_location=True, expire_after="0") as target:
        yield target


async def test_creation(client: Client, server: Target) -> None:
    """POST with a length makes an empty upload: 201, its URL, no body, no offset. (CRE-POST-01)"""
    answer = await client.post({"Upload-Length": "100"})
    assert answer.status == 201
    assert answer.body == b""
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Upload-Offset" not in answer.headers
    url = answer.headers["Location"]
    assert server.stored(url) == 0
    head = await client.head(url)
    assert (head.headers["Upload-Offset"], head.headers["Upload-Length"]) == ("0", "100")


async def test_location_is_absolute(client: Client, server: Target) -> None:
    """Location is an absolute URL below the URL that the request went to. (CRE-POST-02)"""
    answer = await client.post({"Upload-Length": "5"})
    assert re.fullmatch(rf"http://{re.escape(server.host)}/files/{ID}", answer.headers["Location"])


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("uploads.example", "http://uploads.example/files/"),
        ("uploads.example:8443", "http://uploads.example:8443/files/"),
        ("uploads.example:80", "http://uploads.example/files/"),
        ("[2001:db8::1]:8080", "http://[2001:db8::1]:8080/files/"),
    ],
)
async def test_location_has_the_host_of_the_request(client: Client, host: str, expected: str) -> None:
    """Location has the Host that the client asked for. (CRE-POST-02)"""
    answer = await client.post({"Upload-Length": "5", "Host": host})
    assert re.fullmatch(re.escape(expected) + ID, answer.headers["Location"])


@pytest.mark.parametrize(
    "header",
    [
        ("Forwarded", "for=192.0.2.1;host=evil.example;proto=https"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Prefix", "/evil"),
        ("Via", "1.1 proxy"),
    ],
    ids=lambda header: header[0],
)
async def test_location_behind_an_unknown_proxy(client: Client, header: tuple[str, str]) -> None:
    """With headers of a proxy that is not trusted, Location is a path: right in every case. (CRE-POST-02)"""
    answer = await client.post({"Upload-Length": "5", header[0]: header[1]})
    assert re.fullmatch(rf"/files/{ID}", answer.headers["Location"])


@pytest.mark.parametrize("public", ["https://up.example/x", "https://up.example:8443/x/"])
async def test_location_under_a_public_url(start_server, client_of, public: str) -> None:
    """With a public URL, Location always begins with it. (CRE-POST-02)"""
    client = client_of(await start_server(public_url=public))
    for extra in ({}, {"X-Forwarded-Host": "evil.example"}, {"Host": "other.example"}):
        answer = await client.post({"Upload-Length": "5", **extra})
        assert re.fullmatch(re.escape(public.rstrip("/")) + "/" + ID, answer.headers["Location"])
        name = answer.headers["Location"].rsplit("/", 1)[1]
        assert await client.offset(client.base + name) == 0


async def test_relative_location(small: Target, client_of) -> None:
    """With the switch for it, Location is a path. (CRE-POST-03)"""
    answer = await client_of(small).post({"Upload-Length": "5"})
    assert re.fullmatch(rf"/files/{ID}", answer.headers["Location"])


@pytest.mark.parametrize("path", ["/files", "/files/"])
async def test_location_without_a_host(client: Client, server: Target, path: str) -> None:
    """HTTP/1.0 needs no Host; without one Location is a path. (CRE-POST-04)"""
    async with await Wire.open(server.url) as wire:
        wire.send(f"POST {path} HTTP/1.0\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 5\r\n\r\n".encode())
        answer = await wire.answer()
    assert answer.status == 201
    assert re.fullmatch(rf"/files/{ID}", answer.headers["Location"])
    assert await client.offset(f"http://{server.host}{answer.headers['Location']}") == 0


async def test_creation_without_the_slash(client: Client) -> None:
    """The base URL takes POST with and without a slash at its end, without a redirect. (CRE-POST-05)"""
    for url in (client.base, client.base.removesuffix("/")):
        answer = await client.send("POST", url, {**T, "Upload-Length": "5"})
        assert answer.status == 201
        assert re.fullmatch(re.escape(client.base) + ID, answer.headers["Location"])


async def test_creating_twice_makes_two(client: Client) -> None:
    """Two equal requests make two uploads that know nothing of each other. (CRE-POST-06)"""
    first, second = await client.create(5), await client.create(5)
    assert first != second
    await client.patch(first, 0, b"hello")
    assert await client.offset(second) == 0


async def test_creation_of_nothing(client: Client) -> None:
    """An upload of zero bytes is finished at once and does not expire. (CRE-POST-07)"""
    answer = await client.post({"Upload-Length": "0"})
    assert answer.status == 201
    assert "Upload-Expires" not in answer.headers
    assert "Upload-Offset" not in answer.headers
    url = answer.headers["Location"]
    head = await client.head(url)
    assert (head.headers["Upload-Offset"], head.headers["Upload-Length"]) == ("0", "0")
    assert "Upload-Expires" not in head.headers
    download = await client.get(url)
    assert (download.status, download.body) == (200, b"")
    check_refusal(await client.patch(url, 0, b"x"), 413, "ERR_UPLOAD_SIZE_EXCEEDED")


async def test_creation_ignores_an_offset(client: Client) -> None:
    """Upload-Offset means nothing on POST. (CRE-POST-16)"""
    for value in ("0", "5", "junk", ""):
        answer = await client.post({"Upload-Length": "10", "Upload-Offset": value})
        assert answer.status == 201
        assert await client.offset(answer.headers["Location"]) == 0


@pytest.mark.parametrize("media_type", ["application/x-www-form-urlencoded", "text/plain", "application/json", ""])
async def test_creation_with_a_media_type_and_no_body(client: Client, media_type: str) -> None:
    """What libraries say of a body that is empty is harmless. (CRE-POST-17)"""
    answer = await client.post({"Upload-Length": "10", "Content-Type": media_type, "Content-Length": "0"})
    assert answer.status == 201
    assert "Upload-Offset" not in answer.headers


async def test_creation_says_when_the_upload_expires(client: Client) -> None:
    """The answer to POST has Upload-Expires, the same as HEAD's. (CRE-POST-19)"""
    answer = await client.post({"Upload-Length": "10"})
    left = parsedate_to_datetime(answer.headers["Upload-Expires"]) - parsedate_to_datetime(answer.headers["Date"])
    assert 6 <= left.total_seconds() / 86400 <= 7.001
    assert answer.headers["Upload-Expires"].endswith(" GMT")
    assert (await client.head(answer.headers["Location"])).headers["Upload-Expires"] == answer.headers["Upload-Expires"]


async def test_creation_without_expiry(small: Target, client_of) -> None:
    """When nothing expires there is no Upload-Expires. (CRE-POST-19)"""
    assert "Upload-Expires" not in (await client_of(small).post({"Upload-Length": "10"})).headers


@pytest.mark.parametrize(("length", "status"), [("400", 201), ("0", 201), ("401", 413), ("9223372036854775807", 413)])
async def test_creation_and_the_largest_size(small: Target, client_of, length: str, status: int) -> None:
    """Up to the limit is fine; beyond it is 413 with the limit, and nothing is made. (CRE-POST-11, row 3)"""
    client = client_of(small)
    if status == 201:
        assert (await client.post({"Upload-Length": length})).status == 201
        return
    with nothing_created(small):
        answer = await client.post({"Upload-Length": length})
    check_refusal(answer, 413, "ERR_MAX_SIZE_EXCEEDED")
    assert answer.headers["Tus-Max-Size"] == "400"
    assert "Location" not in answer.headers


@pytest.mark.parametrize("length", ["9223372036854775808", "9" * 30, "9" * 5000], ids=["2**63", "30", "5000"])
async def test_creation_beyond_all_numbers_with_a_limit(small: Target, client_of, length: str) -> None:
    """Where there is a limit, a length beyond all numbers is too large, too. (CRE-POST-09)"""
    with nothing_created(small):
        answer = await client_of(small).post({"Upload-Length": length})
    check_refusal(answer, 413, "ERR_MAX_SIZE_EXCEEDED")


async def test_creation_with_data_beyond_the_limit(small: Target, client_of) -> None:
    """A creation with data is held to the limit before anything is stored. (CRE-POST-11)"""
    client = client_of(small)
    with nothing_created(small):
        answer = await client.post({"Upload-Length": "401", **CT}, b"x" * 401)
    check_refusal(answer, 413, "ERR_MAX_SIZE_EXCEEDED")
