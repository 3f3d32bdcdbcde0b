"""GET: what is served, under which names, and while an upload goes away (protocol 11)."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from email.utils import formatdate, parsedate_to_datetime

import aiohttp
import pytest

from tests.conftest import StartServer
from tests.support.client import Client, T
from tests.support.servers import Target
from tests.support.wire import Wire

UNKNOWN = "0" * 32

ODD_IDS = [
    "{id}.info", "{id}.lock", "{id}.tmp", "{id}/", "{id}/x", "./{id}", "../{id}", "{shard}/{id}", "{UPPER}", "{short}",
    ".", "..", "...", "../", "%2e", "%2e%2e", "%2e%2e%2f", "%2e%2e%2fuploads.sqlite3", "..%2fuploads.sqlite3",
    "../uploads.sqlite3", "..%5cuploads.sqlite3", "../../../../etc/passwd", "%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/etc/passwd", "%2fetc%2fpasswd", "a%00b", "{id}%00", "{id}%0a", "{id}%20", "{id}%3f", "a%2fb", "%c0%ae%c0%ae",
    "%ff", "%zz", "%", "%F0%9F%94%B5", "x" * 255, "x" * 256, "a" * 4096, "-", "--help", "*", "{id}*",
    "uploads.sqlite3", "lock", "con", ";ls", "$(id)", "{id};x", "{id}%2e", "~", "a+b",
]  # fmt: skip
"""`{id}/` is a spelling of the upload itself and so only looked at for what must not happen."""


@pytest.mark.parametrize("size", [1, 100, 262_143, 262_144, 262_145, 3_000_000])
async def test_complete_upload(client: Client, size: int) -> None:
    """A finished upload is served byte for byte, with its length and a validator. (GET-01)"""
    data = os.urandom(size)
    answer = await client.get(await client.upload(data))
    assert answer.status == 200
    assert answer.body == data
    assert answer.headers["Content-Length"] == str(size)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"].startswith('"')
    assert parsedate_to_datetime(answer.headers["Last-Modified"])


async def test_several_requests_on_one_connection(client: Client) -> None:
    """After a download the connection serves the next request. (GET-01)"""
    url = await client.upload(b"hello")
    async with await Wire.open(url) as wire:
        for _ in range(3):
            wire.start("GET", url, {})
            assert (await wire.answer()).body == b"hello"


async def test_pipelined_downloads(client: Client) -> None:
    """Two requests in one packet get two answers in order. (GET-01, reliability 5.2 row 14)"""
    first, second = await client.upload(b"a" * 600_000), await client.upload(b"b" * 10)
    async with await Wire.open(first) as wire:
        wire.start("GET", first, {})
        wire.start("GET", second, {})
        assert (await wire.answer()).body == b"a" * 600_000
        assert (await wire.answer()).body == b"b" * 10


async def test_http_1_0(client: Client) -> None:
    """An HTTP/1.0 client gets the bytes, and then the end of the connection. (GET-01)"""
    url = await client.upload(b"hello" * 100_000)
    async with await Wire.open(url) as wire:
        wire.start("GET", url, {}, "1.0")
        assert (await wire.answer()).body == b"hello" * 100_000
        assert await wire.closed() == b""


@pytest.mark.parametrize("sent", [0, 4], ids=["nothing", "some bytes"])
async def test_incomplete_upload(client: Client, sent: int) -> None:
    """An unfinished upload is not there yet: a truncated 200 would look like a whole file. (GET-03, row 28)"""
    url = await client.create(10)
    if sent:
        assert (await client.patch(url, 0, b"x" * sent)).status == 204
    answer = await client.get(url)
    assert (answer.status, answer.code) == (404, "ERR_UPLOAD_NOT_FOUND")
    assert await client.offset(url) == sent


async def test_deferred_upload(client: Client) -> None:
    """An upload whose length is not known cannot be finished, however many bytes it has. (GET-03)"""
    url = await client.create(None)
    assert (await client.patch(url, 0, b"x" * 10)).status == 204
    assert (await client.get(url)).status == 404


async def test_empty_upload(client: Client) -> None:
    """An upload of no bytes is a file of no bytes. (GET-04)"""
    answer = await client.get(await client.create(0))
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "0", b"")


async def test_removed_upload(client: Client) -> None:
    """What was removed is as unknown as what never was. (row 28)"""
    url = await client.upload(b"hello")
    assert (await client.delete(url)).status == 204
    gone, unknown = await client.get(url), await client.get(client.base + UNKNOWN)
    assert gone.status in (404, 410)
    assert unknown.status == 404
    assert gone.body == unknown.body


async def test_expired_upload(start_server: StartServer, client_of: Callable[[Target], Client]) -> None:
    """What has expired is not served; what was finished in time stays. (row 28)"""
    client = client_of(await start_server(expire_after="100ms"))
    partial = await client.upload(b"hello", Upload_Concat="partial")
    whole = await client.upload(b"hello")

    async def is_gone() -> bool:
        return (await client.get(partial)).status in (404, 410)

    async with asyncio.timeout(10):
        while not await is_gone():
            await asyncio.sleep(0.02)
    assert (await client.get(whole)).body == b"hello"


async def test_downloads_switched_off(start_server: StartServer, client_of: Callable[[Target], Client]) -> None:
    """Switched off, GET is not allowed, Allow says so, and whether the upload exists makes no difference. (GET-12)"""
    client = client_of(await start_server(disable_download=True))
    url = await client.upload(b"hello")
    for each in (url, client.base + UNKNOWN):
        answer = await client.get(each)
        assert (answer.status, answer.code) == (405, "ERR_METHOD_NOT_ALLOWED")
        assert "GET" not in answer.headers["Allow"]
        assert "HEAD" in answer.headers["Allow"]


async def test_base(client: Client) -> None:
    """There is no list of uploads. (GET-13)"""
    for base in (client.base, client.base.rstrip("/")):
        answer = await client.get(base)
        assert (answer.status, answer.code) == (405, "ERR_METHOD_NOT_ALLOWED")


@pytest.mark.parametrize("method", ["If-None-Match", "If-Modified-Since"])
async def test_unchanged(client: Client, method: str) -> None:
    """Who has the file already gets 304 and no bytes. (GET-14)"""
    url = await client.upload(b"hello")
    first = await client.get(url)
    value = first.headers["ETag" if method == "If-None-Match" else "Last-Modified"]
    again = await client.get(url, {method: value})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]


@pytest.mark.parametrize(
    "headers",
    [
        {"If-None-Match": '"other"'},
        {"If-None-Match": "garbage"},
        {"If-Modified-Since": formatdate(0, usegmt=True)},
        {"If-Modified-Since": "not a date"},
        {"If-Modified-Since": f"Thu, 01 Jan {'9' * 30} 00:00:00 GMT"},
        {"If-None-Match": '"other"', "If-Modified-Since": formatdate(4e9, usegmt=True)},
    ],
    ids=["tag", "no tag", "date", "no date", "no year", "tag wins"],
)
async def test_changed(client: Client, headers: dict[str, str]) -> None:
    """A validator that does not fit, or is none, changes nothing. (GET-14)"""
    answer = await client.get(await client.upload(b"hello"), headers)
    assert (answer.status, answer.body) == (200, b"hello")


async def test_list_and_star(client: Client) -> None:
    """If-None-Match takes lists, weak tags and `*`. (GET-14)"""
    url = await client.upload(b"hello")
    tag = (await client.get(url)).headers["ETag"]
    for value in (f'"a", {tag}', f"W/{tag}", "*"):
        assert (await client.get(url, {"If-None-Match": value})).status == 304


@pytest.fixture(scope="module")
async def finished(session: aiohttp.ClientSession, server: Target) -> str:
    """Return the id of a finished upload, whose neighbours nobody must reach."""
    url = await Client(session, server.url).upload(b"secret")
    return url.rpartition("/")[2]


@pytest.mark.parametrize("odd", ODD_IDS, ids=lambda odd: ascii(odd)[1:25])
async def test_odd_ids(client: Client, server: Target, finished: str, odd: str) -> None:
    """An id that is none is an unknown upload for every method: no file is touched, nothing fails.

    (GET-15, reliability 5.2 row 16)
    """
    place = odd.format(id=finished, shard=finished[:2], UPPER=finished.upper(), short=finished[:-1])
    if place.upper() == finished:
        pytest.skip("an id without letters")
    before = sorted(server.data_dir.rglob("*"))
    unknown = {method: await _raw(server, method, UNKNOWN) for method in _HEADERS}
    for method, expected in unknown.items():
        answer = await _raw(server, method, place)
        if odd == "{id}/" and method in ("GET", "HEAD"):
            assert answer.status == 200
        elif odd == "{id}/":
            break
        elif answer.status == 404 and answer.headers.get("X-Content-Type-Options") is None:
            assert "/files/" not in _normal(place), "not below the mount: the application has answered"
        else:
            assert answer.status in (404, 400), (method, answer)
            if answer.status == 404:
                assert answer.body == expected.body
        assert b"secret" not in answer.body or odd == "{id}/"
    assert sorted(server.data_dir.rglob("*")) == before
    assert (await client.get(client.base + finished)).body == b"secret"


_HEADERS = {
    "GET": {},
    "HEAD": T,
    "PATCH": {**T, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream", "Content-Length": "0"},
    "DELETE": T,
}


async def _raw(server: Target, method: str, place: str) -> object:
    async with await Wire.open(server.url) as wire:
        wire.start(method, "/files/" + place, _HEADERS[method])
        return await wire.answer(head=method == "HEAD")


def _normal(place: str) -> str:
    return os.path.normpath("/files/" + place) + "/"


async def test_removed_while_downloading(client: Client) -> None:
    """A download that is under way gets all its bytes although the upload is removed meanwhile. (GET-16)"""
    data = os.urandom(24 * 2**20)
    url = await client.upload(data)
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        # A small window, so that most of the file is still to be read when the upload goes away.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        sock.setblocking(False)
        host, port = url.split("/")[2].split(":")
        await loop.sock_connect(sock, (host, int(port)))
        await loop.sock_sendall(sock, f"GET /files/{url.rpartition('/')[2]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head, _, received = (await loop.sock_recv(sock, 4096)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert (await client.delete(url)).status == 204
        assert (await client.get(url)).status in (404, 410)
        rest = bytearray(received)
        while len(rest) < len(data):
            piece = await asyncio.wait_for(loop.sock_recv(sock, 2**20), 10)
            assert piece, "the connection was closed early"
            rest += piece
    assert rest == data
