"""Checksum: no byte counts before the announced digest of its request was found right (protocol section 4)."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.client import CT, Client, T, chunked
from tests.support.servers import Target
from tests.support.timed import Recording, recording
from tests.support.waiting import until
from tests.support.wire import Wire

HELLO = b"hello world"
HELLO_SHA1 = "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="
WRONG = "sha1 " + base64.b64encode(hashlib.sha1(b"something else").digest()).decode()
EMPTY_SHA1 = "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk="


def checksum(data: bytes, algorithm: str = "sha1") -> dict[str, str]:
    """Return the header for a body."""
    digest = base64.b64encode(hashlib.new(algorithm, data).digest()).decode()
    return {"Upload-Checksum": f"{algorithm} {digest}"}


@pytest.fixture(scope="module")
async def hooked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Recording]:
    """An embedded server that tells which uploads finished."""
    async with recording(tmp_path_factory.mktemp("checksum") / "data") as record:
        yield record


@pytest.fixture
def uploads(server: Target) -> Callable[[], set[Path]]:
    """List the data files of the shared server."""
    return lambda: {path for path in (server.data_dir / "uploads").glob("*/*") if path.is_file()}


async def test_right_digest_is_accepted(client: Client) -> None:
    """A body with the digest of the specification's example is stored (CSUM-01)."""
    url = await client.create(11)
    answer = await client.patch(url, 0, HELLO, {"Upload-Checksum": HELLO_SHA1})
    assert (answer.status, answer.offset) == (204, 11)
    assert (await client.get(url)).body == HELLO


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512", "md5"])
async def test_every_advertised_algorithm_is_verified(client: Client, algorithm: str) -> None:
    """What OPTIONS lists is really computed: the right digest passes, that of other bytes does not (CSUM-01, -02)."""
    listed = (await client.send("OPTIONS")).headers["Tus-Checksum-Algorithm"].split(",")
    assert algorithm in listed
    url = await client.create(11)
    refused = await client.patch(url, 0, HELLO, checksum(b"hello_world", algorithm))
    assert (refused.status, await client.offset(url)) == (460, 0)
    assert (await client.patch(url, 0, HELLO, checksum(HELLO, algorithm))).status == 204


async def test_wrong_digest_discards_the_body(client: Client, server: Target) -> None:
    """A mismatch is 460 with its own phrase, and the file is as long as before the request (CSUM-02)."""
    url = await client.create(16)
    await client.patch(url, 0, b"first")
    answer = await client.patch(url, 5, HELLO, {"Upload-Checksum": WRONG})
    assert (answer.status, answer.reason, answer.code) == (460, "Checksum Mismatch", "ERR_CHECKSUM_MISMATCH")
    assert "Upload-Offset" not in answer.headers
    assert await client.offset(url) == 5
    assert server.data_path(url).read_bytes() == b"first"


async def test_retry_after_mismatch(client: Client) -> None:
    """The same chunk at the same offset with the right digest is accepted after a mismatch (CSUM-03)."""
    url = await client.create(11)
    assert (await client.patch(url, 0, b"hello_world", {"Upload-Checksum": HELLO_SHA1})).status == 460
    assert (await client.patch(url, 0, HELLO, {"Upload-Checksum": HELLO_SHA1})).status == 204
    assert (await client.get(url)).body == HELLO


async def test_unsupported_algorithm_is_refused_before_the_body(client: Client) -> None:
    """An unknown algorithm is 400 although not one byte of the body was sent (CSUM-04)."""
    url = await client.create(11)
    headers = {**T, **CT, "Upload-Offset": "0", "Upload-Checksum": "unknownalgo AAAA", "Content-Length": "11"}
    async with await Wire.open(url) as wire:
        wire.start("PATCH", url, headers)
        answer = await wire.answer()
    assert (answer.status, answer.code) == (400, "ERR_UNSUPPORTED_CHECKSUM_ALGORITHM")
    assert await client.offset(url) == 0


@pytest.mark.parametrize(
    "value",
    [
        "sha1",
        "sha1  Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        "sha1 !!!",
        "SHA1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        "",
        "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu1=",
        "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0",
        "sha1 Kq5sNclPz7QV2-lfQIuc6R7oRu0=",
        "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0= x",
    ],
    ids=[
        "no-digest", "two-spaces", "no-base64", "upper-case", "empty", "not-canonical", "no-padding", "url-safe",
        "three-words",
    ],
)  # fmt: skip
async def test_malformed_header(client: Client, value: str) -> None:
    """What is not an algorithm, one space and canonical base64 is 400, and nothing changes (CSUM-05)."""
    url = await client.create(11)
    answer = await client.patch(url, 0, HELLO, {"Upload-Checksum": value})
    assert (answer.status, answer.code) == (400, "ERR_INVALID_CHECKSUM")
    assert await client.offset(url) == 0


async def test_digest_of_another_size_is_a_mismatch(client: Client) -> None:
    """Valid base64 of 21 bytes is a digest that does not match, not a malformed header (CSUM-06)."""
    url = await client.create(11)
    answer = await client.patch(url, 0, HELLO, {"Upload-Checksum": "sha1 " + "A" * 28})
    assert (answer.status, await client.offset(url)) == (460, 0)


@pytest.mark.parametrize(("announced", "status", "offset"), [(HELLO, 204, 11), (b"other", 460, 0)])
async def test_chunked_body(client: Client, announced: bytes, status: int, offset: int) -> None:
    """The digest is that of the bytes, however they were framed (CSUM-07)."""
    url = await client.create(11)
    answer = await client.patch(url, 0, chunked(b"hel", b"lo wor", b"ld"), checksum(announced))
    assert (answer.status, await client.offset(url)) == (status, offset)


@pytest.mark.parametrize(("value", "status"), [(EMPTY_SHA1, 204), (HELLO_SHA1, 460)], ids=["right", "wrong"])
async def test_empty_body(client: Client, value: str, status: int) -> None:
    """An empty body has a digest too (CSUM-08)."""
    url = await client.create(11)
    answer = await client.patch(url, 0, b"", {"Upload-Checksum": value})
    assert (answer.status, await client.offset(url)) == (status, 0)


@pytest.mark.parametrize("end", ["finish", "reset"])
async def test_lost_connection_keeps_nothing(client: Client, server: Target, end: str) -> None:
    """Bytes whose digest cannot be verified any more are dropped, on the disk too (CSUM-09)."""
    url = await client.create(40_000)
    await client.patch(url, 0, b"kept")
    path = server.data_path(url)
    headers = {**T, **CT, "Upload-Offset": "4", **checksum(b"x" * 30_000), "Content-Length": "30000"}
    async with await Wire.open(url) as wire:
        wire.start("PATCH", url, headers)
        wire.send(b"x" * 20_000)
        await until(lambda: _grows(path, 4))
        wire.finish() if end == "finish" else wire.reset()
        await until(lambda: _is_long(path, 4))
    assert await client.offset(url) == 4
    assert (await client.patch(url, 4, b"more")).offset == 8


async def test_silent_client_is_taken_over_and_nothing_is_kept(client: Client, server: Target) -> None:
    """A newer request takes over; the unverified half of the older one is dropped, the answer is 400 (CSUM-19)."""
    url = await client.create(11)
    headers = {**T, **CT, "Upload-Offset": "0", "Upload-Checksum": HELLO_SHA1, "Content-Length": "11"}
    async with await Wire.open(url) as wire:
        wire.start("PATCH", url, headers)
        wire.send(b"JUNK!")
        await until(lambda: _grows(server.data_path(url), 0))
        answer = await client.patch(url, 0, HELLO)
        assert (answer.status, answer.offset) == (204, 11)
        interrupted = await wire.answer()
    assert (interrupted.status, interrupted.code) == (400, "ERR_UPLOAD_INTERRUPTED")
    assert (await client.get(url)).body == HELLO


async def test_last_chunk_mismatch_finishes_nothing(hooked: Recording, client_of: Callable[[Target], Client]) -> None:
    """A wrong last chunk finishes nothing, for GET and on_finish alike; the right one finishes it once (CSUM-11)."""
    client = client_of(hooked.target)
    url = await client.create(11)
    await client.patch(url, 0, b"hello")
    assert (await client.patch(url, 5, b" World", checksum(b" world"))).status == 460
    assert await client.offset(url) == 5
    assert (await client.get(url)).status == 404
    assert await hooked.quiet()
    assert hooked.of(url) == []
    assert (await client.patch(url, 5, b" world", checksum(b" world"))).status == 204
    await until(hooked.quiet)
    assert [upload.length for upload in hooked.of(url)] == [11]


async def test_unverified_bytes_are_never_shown(client: Client, server: Target) -> None:
    """While the last chunk is still to be verified, HEAD shows the old offset and GET no file (CSUM-11)."""
    url = await client.create(11)
    headers = {**T, **CT, "Upload-Offset": "0", "Upload-Checksum": WRONG, "Transfer-Encoding": "chunked"}
    async with await Wire.open(url) as wire:
        wire.start("PATCH", url, headers)
        wire.send(b"b\r\n" + HELLO + b"\r\n")
        await until(lambda: _is_long(server.data_path(url), 11))
        assert await client.offset(url) == 0
        assert (await client.get(url)).status == 404
        wire.send(b"0\r\n\r\n")
        assert (await wire.answer()).status == 460
    assert await client.offset(url) == 0


async def test_creation_with_upload(client: Client) -> None:
    """The first bytes of a creation are verified as well (CSUM-12)."""
    answer = await client.post({"Upload-Length": "11", **CT, "Upload-Checksum": HELLO_SHA1}, HELLO)
    assert (answer.status, answer.offset) == (201, 11)


@pytest.mark.parametrize(("value", "status"), [(WRONG, 460), ("unknownalgo AAAA", 400), ("sha1", 400)])
async def test_refused_creation_leaves_nothing(
    client: Client, uploads: Callable[[], set[Path]], value: str, status: int
) -> None:
    """A creation whose first bytes are refused leaves no upload behind (CSUM-12)."""
    before = uploads()
    answer = await client.post({"Upload-Length": "11", **CT, "Upload-Checksum": value}, HELLO)
    assert answer.status == status
    assert "Location" not in answer.headers
    assert uploads() == before


@pytest.mark.parametrize("value", [WRONG, "sha1", "whatever AAAA"])
async def test_creation_without_body_ignores_it(client: Client, value: str) -> None:
    """Clients that announce the digest of the whole file on an empty creation are served (CSUM-13)."""
    answer = await client.post({"Upload-Length": "11", "Upload-Checksum": value})
    assert answer.status == 201
    assert await client.offset(answer.headers["Location"]) == 0


async def test_wrong_offset_wins(client: Client) -> None:
    """A wrong offset is found before the body is read, a wrong digest only after (CSUM-14)."""
    url = await client.create(11)
    answer = await client.patch(url, 3, HELLO[3:], {"Upload-Checksum": WRONG})
    assert (answer.status, answer.offset) == (409, 0)


@pytest.mark.parametrize("trailer", ["Upload-Checksum", "X-Other, upload-checksum"])
@pytest.mark.parametrize("method", ["PATCH", "POST"])
async def test_checksum_in_a_trailer_is_refused(
    client: Client, uploads: Callable[[], set[Path]], method: str, trailer: str
) -> None:
    """A trailer that cannot be read must not be passed over in silence (CSUM-15, -16)."""
    assert "checksum-trailer" not in (await client.send("OPTIONS")).headers["Tus-Extension"].split(",")
    url = await client.create(11)
    before = uploads()
    headers = {**T, **CT, "Trailer": trailer, "Transfer-Encoding": "chunked"}
    headers |= {"Upload-Offset": "0"} if method == "PATCH" else {"Upload-Length": "11"}
    async with await Wire.open(url) as wire:
        wire.start(method, url if method == "PATCH" else client.base, headers)
        wire.send(b"b\r\n" + HELLO + b"\r\n0\r\nUpload-Checksum: " + HELLO_SHA1.encode() + b"\r\n\r\n")
        answer = await wire.answer()
    assert (answer.status, answer.code) == (400, "ERR_CHECKSUM_TRAILER_UNSUPPORTED")
    assert await client.offset(url) == 0
    assert uploads() == before


async def test_extension_off(start_server: StartServer, client_of: Callable[[Target], Client]) -> None:
    """Without the extension the header means nothing, and no algorithm is advertised (CSUM-17)."""
    client = client_of(await start_server(disable_extension=["checksum"]))
    options = await client.send("OPTIONS")
    assert "Tus-Checksum-Algorithm" not in options.headers
    assert "checksum" not in options.headers["Tus-Extension"].split(",")
    url = await client.create(11)
    assert (await client.patch(url, 0, HELLO, {"Upload-Checksum": WRONG})).status == 204
    assert (await client.get(url)).body == HELLO


@pytest.mark.parametrize(("data", "status"), [(HELLO, 204), (b"hello_world", 460)])
async def test_hexadecimal_digest(client: Client, data: bytes, status: int) -> None:
    """tusc.sh and tus-php encode the digest's hexadecimal form: taken if it matches (CSUM-18)."""
    url = await client.create(11)
    value = base64.b64encode(hashlib.sha1(HELLO).hexdigest().encode()).decode()
    assert (await client.patch(url, 0, data, {"Upload-Checksum": f"sha1 {value}"})).status == status


async def test_two_headers_are_refused(client: Client) -> None:
    """Two different announcements of one body cannot both be meant (CSUM-05)."""
    url = await client.create(11)
    async with await Wire.open(url) as wire:
        head = f"PATCH {url.partition(wire.host)[2]} HTTP/1.1\r\nHost: {wire.host}\r\nTus-Resumable: 1.0.0\r\n"
        head += f"Content-Type: {CT['Content-Type']}\r\nUpload-Offset: 0\r\nContent-Length: 11\r\n"
        head += f"Upload-Checksum: {HELLO_SHA1}\r\nUpload-Checksum: {WRONG}\r\n\r\n"
        wire.send(head.encode() + HELLO)
        answer = await wire.answer()
    assert (answer.status, answer.code) == (400, "ERR_INVALID_CHECKSUM")
    assert await client.offset(url) == 0


async def _grows(path: Path, size: int) -> bool:
    return path.exists() and os.path.getsize(path) > size


async def _is_long(path: Path, size: int) -> bool:
    return path.exists() and os.path.getsize(path) == size
