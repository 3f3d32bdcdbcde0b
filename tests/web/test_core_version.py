"""Tus-Resumable: which version a request speaks, and what happens when it is another one."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from tests.support.client import CT, Client, T
from tests.support.servers import Target
from tests.support.state import check_refusal, nothing_created, unchanged

METHODS = ("HEAD", "PATCH", "DELETE")
UNKNOWN = "0123456789abcdef0123456789abcdef"
OTHERS = ["0.2.2", "99.99.99", "1.0", "1.0.0.0", "junk", "1.0.0,0.2.2", "0.2.2, 1.0.0"]


def _patch_headers(offset: int = 0) -> dict[str, str]:
    return {**CT, "Upload-Offset": str(offset)}


@pytest.mark.parametrize("version", OTHERS)
async def test_creation_in_another_version(client: Client, server: Target, version: str) -> None:
    """POST with another version gets 412 with Tus-Version, and creates nothing. (CORE-VER-01, CORE-VER-07)"""
    with nothing_created(server):
        answer = await client.send("POST", None, {"Tus-Resumable": version, "Upload-Length": "10"})
    check_refusal(answer, 412, "ERR_UNSUPPORTED_VERSION")
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert "Location" not in answer.headers


async def test_creation_with_data_in_another_version(client: Client, server: Target) -> None:
    """POST of a whole upload in another version gets 412 and leaves nothing. (CORE-VER-01)"""
    headers = {"Tus-Resumable": "0.2.2", "Upload-Length": "5", **CT}
    with nothing_created(server):
        answer = await client.send("POST", None, headers, b"hello")
    check_refusal(answer, 412, "ERR_UNSUPPORTED_VERSION")


@pytest.mark.parametrize("version", ["99.99.99", "1.0.0,0.2.2"])
@pytest.mark.parametrize("method", METHODS)
async def test_requests_in_another_version(client: Client, server: Target, method: str, version: str) -> None:
    """HEAD, PATCH and DELETE in another version get 412 with Tus-Version and do nothing. (CORE-VER-02, CORE-VER-07)"""
    url = await client.create(10)
    headers = {"Tus-Resumable": version, **(_patch_headers() if method == "PATCH" else {})}
    async with unchanged(client, server, url):
        answer = await client.send(method, url, headers, b"hello" if method == "PATCH" else None)
    _check_unsupported(answer, method)


@pytest.mark.parametrize("method", METHODS)
async def test_requests_without_a_version(client: Client, server: Target, method: str) -> None:
    """HEAD, PATCH and DELETE without Tus-Resumable get 412 with Tus-Version and do nothing. (CORE-VER-03)"""
    url = await client.create(10)
    headers = _patch_headers() if method == "PATCH" else {}
    async with unchanged(client, server, url):
        answer = await client.send(method, url, headers, b"hello" if method == "PATCH" else None)
    _check_unsupported(answer, method)


@pytest.mark.parametrize("headers", [{}, {"Tus-Resumable": ""}, {"Tus-Resumable": ","}], ids=["none", "empty", "comma"])
async def test_creation_without_a_version(client: Client, server: Target, headers: dict[str, str]) -> None:
    """POST without Tus-Resumable gets 412 with Tus-Version and creates nothing. (CORE-VER-03)"""
    with nothing_created(server):
        answer = await client.send("POST", None, {"Upload-Length": "10", **headers})
    _check_unsupported(answer, "POST")


@pytest.mark.parametrize("method", METHODS)
async def test_unknown_upload_without_a_version(client: Client, method: str) -> None:
    """Without Tus-Resumable an unknown upload is not found, as it is with it. (CORE-VER-04)"""
    headers = _patch_headers() if method == "PATCH" else {}
    answer = await client.send(method, client.base + UNKNOWN, headers, b"hello" if method == "PATCH" else None)
    assert answer.status == 404
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert "Upload-Offset" not in answer.headers
    if method == "HEAD":
        assert answer.body == b""
    else:
        check_refusal(answer, 404, "ERR_UPLOAD_NOT_FOUND")


@pytest.mark.parametrize("method", METHODS)
async def test_terminated_upload_without_a_version(client: Client, method: str) -> None:
    """A removed upload is as unknown as one that never was. (CORE-VER-04)"""
    url = await client.create(10)
    assert (await client.delete(url)).status == 204
    headers = _patch_headers() if method == "PATCH" else {}
    assert (await client.send(method, url, headers)).status == 404


@pytest.mark.parametrize("method", METHODS)
async def test_unknown_upload_in_another_version(client: Client, method: str) -> None:
    """A wrong version is refused before anything is looked up. (CORE-VER-02)"""
    answer = await client.send(method, client.base + UNKNOWN, {"Tus-Resumable": "0.2.2"})
    _check_unsupported(answer, method)


async def test_download_needs_no_version(client: Client) -> None:
    """GET without Tus-Resumable, as browsers send it, gets the file. (CORE-VER-05)"""
    url = await client.upload(b"hello")
    answer = await client.get(url)
    assert answer.status == 200
    assert answer.body == b"hello"


@pytest.mark.parametrize(
    "headers",
    [
        CIMultiDict([("Tus-Resumable", "1.0.0, 1.0.0")]),
        CIMultiDict([("Tus-Resumable", "1.0.0,1.0.0")]),
        CIMultiDict([("Tus-Resumable", "1.0.0"), ("Tus-Resumable", "1.0.0")]),
        CIMultiDict([("TUS-Resumable", "1.0.0")]),
        CIMultiDict([("tus-resumable", "1.0.0")]),
    ],
    ids=["merged", "merged tightly", "two lines", "upper case", "lower case"],
)
async def test_version_named_in_odd_ways(client: Client, headers: CIMultiDict[str]) -> None:
    """The right version is accepted when it comes twice, and in any case of its name. (CORE-VER-07)"""
    headers = CIMultiDict([*headers.items(), ("Upload-Length", "5")])
    answer = await client.send("POST", None, headers)
    assert answer.status == 201
    assert await client.offset(answer.headers["Location"]) == 0


async def test_two_lines_with_two_versions(client: Client, server: Target) -> None:
    """Two Tus-Resumable lines that differ are refused. (CORE-VER-07)"""
    headers = CIMultiDict([*T.items(), ("Tus-Resumable", "0.2.2"), ("Upload-Length", "5")])
    with nothing_created(server):
        answer = await client.send("POST", None, headers)
    _check_unsupported(answer, "POST")


def _check_unsupported(answer, method: str) -> None:
    if method == "HEAD":
        assert answer.status == 412
        assert answer.body == b""
        assert "Upload-Offset" not in answer.headers
        assert answer.headers["Tus-Resumable"] == "1.0.0"
    else:
        check_refusal(answer, 412, "ERR_UNSUPPORTED_VERSION")
    assert answer.headers.getall("Tus-Version") == ["1.0.0"]
