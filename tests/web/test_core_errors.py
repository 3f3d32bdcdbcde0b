"""The error catalogue: every code that can be reached, with its status and its words (protocol section 13)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.client import CT, Answer, Client, T, chunked
from tests.support.servers import Target, embedded, serve
from tests.support.state import check_refusal
from tests.support.waiting import until
from tests.support.wire import Wire

Request = Callable[[Client], Awaitable[Answer]]
UNKNOWN = "0123456789abcdef0123456789abcdef"


def posting(headers: dict[str, str], body: bytes | None = None) -> Request:
    """Return a request that creates."""
    return lambda client: client.post(headers, body)


def patching(headers: dict[str, str], body: bytes = b"hello") -> Request:
    """Return a request that appends to a new upload of ten bytes."""

    async def send(client: Client) -> Answer:
        return await client.patch(await client.create(10), 0, body, headers)

    return send


async def _unfinished_part(client: Client) -> Answer:
    return await client.post({"Upload-Concat": f"final;{await client.create(5, Upload_Concat='partial')}"})


async def _patched_final(client: Client) -> Answer:
    part = await client.upload(b"hello", Upload_Concat="partial")
    final = (await client.post({"Upload-Concat": f"final;{part}"})).headers["Location"]
    return await client.patch(final, 5)


CATALOGUE: dict[str, tuple[int, str, Request]] = {
    "version": (412, "ERR_UNSUPPORTED_VERSION", patching({"Tus-Resumable": "0.2.2"})),
    "media type": (415, "ERR_INVALID_CONTENT_TYPE", patching({"Content-Type": "text/plain"})),
    "encoding": (415, "ERR_UNSUPPORTED_CONTENT_ENCODING", patching({"Content-Encoding": "compress"})),
    "offset": (400, "ERR_INVALID_OFFSET", patching({"Upload-Offset": "x"})),
    "other offset": (409, "ERR_MISMATCHED_OFFSET", patching({"Upload-Offset": "5"})),
    "length": (400, "ERR_INVALID_UPLOAD_LENGTH", posting({"Upload-Length": "x"})),
    "no length": (400, "ERR_INVALID_UPLOAD_LENGTH", posting({})),
    "changed length": (400, "ERR_INVALID_UPLOAD_LENGTH", patching({"Upload-Length": "9"})),
    "promise": (400, "ERR_INVALID_UPLOAD_LENGTH_DEFER", posting({"Upload-Defer-Length": "2"})),
    "both": (400, "ERR_AMBIGUOUS_UPLOAD_LENGTH", posting({"Upload-Length": "5", "Upload-Defer-Length": "1"})),
    "metadata": (400, "ERR_INVALID_METADATA", posting({"Upload-Length": "5", "Upload-Metadata": "k" * 2000})),
    "unknown": (404, "ERR_UPLOAD_NOT_FOUND", lambda client: client.patch(client.base + UNKNOWN, 0)),
    "unknown DELETE": (404, "ERR_UPLOAD_NOT_FOUND", lambda client: client.delete(client.base + UNKNOWN)),
    "unknown GET": (404, "ERR_UPLOAD_NOT_FOUND", lambda client: client.get(client.base + UNKNOWN)),
    "method": (405, "ERR_METHOD_NOT_ALLOWED", lambda client: client.send("PUT", None, T)),
    "method GET": (405, "ERR_METHOD_NOT_ALLOWED", lambda client: client.get(client.base)),
    "too large body": (413, "ERR_UPLOAD_SIZE_EXCEEDED", patching({}, b"hello worlds")),
    "expectation": (417, "ERR_EXPECTATION_FAILED", patching({"Expect": "something-else"})),
    "concat": (400, "ERR_INVALID_CONCAT", posting({"Upload-Concat": "junk", "Upload-Length": "5"})),
    "part": (400, "ERR_UPLOAD_NOT_FINISHED", _unfinished_part),
    "final": (403, "ERR_MODIFY_FINAL", _patched_final),
    "checksum": (400, "ERR_INVALID_CHECKSUM", patching({"Upload-Checksum": "sha1"})),
    "algorithm": (400, "ERR_UNSUPPORTED_CHECKSUM_ALGORITHM", patching({"Upload-Checksum": "crc99 AAAA"})),
    "trailer": (400, "ERR_CHECKSUM_TRAILER_UNSUPPORTED", patching({"Trailer": "Upload-Checksum"})),
    "mismatch": (460, "ERR_CHECKSUM_MISMATCH", patching({"Upload-Checksum": "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="})),
}


@pytest.mark.parametrize(("status", "code", "request_of"), CATALOGUE.values(), ids=CATALOGUE)
async def test_error(client: Client, status: int, code: str, request_of: Request) -> None:
    """Each failure has its code, status, one sentence, Tus-Resumable and nosniff. (CORE-VER-06, section 13)"""
    answer = await request_of(client)
    check_refusal(answer, status, code)
    if status == 460:
        assert answer.reason == "Checksum Mismatch"
    assert ("Tus-Version" in answer.headers) == (status == 412)
    assert ("Allow" in answer.headers) == (status == 405)


@pytest.fixture(scope="module")
async def narrow(mode: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    """A server that allows little."""
    directory = tmp_path_factory.mktemp(f"narrow-{mode}") / "data"
    off = ["creation-with-upload", "creation-defer-length"]
    settings = {"cors_allow_origin": ["https://good.example"], "disable_extension": off, "expire_after": "1s"}
    async with serve(
        mode, directory, max_size=10, disable_concatenation=True, network_timeout="300ms", **settings
    ) as target:
        yield target


NARROW: dict[str, tuple[int, str, Request]] = {
    "size": (413, "ERR_MAX_SIZE_EXCEEDED", posting({"Upload-Length": "11"})),
    "concat off": (400, "ERR_CONCATENATION_UNSUPPORTED", posting({"Upload-Concat": "partial", "Upload-Length": "5"})),
    "data off": (501, "ERR_NOT_IMPLEMENTED", posting({"Upload-Length": "5", **CT}, b"hello")),
    "defer off": (501, "ERR_NOT_IMPLEMENTED", posting({"Upload-Defer-Length": "1"})),
    "origin": (403, "ERR_ORIGIN_NOT_ALLOWED", posting({"Upload-Length": "5", "Origin": "https://evil.example"})),
}


@pytest.mark.parametrize(("status", "code", "request_of"), NARROW.values(), ids=NARROW)
async def test_error_of_a_narrow_server(narrow: Target, client_of, status: int, code: str, request_of: Request) -> None:
    """What settings forbid has its code, too. (CORE-VER-06, section 13)"""
    answer = await request_of(client_of(narrow))
    check_refusal(answer, status, code)
    assert ("Tus-Max-Size" in answer.headers) == (status == 413)


async def test_expired(narrow: Target, client_of) -> None:
    """An expired upload is 410 for every method, with no offset. (CORE-VER-06, CORE-HEAD-08, section 13)"""
    client = client_of(narrow)
    url = await client.create(5)

    async def is_gone() -> bool:
        return (await client.head(url)).status == 410

    await until(is_gone)
    check_refusal(await client.patch(url, 0, b"hello"), 410, "ERR_UPLOAD_EXPIRED")
    check_refusal(await client.get(url), 410, "ERR_UPLOAD_EXPIRED")
    check_refusal(await client.delete(url), 410, "ERR_UPLOAD_EXPIRED")


async def test_silence(narrow: Target, client_of) -> None:
    """A body that stops is ended with 500, so that clients try again, on another connection. (section 13)"""
    url = await client_of(narrow).create(5)
    async with await Wire.open(url) as wire:
        wire.start("PATCH", url, {**T, **CT, "Upload-Offset": "0", "Content-Length": "5"})
        wire.send(b"he")
        answer = await wire.answer()
        check_refusal(answer, 500, "ERR_READ_TIMEOUT")
        assert answer.headers["Connection"] == "close"


async def test_interruption(client: Client, server: Target) -> None:
    """A PATCH that another one takes over is 400, and its connection is of no more use. (CORE-VER-06, section 13)"""
    url = await client.create(5)
    async with await Wire.open(url) as wire:
        await _half_sent(wire, server, url)
        answers = await asyncio.gather(wire.answer(), client.patch(url, 2, b"llo"))
        check_refusal(answers[0], 400, "ERR_UPLOAD_INTERRUPTED")
        assert answers[0].headers["Connection"] == "close"
    assert answers[1].status == 204


async def test_locked(tmp_path: Path, client_of) -> None:
    """Who waits too long for an upload gets 423 and may try again, never 500. (CORE-VER-06, section 13)

    Somebody who holds an upload and does not let go can only be played inside the server.
    """
    async with embedded(tmp_path / "data", lock_timeout="100ms") as target:
        assert target.tus is not None
        client = client_of(target)
        url = await client.create(5)
        lock = await target.tus.engine._ctx.locker.acquire(url.rsplit("/", 1)[1], timeout=1)
        try:
            for answer in (await client.patch(url, 0, b"hello"), await client.delete(url)):
                check_refusal(answer, 423, "ERR_UPLOAD_LOCKED")
                assert int(answer.headers["Retry-After"]) >= 1
        finally:
            await lock.release()
        assert (await client.patch(url, 0, b"hello")).status == 204


async def test_shutdown(start_server, client_of) -> None:
    """A PATCH that a shutdown ends is 503: what arrived is kept, trying again makes sense. (section 13)"""
    target: Target = await start_server()
    client = client_of(target)
    url = await client.create(5)
    async with await Wire.open(url) as wire:
        await _half_sent(wire, target, url)
        if target.process is not None:
            target.process.send_signal(signal.SIGTERM)
        else:
            assert target.tus is not None
            target.tus.drain()
        answer = await wire.answer()
        check_refusal(answer, 503, "ERR_SERVER_SHUTDOWN")
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["Connection"] == "close"
    if target.process is not None:
        assert await asyncio.wait_for(target.process.wait(), 20) == 0


async def test_no_space(start_server, client_of) -> None:
    """Bytes that do not fit are 507: the offset is right, and when there is space again, it goes on. (section 13)"""
    target: Target = await start_server()
    client = client_of(target)
    body = bytes(3 * 2**20)
    url = await client.create(len(body))
    with _largest_file(target, 2 * 2**20):
        answer = await client.patch(url, 0, body)
        check_refusal(answer, 507, "ERR_INSUFFICIENT_STORAGE")
        assert int(answer.headers["Retry-After"]) >= 1
        offset = await client.offset(url)
        assert offset <= 2 * 2**20
    assert (await client.patch(url, offset, body[offset:])).status == 204


async def test_broken_store(start_server, client_of) -> None:
    """A store that lost an upload's data is 500 with a code and no traceback. (CORE-VER-06, section 13)"""
    target: Target = await start_server()
    client = client_of(target)
    url = await client.create(5)
    await client.patch(url, 0, b"h")
    target.data_path(url).unlink()
    answer = await client.patch(url, 1, b"ello")
    check_refusal(answer, 500, "ERR_DATA_LOST")


async def test_unforeseen_failure(tmp_path: Path, client_of) -> None:
    """What nobody foresaw is 500 in words that tell nothing about the inside. (CORE-VER-06, section 13)

    Such a failure is worth a traceback in the log, which a server process of these tests must not have.
    """
    async with embedded(tmp_path / "data") as target:
        client = client_of(target)
        url = await client.create(5)
        with contextlib.closing(sqlite3.connect(target.data_dir / "uploads.sqlite3")) as database:
            database.execute("alter table uploads rename to hidden")
        for answer in (await client.patch(url, 0, b"hello"), await client.get(url), await client.delete(url)):
            check_refusal(answer, 500, "ERR_INTERNAL_SERVER_ERROR")
            assert b"sql" not in answer.body.lower()
        answer = await client.head(url)
        assert (answer.status, answer.body) == (500, b"")


@pytest.mark.parametrize(
    "headers", [{}, {"Tus-Resumable": "0.2.2"}, {"Tus-Resumable": "1.0.0"}], ids=["none", "other", "right"]
)
@pytest.mark.parametrize("path", ["", UNKNOWN, "a/b"])
async def test_head_errors_have_no_body(client: Client, path: str, headers: dict[str, str]) -> None:
    """An error on HEAD has all headers of an error and no body. (CORE-VER-06)"""
    answer = await client.send("HEAD", client.base + path, headers)
    assert answer.status in (404, 405, 412)
    assert answer.body == b""
    assert answer.headers.getall("Tus-Resumable") == ["1.0.0"]
    assert answer.headers.getall("X-Content-Type-Options") == ["nosniff"]
    assert answer.headers.getall("Cache-Control") == ["no-store"]
    assert "Upload-Offset" not in answer.headers


async def test_successes_have_the_headers_of_every_answer(client: Client) -> None:
    """Every answer has Tus-Resumable and nosniff, exactly once. (CORE-VER-06)"""
    url = await client.create(5)
    answers = [
        await client.send("OPTIONS"),
        await client.post({"Upload-Length": "5"}),
        await client.head(url),
        await client.patch(url, 0, chunked(b"hello")),
        await client.get(url),
        await client.get(url, {"Range": "bytes=1-2"}),
        await client.get(url, {"Range": "bytes=9-"}),
        await client.delete(url),
    ]
    assert [answer.status for answer in answers] == [200, 201, 200, 204, 200, 206, 416, 204]
    for answer in answers:
        assert answer.headers.getall("Tus-Resumable") == ["1.0.0"]
        assert answer.headers.getall("X-Content-Type-Options") == ["nosniff"], answer.status


async def _half_sent(wire: Wire, target: Target, url: str) -> None:
    """Send two of five bytes, and wait until they were stored."""
    wire.start("PATCH", url, {**T, **CT, "Upload-Offset": "0", "Content-Length": "5"})
    wire.send(b"he")

    async def is_written() -> bool:
        return target.stored(url) == 2

    await until(is_written)


@contextlib.contextmanager
def _largest_file(target: Target, size: int):
    """Let the server write no file beyond a size: the kernel then says EFBIG, as a full disk says ENOSPC."""
    pid = target.process.pid if target.process is not None else os.getpid()
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
