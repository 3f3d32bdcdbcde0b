"""Requests whose framing is wrong, hostile or merely large (protocol 2.5; reliability 5.2)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.support.client import CT, Client, T
from tests.support.servers import Target, serve
from tests.support.wire import Wire

GOOD = {**T, **CT, "Upload-Offset": "0"}


@pytest.fixture(scope="module")
async def server(mode: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    """A server for attacks only. At its end it must show that none of them was worth a traceback in the log.

    It is quick to give up on bodies, because aiohttp does not tell when the framing of one is broken.
    """
    place = tmp_path_factory.mktemp(f"attacked-{mode}") / "data"
    async with serve(mode, place, network_timeout="500ms", checkpoint_bytes=1) as target:
        yield target


@pytest.fixture
def client(session: aiohttp.ClientSession, server: Target) -> Client:
    """A client of that server."""
    return Client(session, server.url)


def head_of(client: Client, first: str, headers: dict[str, str], *more: str) -> bytes:
    host = client.base.split("/")[2]
    lines = [first, f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items()), *more, "", ""]
    return "\r\n".join(lines).encode("latin-1")


LINES = {
    "both lengths": ("Content-Length: 11", "Transfer-Encoding: chunked"),
    "both lengths, other order": ("Transfer-Encoding: chunked", "Content-Length: 11"),
    "two different lengths": ("Content-Length: 11", "Content-Length: 12"),
    "two equal lengths": ("Content-Length: 11", "Content-Length: 11"),
    "list of lengths": ("Content-Length: 11, 11",),
    "negative length": ("Content-Length: -11",),
    "length with a sign": ("Content-Length: +11",),
    "length with an underscore": ("Content-Length: 1_1",),
    "hexadecimal length": ("Content-Length: 0xb",),
    "length of 2^64": ("Content-Length: 18446744073709551616",),
    "unknown transfer coding": ("Transfer-Encoding: xchunked",),
    "chunked twice": ("Transfer-Encoding: chunked, chunked",),
    "chunked is not last": ("Transfer-Encoding: chunked, gzip",),
    "another coding before chunked": ("Transfer-Encoding: gzip, chunked",),
    "folded line": ("Content-Length: 11", "X-Folded: a", " b"),
    "space before the colon": ("Content-Length : 11",),
    "bare line feed": ("Content-Length: 11\nX-Other: 1",),
    "bare carriage return": ("Content-Length: 11\rX-Other: 1",),
    "zero byte": ("Content-Length: 11", "X-Zero: a\0b"),
    "two hosts": ("Content-Length: 11", "Host: evil.example"),
    "no colon": ("Content-Length: 11", "nonsense"),
    "empty name": ("Content-Length: 11", ": value"),
}


@pytest.mark.parametrize("lines", LINES.values(), ids=LINES)
async def test_bad_head(client: Client, server: Target, lines: tuple[str, ...]) -> None:
    """A head that different servers may read differently is refused with 400 and the connection is closed.

    (CORE-BODY-15, CORE-BODY-16, reliability 5.2 row 8)
    """
    url = await client.create(11)
    path = url[url.index("/files") :]
    async with await Wire.open(url) as wire:
        body = b"hello world" if "chunked" not in str(lines) else b"b\r\nhello world\r\n0\r\n\r\n"
        wire.send(head_of(client, f"PATCH {path} HTTP/1.1", GOOD, *lines) + body)
        assert (await wire.answer()).status == 400
        wire.finish()
        assert b" 20" not in await wire.closed()
    assert await client.offset(url) == 0
    assert server.stored(url) == 0


FIRST = {
    "lower-case method": "patch {path} HTTP/1.1",
    "unknown version": "PATCH {path} HTTP/3.7",
    "version of another protocol": "PATCH {path} HTTP/2.0",
    "no path": "PATCH HTTP/1.1",
    "not HTTP": "\x16\x03\x01\x02\x00\x01",
}


@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
async def test_bad_request_line(client: Client, server: Target, first: str) -> None:
    """A request line that is none is refused with 400 and the connection is closed. (reliability 5.2 row 8)."""
    url = await client.create(11)
    async with await Wire.open(url) as wire:
        line = first.format(path=url[url.index("/files") :])
        wire.send(head_of(client, line, {**GOOD, "Content-Length": "11"}) + b"hello world")
        assert (await wire.answer()).status == 400
        wire.finish()
        assert b" 20" not in await wire.closed()
    assert await client.offset(url) == 0
    assert server.stored(url) == 0


async def test_no_host(client: Client, server: Target) -> None:
    """HTTP/1.1 without Host is refused with 400 and the connection is closed. (reliability 5.2 row 8)."""
    url = await client.create(11)
    async with await Wire.open(url) as wire:
        path = url[url.index("/files") :]
        lines = [f"PATCH {path} HTTP/1.1", *(f"{name}: {value}" for name, value in GOOD.items())]
        wire.send("\r\n".join([*lines, "Content-Length: 11", "", "hello world"]).encode())
        assert (await wire.answer()).status == 400
        wire.finish()
        assert b" 20" not in await wire.closed()
    assert await client.offset(url) == 0
    assert server.stored(url) == 0


@pytest.mark.parametrize("line", [b"zz\r\nworld\r\n", b"-5\r\nworld\r\n", b"0x5\r\nworld\r\n", b"5 world"], ids=repr)
async def test_bad_chunk_size(client: Client, server: Target, line: bytes) -> None:
    """What came before a malformed chunk is kept, what follows is not; the answer is 400. (CORE-BODY-16)."""
    url = await client.create(100)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {"Transfer-Encoding": "chunked"})
        wire.send_chunk(b"hello")
        await server.until_stored(url, 5)
        wire.send(line)
        answer = await wire.answer()
        assert (answer.status, answer.headers["Connection"].lower()) == (400, "close")
        wire.finish()
        await wire.closed()
    assert await client.offset(url) == 5
    assert server.data_path(url).read_bytes() == b"hello"


async def test_bad_first_chunk(client: Client, server: Target) -> None:
    """A body whose first chunk is malformed stores nothing. (CORE-BODY-16)."""
    url = await client.create(100)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {"Transfer-Encoding": "chunked"})
        wire.send(b"nonsense\r\nhello\r\n0\r\n\r\n")
        assert (await wire.answer()).status == 400
        wire.finish()
        await wire.closed()
    assert await client.offset(url) == 0
    assert server.stored(url) == 0


async def test_chunked_with_http_1_0(client: Client, server: Target) -> None:
    """HTTP/1.0 knows no Transfer-Encoding: 400 and the connection is closed. (reliability 5.2 row 9)."""
    url = await client.create(11)
    async with await Wire.open(url) as wire:
        wire.start("PATCH", url, {**GOOD, "Transfer-Encoding": "chunked", "Connection": "keep-alive"}, version="1.0")
        wire.send_chunk(b"hello world")
        wire.send_chunk(b"")
        assert (await wire.answer()).status == 400
        assert await wire.closed() == b""
    assert await client.offset(url) == 0
    assert server.stored(url) == 0


async def test_http_1_0(client: Client) -> None:
    """HTTP/1.0 with Content-Length works, as some old proxies speak it. (reliability 5.2 row 9)."""
    url = await client.create(11)
    async with await Wire.open(url) as wire:
        wire.start("PATCH", url, {**GOOD, "Content-Length": "11"}, version="1.0")
        wire.send(b"hello world")
        assert (await wire.answer()).status == 204
        assert await wire.closed() == b""
    assert await client.offset(url) == 11


async def test_absolute_form(client: Client) -> None:
    """A request for an absolute URL is served by its path; its host goes nowhere. (reliability 5.2 row 10)."""
    async with await Wire.open(client.base) as wire:
        wire.send(head_of(client, "POST http://evil.example/files/ HTTP/1.1", {**T, "Upload-Length": "11"}))
        answer = await wire.answer()
        assert answer.status == 201
        assert answer.headers["Location"].startswith(client.base)
        name = answer.headers["Location"].rpartition("/")[2]
        patch = head_of(client, f"PATCH http://evil.example/files/{name} HTTP/1.1", {**GOOD, "Content-Length": "11"})
        wire.send(patch + b"hello world")
        assert (await wire.answer()).status == 204
    assert (await client.get(client.base + name)).body == b"hello world"


UPGRADES = {
    "websocket": {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                  "Sec-WebSocket-Version": "13"},
    "http 2": {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABkAARAAAAA"},
}  # fmt: skip


@pytest.mark.parametrize("method", ["PATCH", "GET", "POST"])
async def test_websocket(client: Client, server: Target, method: str) -> None:
    """A WebSocket upgrade with a body is refused and ends the connection: nothing in it is taken for a request.

    (reliability 5.2 row 11)
    """
    url = await client.create(11)
    smuggled = head_of(client, f"DELETE {url[url.index('/files') :]} HTTP/1.1", T)
    async with await Wire.open(url) as wire:
        wire.start(method, url, {**GOOD, **UPGRADES["websocket"], "Content-Length": str(len(smuggled))})
        wire.send(smuggled)
        answer = await wire.answer()
        assert answer.status in (400, 404, 426)
        wire.finish()
        assert await wire.closed() == b""
    assert await client.offset(url) == 0
    assert server.stored(url) == 0


async def test_other_upgrades_are_ignored(client: Client) -> None:
    """A server may ignore an upgrade that it does not know: curl sends one with --http2. (reliability 5.2 row 11)."""
    url = await client.create(11)
    async with await Wire.open(url) as wire:
        wire.start("PATCH", url, {**GOOD, **UPGRADES["http 2"], "Content-Length": "11"})
        wire.send(b"hello world")
        assert (await wire.answer()).status in (204, 400)


async def test_pipelined(client: Client) -> None:
    """A hundred requests in one packet are answered one by one, in order. (reliability 5.2 row 14)."""
    url = await client.create(100)
    path = url[url.index("/files") :]
    async with await Wire.open(url) as wire:
        wire.send(
            b"".join(
                head_of(client, f"PATCH {path} HTTP/1.1", {**GOOD, "Upload-Offset": str(at), "Content-Length": "1"})
                + b"x"
                for at in range(100)
            )
        )
        answers = [await wire.answer() for _ in range(100)]
    assert [(answer.status, answer.headers["Upload-Offset"]) for answer in answers] == [
        (204, str(at + 1)) for at in range(100)
    ]


LARGE = {
    "2,000 headers": {f"X-Header-{number}": "x" for number in range(2000)},
    "long header": {"X-Long": "x" * 200_000},
    "long name": {"X" * 200_000: "x"},
}


@pytest.mark.parametrize("headers", LARGE.values(), ids=LARGE)
async def test_large_head(client: Client, server: Target, headers: dict[str, str]) -> None:
    """A head of unreasonable size is refused. (reliability 5.2 row 14)."""
    url = await client.create(11)
    async with await Wire.open(url) as wire:
        wire.start("PATCH", url, {**GOOD, "Content-Length": "11", **headers})
        assert (await wire.answer()).status in (400, 431)
    assert await client.offset(url) == 0
    assert server.stored(url) == 0


async def test_long_header(client: Client) -> None:
    """A header of 9 KB is long, not unreasonable: metadata can be. (reliability 5.2 row 14)."""
    url = await client.create(11)
    answer = await client.patch(url, 0, b"hello world", {"X-Long": "x" * 9000})
    assert answer.status == 204


async def test_long_url(client: Client) -> None:
    """A URL longer than any of ours is refused. (reliability 5.2 row 14)."""
    async with await Wire.open(client.base) as wire:
        wire.start("HEAD", "/files/" + "x" * 9000, T)
        assert (await wire.answer(head=True)).status in (400, 404, 414)


async def test_chunk_extension(client: Client, server: Target) -> None:
    """A chunk extension of 1 MB is refused or skipped; it is never part of the body. (reliability 5.2 row 14)."""
    url = await client.create(11)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {"Transfer-Encoding": "chunked"})
        wire.send(b"b;" + b"x" * 2**20 + b"\r\nhello world\r\n0\r\n\r\n")
        answer = await wire.answer()
    stored = b"hello world" if answer.status == 204 else b""
    assert answer.status in (204, 400, 431)
    assert await client.offset(url) == len(stored)
    assert server.data_path(url).read_bytes() == stored


async def test_one_byte_chunks(client: Client, server: Target) -> None:
    """A hundred thousand chunks of one byte cost no more than a second of work. (reliability 5.2 row 14)."""
    data = bytes(range(256)) * 391
    url = await client.create(len(data))
    before = cpu_of(server)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {"Transfer-Encoding": "chunked"})
        wire.send(b"".join(b"1\r\n%c\r\n" % byte for byte in data) + b"0\r\n\r\n")
        assert (await wire.answer()).status == 204
    assert cpu_of(server) - before < 1.0
    assert (await client.get(url)).body == data


@pytest.mark.parametrize("host", ["evil.example", "evil.example/x", "a b", "evil@x", "[::1", "", "x" * 300])
async def test_host(client: Client, host: str) -> None:
    """Whatever Host says, Location stays one well-formed URL or path under our own base path.

    (reliability 5.2 row 46: an absolute Location needs a host, and the client's own is the one that it knows; one
    that is no host is not used)
    """
    async with await Wire.open(client.base) as wire:
        wire.send(f"POST /files/ HTTP/1.1\r\nHost: {host}\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 1\r\n\r\n".encode())
        answer = await wire.answer()
    if answer.status == 201:
        assert re.fullmatch(r"(http://evil\.example)?/files/[0-9a-f]{32}", answer.headers["Location"])
    else:
        assert answer.status == 400


FORWARDED = {
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "host=evil.example;proto=https",
}


@pytest.mark.parametrize("name", FORWARDED)
async def test_forwarded(client: Client, name: str) -> None:
    """Forwarded headers of a peer that is not trusted are not used. (reliability 5.2 row 46)."""
    answer = await client.post({"Upload-Length": "1", name: FORWARDED[name]})
    assert answer.status == 201
    assert re.fullmatch(r"/files/[0-9a-f]{32}", answer.headers["Location"])


def cpu_of(server: Target) -> float:
    """Return the seconds of processor time that a server process has used, 0 for an embedded one."""
    if server.process is None:
        return 0.0
    with open(f"/proc/{server.process.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
