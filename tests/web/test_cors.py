"""Pages of other origins: who may upload from a browser, and what it may see of the answer (protocol 8)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import aiohttp
import pytest

import tusd_py
from tests.conftest import StartServer
from tests.support.client import CT, Answer, Client, T
from tests.support.rig import rig
from tests.support.servers import Target, launch, serve
from tusd_py.engine.context import Policy

A = "https://a.example"
PREFLIGHT = {
    "Origin": A,
    "Access-Control-Request-Method": "PATCH",
    "Access-Control-Request-Headers": "content-type,tus-resumable,upload-offset,x-request-id",
}
MAY_SEND = {
    "Authorization", "Origin", "X-Requested-With", "X-Request-ID", "X-HTTP-Method-Override", "Content-Type",
    "Upload-Length", "Upload-Offset", "Tus-Resumable", "Upload-Metadata", "Upload-Defer-Length", "Upload-Concat",
    "Upload-Checksum", "Upload-Incomplete", "Upload-Complete", "Upload-Draft-Interop-Version", "Content-Disposition",
    "Content-Digest", "Repr-Digest", "Idempotency-Key",
}  # fmt: skip
MAY_SEE = {
    "Location", "Upload-Offset", "Upload-Length", "Upload-Metadata", "Upload-Defer-Length", "Upload-Concat",
    "Upload-Expires", "Upload-Limit", "Tus-Version", "Tus-Resumable", "Tus-Max-Size", "Tus-Extension",
    "Tus-Checksum-Algorithm", "Upload-Complete", "Upload-Incomplete", "Upload-Draft-Interop-Version", "Retry-After",
}  # fmt: skip
UNKNOWN = "0" * 32


def listed(answer: Answer, name: str) -> set[str]:
    return {item.strip() for item in answer.headers.get(name, "").split(",")}


def granted(answer: Answer) -> list[str]:
    """Return every CORS header of an answer."""
    return [name for name in answer.headers if name.lower().startswith("access-control-")]


def assert_readable(answer: Answer, origin: str = A) -> None:
    """A page of that origin can read the answer and everything in it."""
    assert answer.headers.getall("Access-Control-Allow-Origin") == [origin]
    assert "Origin" in listed(answer, "Vary")
    assert listed(answer, "Access-Control-Expose-Headers") >= MAY_SEE
    assert "Access-Control-Allow-Methods" not in answer.headers


@pytest.fixture(scope="module")
async def strict(mode: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    """A server for some origins only, with credentials."""
    async with serve(
        mode,
        tmp_path_factory.mktemp("strict") / "data",
        cors_allow_origin=["https://tus.io", "http://tus.io", "https://*.a.com", "https://b.com:8443"],
        cors_allow_credentials=True,
    ) as target:
        yield target


@pytest.mark.parametrize("upload", ["", UNKNOWN], ids=["base", "upload"])
async def test_preflight(client: Client, upload: str) -> None:
    """A preflight is answered by itself, for any upload and without Tus-Resumable, and says what may be sent.

    (CORS-01, CORS-02, reliability 5.2 row 34)
    """
    answer = await client.send("OPTIONS", client.base + upload, PREFLIGHT)
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == A
    assert "Origin" in listed(answer, "Vary")
    assert listed(answer, "Access-Control-Allow-Methods") >= {"POST", "HEAD", "PATCH", "OPTIONS", "GET", "DELETE"}
    assert listed(answer, "Access-Control-Allow-Headers") >= MAY_SEND
    assert answer.headers["Access-Control-Max-Age"] == "86400"
    assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_preflight_tells_nothing_about_uploads(client: Client) -> None:
    """A preflight for an upload that exists has the same answer as for one that does not.

    (CORS-12, reliability 5.2 row 34)
    """
    url = await client.create(5)
    answers = [await client.send("OPTIONS", each, PREFLIGHT) for each in (url, client.base + UNKNOWN)]
    known, unknown = ({k: v for k, v in answer.headers.items() if k != "Date"} for answer in answers)
    assert known == unknown


async def test_actual_requests(client: Client) -> None:
    """Every answer of an upload's life can be read by the page, with all its headers. (CORS-03)"""
    origin = {"Origin": A}
    made = await client.post({**origin, "Upload-Length": "3"})
    url = made.headers["Location"]
    patched = await client.patch(url, 0, b"abc", origin)
    looked = await client.send("HEAD", url, {**T, **origin})
    loaded = await client.get(url, origin)
    removed = await client.send("DELETE", url, {**T, **origin})
    discovered = await client.send("OPTIONS", None, origin)
    answers = [made, patched, looked, loaded, removed, discovered]
    assert [answer.status for answer in answers] == [201, 204, 200, 200, 204, 200]
    for answer in answers:
        assert_readable(answer)


@pytest.mark.parametrize(
    ("method", "upload", "headers", "body", "status"),
    [
        ("HEAD", UNKNOWN, T, b"", 404),
        ("GET", UNKNOWN, {}, b"", 404),
        ("PUT", "{url}", T, b"", 405),
        ("GET", "", {}, b"", 405),
        ("PATCH", "{url}", {**T, **CT, "Upload-Offset": "1"}, b"x", 409),
        ("PATCH", "{url}", {"Tus-Resumable": "0.2.2", **CT, "Upload-Offset": "0"}, b"x", 412),
        ("PATCH", "{url}", {**T, **CT, "Upload-Offset": "0"}, b"x" * 11, 413),
        ("PATCH", "{url}", {**T, "Upload-Offset": "0", "Content-Type": "text/plain"}, b"x", 415),
        ("PATCH", "{url}", {**T, **CT, "Upload-Offset": "0", "Upload-Checksum": "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="},
         b"x", 460),
        ("POST", "", {**T, "Upload-Length": "x"}, b"", 400),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else None,
)  # fmt: skip
async def test_errors_are_readable(
    client: Client, *, method: str, upload: str, headers: Mapping[str, str], body: bytes, status: int
) -> None:
    """An error has the headers of a success: without them a script sees status 0 and cannot react. (CORS-04)"""
    url = await client.create(10) if upload == "{url}" else client.base + upload
    answer = await client.send(method, url, {**headers, "Origin": A}, body or None)
    assert answer.status == status
    assert_readable(answer)


async def test_broken_store_is_readable(client: Client, server: Target) -> None:
    """A 500 because the stored data is gone can be read by the page, too. (CORS-04)"""
    url = await client.create(10)
    await client.patch(url, 0, b"x")
    server.data_path(url).unlink()
    answer = await client.patch(url, 1, b"x", {"Origin": A})
    assert (answer.status, answer.code) == (500, "ERR_DATA_LOST")
    assert_readable(answer)


async def test_locked_is_readable(session: aiohttp.ClientSession) -> None:
    """A 423 can be read together with its Retry-After, or nobody tries again. (CORS-04, CORS-13)"""
    async with rig(Policy(lock_timeout=0)) as server:
        client = Client(session, server.url)
        url = await client.create(10)
        lock = await server.locker.acquire(url.rpartition("/")[2], timeout=0)
        answer = await client.patch(url, 0, b"x", {"Origin": A})
        await lock.release()
    assert (answer.status, answer.headers["Retry-After"]) == (423, "1")
    assert_readable(answer)


async def test_credentials(strict: Target, client_of: Callable[[Target], Client]) -> None:
    """With credentials the origin is named, never `*`; preflight and request both say so. (CORS-05)"""
    client = client_of(strict)
    preflight = await client.send("OPTIONS", None, {**PREFLIGHT, "Origin": "https://tus.io"})
    actual = await client.post({"Upload-Length": "1", "Origin": "https://tus.io"})
    assert (preflight.status, actual.status) == (200, 201)
    for answer in (preflight, actual):
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert answer.headers["Access-Control-Allow-Origin"] == "https://tus.io"
    assert_readable(actual, "https://tus.io")


@pytest.mark.parametrize(
    "origin", ["https://tus.io", "http://tus.io", "https://x.a.com", "https://x.y.a.com", "https://b.com:8443"]
)
async def test_allowed_origin(strict: Target, client_of: Callable[[Target], Client], origin: str) -> None:
    """An origin on the list, or one that a pattern of the list matches as a whole, may upload. (CORS-06)"""
    answer = await client_of(strict).post({"Upload-Length": "1", "Origin": origin})
    assert answer.status == 201
    assert_readable(answer, origin)


@pytest.mark.parametrize(
    "origin",
    [
        "https://tus.io.evil.org", "https://eviltus.io", "https://tus.io:444", "https://tus.io/", "https://tusXio",
        "https://x.tus.io", "ftp://tus.io", "tus.io", "*", "null", "", "https://a.com", "https://.a.com",
        "http://x.a.com", "https://x.a.com.evil.com", "https://x.a.com:444", "https://evil.com/.a.com",
        "https://evil.com#.a.com", "https://evil.com\\.a.com", "https://user@x.a.com", "https://b.com",
        "https://b.com:8444", "https://tus.io, https://evil.org", "https://ev\u0131l.a.com",
    ],
)  # fmt: skip
async def test_disallowed_origin(strict: Target, client_of: Callable[[Target], Client], origin: str) -> None:
    """Any other origin is refused before the request does anything, and gets no CORS header at all.

    (CORS-06, CORS-07, CORS-09, reliability 5.2 row 41)
    """
    client = client_of(strict)
    url = await client.create(5)
    foreign = {"Origin": origin}
    answers = [
        await client.send("OPTIONS", None, {**PREFLIGHT, **foreign}),
        await client.send("OPTIONS", url, foreign),
        await client.patch(url, 0, b"hello", foreign),
        await client.send("DELETE", url, {**T, **foreign}),
        await client.get(url, foreign),
    ]
    for answer in answers:
        assert (answer.status, answer.code) == (403, "ERR_ORIGIN_NOT_ALLOWED")
        assert granted(answer) == []
        assert listed(answer, "Vary") == {"Origin"}
    assert await client.offset(url) == 0
    assert strict.stored(url) == 0


async def test_disallowed_origin_creates_nothing(strict: Target, client_of: Callable[[Target], Client]) -> None:
    """A POST from a disallowed origin leaves neither an upload nor a file. (CORS-07)"""
    before = sorted((strict.data_dir / "uploads").rglob("*"))
    answer = await client_of(strict).post({"Upload-Length": "1", "Origin": "https://evil.org"}, b"x")
    assert (answer.status, "Location" in answer.headers) == (403, False)
    assert sorted((strict.data_dir / "uploads").rglob("*")) == before


async def test_same_origin(strict: Target, client_of: Callable[[Target], Client]) -> None:
    """Browsers name the origin on same-origin requests, too: our own page needs no place on the list. (CORS-08)"""
    client, own = client_of(strict), {"Origin": f"http://{strict.host}"}
    made = await client.post({"Upload-Length": "3", **own})
    assert made.status == 201
    assert (await client.patch(made.headers["Location"], 0, b"abc", own)).status == 204
    assert (await client.send("DELETE", made.headers["Location"], {**T, **own})).status == 204


async def test_same_origin_under_the_public_name(
    start_server: StartServer, client_of: Callable[[Target], Client]
) -> None:
    """Behind a proxy the server's own origin is the one in its public URL. (CORS-08)"""
    target = await start_server(public_url="https://up.example/files/", cors_allow_origin=["https://tus.io"])
    client = client_of(target)
    assert (await client.post({"Upload-Length": "1", "Origin": "https://up.example"})).status == 201
    assert (await client.post({"Upload-Length": "1", "Origin": "https://up.example:444"})).status == 403


async def test_null_origin_where_any_is_allowed(client: Client) -> None:
    """Without a list the origin of a sandboxed page is as good as any. (CORS-09)"""
    answer = await client.post({"Upload-Length": "1", "Origin": "null"})
    assert answer.status == 201
    assert_readable(answer, "null")


async def test_null_origin_on_the_list(start_server: StartServer, client_of: Callable[[Target], Client]) -> None:
    """`null` is allowed by a list that names it. (CORS-09, reliability 5.2 row 41)"""
    client = client_of(await start_server(cors_allow_origin=["null"]))
    answer = await client.post({"Upload-Length": "1", "Origin": "null"})
    assert answer.status == 201
    assert_readable(answer, "null")
    assert (await client.post({"Upload-Length": "1", "Origin": A})).status == 403


async def test_disabled(start_server: StartServer, client_of: Callable[[Target], Client]) -> None:
    """Switched off, there is no CORS header, no Vary and no refusal: somebody else takes care of it. (CORS-10)"""
    client = client_of(await start_server(disable_cors=True))
    made = await client.post({"Upload-Length": "3", "Origin": A})
    url = made.headers["Location"]
    answers = [
        made,
        await client.send("OPTIONS", url, PREFLIGHT),
        await client.patch(url, 1, b"abc", {"Origin": A}),
        await client.patch(url, 0, b"abc", {"Origin": A}),
        await client.get(url, {"Origin": A}),
    ]
    assert [answer.status for answer in answers] == [201, 200, 409, 204, 200]
    for answer in answers:
        assert granted(answer) == []
        assert "Vary" not in answer.headers


@pytest.mark.parametrize("which", ["any", "list"])
async def test_vary_without_origin(
    client: Client, strict: Target, client_of: Callable[[Target], Client], which: str
) -> None:
    """A cache must not give an answer to a page that was made for no page: Vary is there without Origin, too.

    (CORS-11)
    """
    client = client if which == "any" else client_of(strict)
    url = await client.upload(b"abc")
    for answer in (await client.get(url), await client.send("OPTIONS", url), await client.get(client.base + UNKNOWN)):
        assert "Origin" in listed(answer, "Vary")
        assert granted(answer) == []


@pytest.mark.parametrize("origins", [[], ["*"], ["null"], ["https://*.com"]], ids="|".join)
async def test_credentials_for_anybody_are_refused(mode: str, tmp_path: Path, origins: list[str]) -> None:
    """Credentials together with origins that anybody can have: the server does not start, and makes nothing.

    (reliability 5.2 row 42)
    """
    settings = {"cors_allow_credentials": True, "cors_allow_origin": origins}
    if mode != "process":
        with pytest.raises(tusd_py.StartupError, match="cors_allow_credentials"):
            tusd_py.setup(aiohttp.web.Application(), data_dir=tmp_path / "data", **settings)
    else:
        child = await launch(tmp_path / "data", **settings)
        _, errors = await child.communicate()
        assert child.returncode not in (0, None)
        assert b"cors" in errors
        assert b"Traceback" not in errors
    assert not (tmp_path / "data").exists()
