"""When an upload finishes, the application is told: once, and only for uploads that are there.

Functions of an application exist in its own process only, so these tests have one way of having a server.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web

import tusd_py
from tests.support.client import CT, Client, T, chunked
from tests.support.servers import Target, running
from tests.support.state import check_refusal, nothing_created
from tests.support.waiting import until
from tests.support.wire import Wire


@dataclass
class Application:
    """A server whose finished uploads are written down."""

    target: Target
    client: Client
    finished: list[tusd_py.FinishedUpload] = field(default_factory=list)

    async def told_of(self, url: str) -> list[tusd_py.FinishedUpload]:
        """Return what the application was told of an upload, when nothing more can be on its way."""
        # Jobs start in the order in which uploads finished: when this one ran, all before it did.
        last = await self.client.upload(b"last")

        async def is_told() -> bool:
            return any(upload.id == _id(last) for upload in self.finished)

        await until(is_told)
        return [upload for upload in self.finished if upload.id == _id(url)]

    async def told_in_all(self) -> list[str]:
        """Return the ids of everything the application was told of, when nothing more can be on its way."""
        await self.told_of("")
        return [upload.id for upload in self.finished]


@pytest.fixture(scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory, session: aiohttp.ClientSession) -> AsyncIterator[Application]:
    """An application with `on_finish`, registered before it starts."""
    host = web.Application()
    data_dir = tmp_path_factory.mktemp("finish") / "data"
    tus = tusd_py.setup(host, "/files", data_dir=data_dir)
    finished: list[tusd_py.FinishedUpload] = []

    @tus.on_finish
    async def write_down(upload: tusd_py.FinishedUpload) -> None:
        finished.append(upload)

    async with running(host) as url:
        target = Target(f"{url}/files/", data_dir, "embedded", tus=tus)
        yield Application(target, Client(session, target.url), finished)


async def test_upload_of_nothing_finishes(app: Application) -> None:
    """An upload of zero bytes finishes with its creation, once. (CRE-POST-07)"""
    url = await app.client.create(0)
    (told,) = await app.told_of(url)
    assert told.length == 0
    assert told.path is not None
    assert told.path.read_bytes() == b""
    assert (await app.client.patch(url, 0)).status == 204
    assert len(await app.told_of(url)) == 1


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_creation_with_all_bytes_finishes(app: Application, framing: str) -> None:
    """A creation that brings all bytes finishes its upload, once. (CWU-02)"""
    body = b"hello" if framing == "length" else chunked(b"hello")
    url = (await app.client.post({"Upload-Length": "5", **CT}, body)).headers["Location"]
    (told,) = await app.told_of(url)
    assert told.length == 5
    assert told.path == app.target.data_path(url)
    assert told.path.read_bytes() == b"hello"


async def test_creation_with_some_bytes_does_not_finish(app: Application) -> None:
    """A creation that brings only some bytes finishes nothing. (CWU-01)"""
    url = (await app.client.post({"Upload-Length": "6", **CT}, b"hello")).headers["Location"]
    assert await app.told_of(url) == []
    assert (await app.client.patch(url, 5, b"!")).status == 204
    assert len(await app.told_of(url)) == 1


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_refused_creation_does_not_finish(app: Application, framing: str) -> None:
    """A creation whose body was too long is gone; nobody is told of it. (CWU-04, row 6)"""
    before = await app.told_in_all()
    with nothing_created(app.target):
        body = b"hello world" if framing == "length" else chunked(b"hello", b" world")
        answer = await app.client.post({"Upload-Length": "5", **CT}, body)
        check_refusal(answer, 413, "ERR_UPLOAD_SIZE_EXCEEDED")
    assert len(await app.told_in_all()) == len(before) + 1


async def test_length_alone_finishes(app: Application) -> None:
    """The declaration of a length that is already reached finishes the upload, once. (DEF-03)"""
    url = await app.client.create(None)
    await app.client.patch(url, 0, b"hello")
    assert await app.told_of(url) == []
    for _ in range(2):
        answer = await app.client.patch(url, 5, b"", {"Upload-Length": "5"})
        assert answer.status == 204
        assert len(await app.told_of(url)) == 1


async def test_append_to_a_finished_upload_does_not_finish_it_again(app: Application) -> None:
    """Nothing that comes after the last byte finishes an upload again. (CORE-PATCH-12)"""
    url = await app.client.upload(b"hello")
    assert len(await app.told_of(url)) == 1
    for offset, body, status in ((5, b"", 204), (5, chunked(), 204), (5, b"x", 413), (0, b"hello", 409), (5, b"", 204)):
        assert (await app.client.patch(url, offset, body)).status == status
    assert len(await app.told_of(url)) == 1


async def test_overflowing_patch_finishes_once(app: Application) -> None:
    """A chunked body one byte too long fills the upload: it finishes once, with the right bytes. (CORE-BODY-02)"""
    url = await app.client.create(5)
    check_refusal(await app.client.patch(url, 0, chunked(b"hello!")), 413, "ERR_UPLOAD_SIZE_EXCEEDED")
    (told,) = await app.told_of(url)
    assert told.path is not None
    assert told.path.read_bytes() == b"hello"


async def test_refused_requests_finish_nothing(app: Application) -> None:
    """Requests in another version, at another offset or of another type finish nothing. (CORE-VER-01)"""
    before = await app.told_in_all()
    url = await app.client.create(5)
    await app.client.send("POST", None, {"Tus-Resumable": "0.2.2", "Upload-Length": "0"})
    await app.client.send("POST", None, {"Tus-Resumable": "0.2.2", "Upload-Length": "5", **CT}, b"hello")
    await app.client.patch(url, 0, b"hello", {"Tus-Resumable": "0.2.2"})
    await app.client.patch(url, 0, b"hello", {"Content-Type": "text/plain"})
    await app.client.patch(url, 5, b"", {"Upload-Length": "5"})
    assert len(await app.told_in_all()) == len(before) + 1


async def test_racing_last_appends_finish_once(app: Application) -> None:
    """Of many PATCHes with the last bytes at most one wins, and the upload finishes once. (CORE-PATCH-12)"""
    url = await app.client.create(5)
    answers = await asyncio.gather(*(app.client.patch(url, 0, b"hello") for _ in range(6)))
    assert [answer.status for answer in answers].count(204) <= 1
    assert {answer.status for answer in answers} <= {204, 400, 409}
    offset = await app.client.offset(url)
    assert (await app.client.patch(url, offset, b"hello"[offset:])).status == 204
    (told,) = await app.told_of(url)
    assert told.path is not None
    assert told.path.read_bytes() == b"hello"


async def test_application_reads_metadata(app: Application) -> None:
    """The application gets the pairs decoded; a key without value has an empty one. (CRE-META-01, CRE-META-04)"""
    url = await app.client.upload(b"hello", Upload_Metadata="filename d29ybGQucGRm,is_confidential,note ,x eA==")
    (told,) = await app.told_of(url)
    assert told.metadata == {"filename": "world.pdf", "is_confidential": "", "note": "", "x": "x"}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, {}),
        ("", {}),
        ("a YQ==, b Yg==", {"a": "a", "b": "b"}),
        ("a YQ==,", {"a": "a"}),
        (",a YQ==", {"a": "a"}),
        ("k !!!,a YQ==", {"a": "a"}),
        ("k YQ== Yg==,a YQ==", {"a": "a"}),
        ("k YQ,a YQ==", {"a": "a"}),
        ("k -_-_,a YQ==", {"a": "a"}),
        ("k YR==,a YQ==", {"a": "a"}),
        ("k YQ==,k Yg==", {"k": "b"}),
        ("k YQ==,k", {"k": ""}),
        (f"k {b64encode(b'%0d%0a' + bytes([13, 10, 0])).decode()}", {"k": "%0d%0a\r\n\0"}),
        (f"k {b64encode(b'../../x').decode()}", {"k": "../../x"}),
        (f"k {b64encode(b'a' + bytes([255]) + b'b').decode()}", {"k": "a\ufffdb"}),
    ],
)
async def test_application_reads_odd_metadata(app: Application, header: str | None, expected: dict[str, str]) -> None:
    """Pairs that cannot be read are left out, the last of equal keys wins. (CRE-META-02, -03, -05, -06, -09)"""
    url = await app.client.upload(b"x", **({} if header is None else {"Upload_Metadata": header}))
    (told,) = await app.told_of(url)
    assert told.metadata == expected


async def test_cut_creation_finishes_later(app: Application) -> None:
    """A creation that was cut finishes nothing; its upload can still be filled, and then it does. (CWU-10)"""
    known = await app.told_in_all()
    files = app.target.data_dir / "uploads"
    before = {path.name for path in files.rglob("*") if path.is_file()}

    def made() -> list[str]:
        paths = [path for path in files.rglob("*") if path.is_file() and path.name not in before]
        return [path.name for path in paths if path.stat().st_size == 3]

    async def is_written() -> bool:
        return bool(made())

    async with await Wire.open(app.target.url) as wire:
        wire.start("POST", app.target.url, {**T, **CT, "Upload-Length": "100000", "Content-Length": "100000"})
        wire.send(b"hel")
        await until(is_written)
        url = app.client.base + made()[0]
        wire.finish()

        async def is_kept() -> bool:
            return await app.client.offset(url) == 3

        await until(is_kept)
    assert await app.told_of(url) == []
    assert (await app.client.patch(url, 3, bytes(99_997))).status == 204
    assert len(await app.told_of(url)) == 1
    assert set(known) < {upload.id for upload in app.finished}


def _id(url: str) -> str:
    return url.rsplit("/", 1)[-1]
