"""PATCH: bytes that are accepted, and requests that are no trouble though they look odd."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from tests.support.client import CT, Client, T, chunked
from tests.support.servers import Target
from tests.support.state import check_refusal, nothing_created, unchanged
from tests.support.wire import Wire

UNKNOWN = "0123456789abcdef0123456789abcdef"


async def test_patch_of_a_whole_upload(client: Client, server: Target) -> None:
    """PATCH stores its body and answers 204 with the new offset and no body. (CORE-PATCH-01)"""
    url = await client.create(11)
    answer = await client.patch(url, 0, b"hello world")
    assert answer.status == 204
    assert answer.body == b""
    assert answer.headers.getall("Upload-Offset") == ["11"]
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Content-Length" not in answer.headers
    assert "Content-Type" not in answer.headers
    assert server.data_path(url).read_bytes() == b"hello world"


async def test_patch_in_two_pieces(client: Client) -> None:
    """Pieces follow each other, and a download is all of them in order. (CORE-PATCH-02)"""
    url = await client.create(11)
    assert (await client.patch(url, 0, b"hello")).offset == 5
    assert (await client.patch(url, 5, b" world")).offset == 11
    assert (await client.get(url)).body == b"hello world"


@pytest.mark.parametrize(
    "media_type",
    [
        None,
        "",
        "text/plain",
        "application/octet-stream",
        "application/offset+octet-streams",
        "application/offset+octet-stream, text/plain",
        "application/partial-upload",
        "multipart/form-data; boundary=x",
    ],
)
@pytest.mark.parametrize("body", [b"hello", b""], ids=["body", "no body"])
async def test_patch_of_another_media_type(client: Client, server: Target, media_type: str | None, body: bytes) -> None:
    """Any other media type gets 415 and changes nothing. (CORE-PATCH-03)"""
    url = await client.create(5)
    headers = {**T, "Upload-Offset": "0", **({} if media_type is None else {"Content-Type": media_type})}
    async with unchanged(client, server, url):
        answer = await client.send("PATCH", url, headers, body)
    check_refusal(answer, 415, "ERR_INVALID_CONTENT_TYPE")


async def test_patch_of_another_media_type_is_not_read(client: Client, server: Target) -> None:
    """The refusal of a media type does not wait for the body. (CORE-PATCH-03)"""
    url = await client.create(5)
    async with await Wire.open(url) as wire:
        wire.start("PATCH", url, {**T, "Upload-Offset": "0", "Content-Type": "text/plain", "Content-Length": "5"})
        check_refusal(await wire.answer(), 415, "ERR_INVALID_CONTENT_TYPE")
    assert await client.offset(url) == 0


@pytest.mark.parametrize(
    "media_type",
    [
        "Application/Offset+Octet-Stream",
        "APPLICATION/OFFSET+OCTET-STREAM",
        "application/offset+octet-stream; charset=utf-8",
        "application/offset+octet-stream;charset=utf-8",
        "application/offset+octet-stream ;x=y",
    ],
)
async def test_patch_media_type_spelt_differently(client: Client, media_type: str) -> None:
    """Case and parameters of the media type do not matter. (CORE-PATCH-04)"""
    url = await client.create(5)
    answer = await client.patch(url, 0, b"hello", {"Content-Type": media_type})
    assert answer.status == 204
    assert answer.offset == 5


@pytest.mark.parametrize("body", [b"hello", b""], ids=["body", "no body"])
async def test_patch_of_an_unknown_upload(client: Client, server: Target, body: bytes) -> None:
    """PATCH of an unknown upload is 404 without an offset, and makes none. (CORE-PATCH-05)"""
    with nothing_created(server):
        answer = await client.patch(client.base + UNKNOWN, 0, body)
    check_refusal(answer, 404, "ERR_UPLOAD_NOT_FOUND")


async def test_patch_of_a_terminated_upload(client: Client, server: Target) -> None:
    """PATCH of a removed upload is 404 and does not bring it back. (CORE-PATCH-05)"""
    url = await client.create(5)
    await client.delete(url)
    with nothing_created(server):
        check_refusal(await client.patch(url, 0, b"hello"), 404, "ERR_UPLOAD_NOT_FOUND")


async def test_patch_offset_with_leading_zeros(client: Client) -> None:
    """Leading zeros do not change a number. (CORE-PATCH-09)"""
    url = await client.create(11)
    await client.patch(url, 0, b"hello")
    answer = await client.patch(url, "0005", b" world")
    assert answer.status == 204
    assert answer.headers["Upload-Offset"] == "11"


async def test_patch_offset_in_two_equal_lines(client: Client) -> None:
    """An Upload-Offset repeated by a middlebox is one offset. (CORE-PATCH-08)"""
    url = await client.create(5)
    headers = CIMultiDict([*T.items(), *CT.items(), ("Upload-Offset", "0"), ("Upload-Offset", "0")])
    assert (await client.send("PATCH", url, headers, b"hello")).status == 204


async def test_empty_patch_of_a_finished_upload(client: Client, server: Target) -> None:
    """A PATCH of nothing at the end of a finished upload succeeds. (CORE-PATCH-12)"""
    url = await client.upload(b"hello")
    async with unchanged(client, server, url):
        answer = await client.patch(url, 5)
    assert answer.status == 204
    assert answer.headers["Upload-Offset"] == "5"


async def test_empty_patch_of_an_unfinished_upload(client: Client, server: Target) -> None:
    """A PATCH of nothing at the current offset succeeds and moves nothing. (CORE-PATCH-14)"""
    url = await client.create(5)
    await client.patch(url, 0, b"he")
    async with unchanged(client, server, url):
        for body in (b"", chunked()):
            answer = await client.patch(url, 2, body)
            assert answer.status == 204
            assert answer.headers["Upload-Offset"] == "2"


async def test_patch_without_any_framing(client: Client, server: Target) -> None:
    """Without Content-Length and Transfer-Encoding there is no body, and no waiting for one. (CORE-PATCH-15)"""
    url = await client.create(5)
    async with unchanged(client, server, url), await Wire.open(url) as wire:
        wire.start("PATCH", url, {**T, **CT, "Upload-Offset": "0"})
        answer = await wire.answer()
        assert answer.status == 204
        assert answer.headers["Upload-Offset"] == "0"


@pytest.mark.parametrize("value", ["1", "0", "junk", ""])
async def test_patch_ignores_defer_length(client: Client, value: str) -> None:
    """Upload-Defer-Length means nothing on PATCH. (CORE-PATCH-16)"""
    url = await client.create(None)
    answer = await client.patch(url, 0, b"hello", {"Upload-Defer-Length": value})
    assert answer.status == 204
    assert answer.headers["Upload-Offset"] == "5"
    answer = await client.patch(url, 5, b"", {"Upload-Defer-Length": value, "Upload-Length": "5"})
    assert answer.status == 204
    assert (await client.get(url)).body == b"hello"


@pytest.mark.parametrize("path", ["", "/"], ids=["no slash", "slash"])
@pytest.mark.parametrize("method", ["PATCH", "DELETE", "GET", "PUT"])
async def test_methods_that_the_base_has_not(client: Client, server: Target, method: str, path: str) -> None:
    """The base URL takes OPTIONS and POST only: 405 with Allow for others. (CORE-PATCH-17)"""
    headers = {**T, **CT, "Upload-Offset": "0"}
    with nothing_created(server):
        answer = await client.send(method, client.base.removesuffix("/") + path, headers)
    check_refusal(answer, 405, "ERR_METHOD_NOT_ALLOWED")
    assert answer.headers["Allow"] == "OPTIONS, POST"


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
async def test_methods_that_an_upload_has_not(client: Client, server: Target, method: str, known: bool) -> None:
    """PUT and POST of an upload's URL are 405 with Allow, and create nothing. (CORE-PATCH-18)"""
    url = await client.create(5) if known else client.base + UNKNOWN
    with nothing_created(server):
        answer = await client.send(method, url, {**T, **CT, "Upload-Length": "5", "Upload-Offset": "0"}, b"hello")
    check_refusal(answer, 405, "ERR_METHOD_NOT_ALLOWED")
    assert answer.headers["Allow"] == "OPTIONS, HEAD, PATCH, DELETE, GET"
    assert not known or await client.offset(url) == 0


async def test_allow_names_what_is_enabled_only(start_server, client_of) -> None:
    """Allow does not name methods that are switched off. (CORE-PATCH-18)"""
    client = client_of(await start_server(disable_termination=True, disable_download=True))
    url = await client.create(5)
    for method in ("PUT", "DELETE", "GET"):
        answer = await client.send(method, url, T)
        check_refusal(answer, 405, "ERR_METHOD_NOT_ALLOWED")
        assert answer.headers["Allow"] == "OPTIONS, HEAD, PATCH"


async def test_patch_with_a_trailing_slash(client: Client) -> None:
    """A slash at the end of an upload's URL makes no difference. (CORE-PATCH-19)"""
    url = await client.create(5)
    answer = await client.patch(url + "/", 0, b"hello")
    assert answer.status == 204
    assert answer.headers["Upload-Offset"] == "5"
    assert (await client.get(url)).body == b"hello"
