"""What is no tus server is named in one sentence, and nothing more is asked."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator

import pytest

from tests.conformance.asking import command

HTML = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<html>hi</html>"
OLD = b"HTTP/1.1 204 No Content\r\nTus-Resumable: 0.2.2\r\nTus-Version: 0.2.2,0.2.1\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 300_000


@contextlib.asynccontextmanager
async def says(answer: bytes | None, asked: list[bytes] | None = None) -> AsyncIterator[str]:
    """Run a server that gives every connection the same answer, or none at all; yield its URL."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if asked is not None:
                asked.append(head)
            if answer is None:
                await over.wait()
            else:
                writer.write(answer)
                await writer.drain()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/files/"
        over.set()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (HTML, "OPTIONS was answered with 200 and text/html, without Tus-Version."),
        (OLD, "speaks tus 0.2.2, 0.2.1 and not 1.0.0."),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "was answered with what is not HTTP."),
        (b"", "was answered with nothing: the connection was closed."),
        (ENDLESS, "answered headers without an end."),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "OPTIONS was answered with 404, without Tus-Version."),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "was answered with a chunk without a size."),
    ],
    ids=["HTML", "another version", "not HTTP", "closes", "endless", "404", "bad chunks"],
)
async def test_no_tus_server(answer: bytes, sentence: str) -> None:
    """Something else answers: one sentence that says what, and exit code 2."""
    asked: list[bytes] = []
    async with says(answer, asked) as url:
        code, out, errors = await command(url)
    assert (2, "") == (code, out)
    assert errors.endswith(f"{sentence}\n")
    assert 1 == errors.count("\n")
    assert 1 == len(asked)


async def test_hangs() -> None:
    """A server that accepts and says nothing is left after the timeout."""
    async with says(None) as url:
        started = time.monotonic()
        code, _, errors = await command(url, "--timeout", "0.5")
    assert 2 == code
    assert errors.endswith("was not answered within 0.5 s.\n")
    assert time.monotonic() - started < 10


async def test_nobody_listens() -> None:
    """Nobody listens at the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/files/"
    code, _, errors = await command(url)
    assert 2 == code
    assert errors == f"No tus server at {url}: there was no connection: Connection refused.\n"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "127.0.0.1:80", "http://", "http://h:x/", "http://a b/", ""])
async def test_no_url(url: str) -> None:
    """What is not http://host:port/path/ is refused before anything is sent."""
    code, _, errors = await command(url)
    assert 2 == code
    assert "is not a URL" in errors
    assert 1 == errors.count("\n")


async def test_falls_silent() -> None:
    """A server that answers OPTIONS and nothing else is not asked three hundred times: the run stops, with code 1."""
    options = (
        b"HTTP/1.1 204 No Content\r\nTus-Resumable: 1.0.0\r\nTus-Version: 1.0.0\r\nTus-Extension: creation\r\n\r\n"
    )
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if (await reader.readuntil(b"\r\n\r\n")).startswith(b"OPTIONS"):
                writer.write(options)
            else:
                await over.wait()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/files/"
        code, out, _ = await command(url, "--timeout", "0.3", "--section", "creation")
        over.set()
    assert 1 == code
    assert "Stopped early: 3 checks in a row got no answer in time." in out
