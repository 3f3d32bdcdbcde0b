"""Answers that are meant to hurt, and addresses that are none of a hook's business (rows 55 and 56)."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import subprocess
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.hooks.events import event
from tests.support.waiting import until
from tusd_py.errors import HookFailed
from tusd_py.hooks import http
from tusd_py.hooks.http import HttpHandler, Post, is_public
from tusd_py.models.hook import HookReply, Moment

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
QUERY = "?token=t0ken"
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Nasty:
    """A server that answers the first connections as told, and any further one as it should."""

    def __init__(self, *answers: bytes | Answer) -> None:
        self.answers = list(answers)
        self.connections = 0
        self.sent = 0
        self.lost = asyncio.Event()
        """A client went while it was being answered."""
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        answer = self.answers.pop(0) if self.answers else OK
        try:
            await reader.readuntil(b"\r\n\r\n")
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
                await reader.read(10_000)
            else:
                await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.lost.set()
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def endless(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A body that never ends."""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
        while True:
            writer.write(b" " * 65536)
            await writer.drain()
            self.sent += 65536


Start = Callable[..., Awaitable[Nasty]]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def nasty(stack: AsyncExitStack) -> Start:
    async def start(*answers: bytes | Answer, tls: ssl.SSLContext | None = None) -> Nasty:
        made = Nasty(*answers)
        server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
        stack.callback(server.close)
        made.port = server.sockets[0].getsockname()[1]
        return made

    return start


async def ask(url: str, *, timeout: float = 30.0, retries: int = 0, **options: Any) -> HookReply:
    post = Post(url, retries=retries, backoff=0.0, **options)
    handler = HttpHandler("url", post, moments=list(Moment), timeout=timeout)
    try:
        async with asyncio.timeout(60):
            return await handler.handle(event(Moment.PRE_CREATE), key="k")
    finally:
        await handler.close()


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A byte of a header now and then, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_body(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A byte of a body now and then, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\n \r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Nothing at all, until the client goes."""
    while await reader.read(10_000):
        pass


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """No answer, and the end."""
    writer.close()


async def test_an_endless_answer_is_cut_off(nasty: Start) -> None:
    """10 GB: it is not read beyond 64 KiB and what was on the way, and the connection is closed."""
    there = await nasty()
    there.answers.append(there.endless)
    with pytest.raises(HookFailed, match="longer than 65536 bytes"):
        await ask(there.url)
    async with asyncio.timeout(10):
        await there.lost.wait()
    assert there.sent < 20_000_000


@pytest.mark.parametrize("answer", [drip_body, silence, drip], ids=["body", "silence", "headers"])
async def test_a_slow_answer_does_not_outlive_the_deadline(answer: Answer, nasty: Start) -> None:
    """A little now and then is no excuse; a list of headers without end is ended by its length, if not by time."""
    there = await nasty(answer)
    with pytest.raises(HookFailed, match=r"within 0\.3 s"):
        await ask(there.url, timeout=0.3)


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "deflate", "zstd"])
async def test_a_packed_answer_is_not_unpacked(encoding: str, nasty: Start) -> None:
    """A bomb has no fuse here: it was asked not to pack."""
    body = gzip.compress(b" " * 1_000_000 + b"{}")
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n"
    with pytest.raises(HookFailed, match="Content-Encoding"):
        await ask((await nasty(head.encode() + body)).url)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA\x00: b\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n{}",
    ],
    ids=["ssh", "NUL", "lengths", "long header", "many headers"],
)
async def test_what_is_not_http_is_a_failure(answer: bytes, nasty: Start) -> None:
    """And says nothing of the URL, whose query may be secret."""
    with pytest.raises(HookFailed) as caught:
        await ask((await nasty(answer)).url + QUERY)
    assert QUERY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "answer",
    [hang_up, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\n{}"],
    ids=["no answer", "half a body"],
)
async def test_a_lost_connection_is_tried_again(answer: Any, nasty: Start) -> None:
    """An answer that is not whole is none."""

    async def half(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    given = half if isinstance(answer, bytes) else answer
    there = await nasty(given)
    assert HookReply() == await ask(there.url, retries=1)
    there.answers.append(given)
    with pytest.raises(HookFailed, match="lost"):
        await ask(there.url)


async def test_nobody_there_is_a_failure() -> None:
    """A closed port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(HookFailed, match="cannot be connected to"):
        await ask(f"http://127.0.0.1:{port}/", retries=1)


async def test_cancelling_closes_the_connection(nasty: Start) -> None:
    """Whoever cancels is not told that the hook failed."""
    gone = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silence(reader, writer)
        gone.set()

    there = await nasty(wait)
    asking = asyncio.create_task(ask(there.url))

    async def is_connected() -> bool:
        return there.connections == 1

    await until(is_connected)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    async with asyncio.timeout(10):
        await gone.wait()


async def test_a_server_without_tls_is_a_failure() -> None:
    """Where TLS was asked for, nothing else will do."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        with pytest.raises(HookFailed, match="TLS"):
            await ask(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/", retries=3)


async def test_an_unknown_certificate_is_a_failure(nasty: Start, tmp_path: Path) -> None:
    """It is not tried again, and nothing was sent."""
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -days 2"
    )
    subprocess.run([*command.split(), "-keyout", "key", "-out", "cert"], cwd=tmp_path, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    there = await nasty(tls=tls)
    with pytest.raises(HookFailed, match="TLS"):
        await ask(there.url.replace("http:", "https:"), retries=3)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1"),
        *("::", "::1", "fe80::1", "fe80::1%lo", "fc00::1", "fd00::1", "fec0::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "2002:7f00:1::", "2002:a00:1::1"),
        *("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "2001:0:4136:e378:8000:63bf:80ff:fffe"),
    ],
)
def test_address_of_this_network_is_not_public(address: str) -> None:
    """Row 56: loopback, private, link-local, multicast, reserved, and all of these packed into IPv6."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
)
def test_address_of_the_internet_is_public(address: str) -> None:
    """IPv4, IPv6, and the one in the other."""
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0", "0"),
        *("[::1]", "[::ffff:127.0.0.1]", "[::]", "169.254.169.254", "10.255.255.1"),
    ],
)
async def test_public_only_does_not_connect_inside(host: str, nasty: Start) -> None:
    """Row 56: however the address is written; it is final, and not a byte is sent."""
    there = await nasty()
    with pytest.raises(HookFailed) as caught:
        await ask(f"http://{host}:{there.port}/{QUERY}", retries=3, public_only=True)
    # The stranger ways of writing one are no URLs to the client, or no names to the resolver.
    assert any(said in caught.value.message for said in ("not public", "cannot be connected to", "cannot be used"))
    assert QUERY not in "".join(traceback.format_exception(caught.value))
    assert 0 == there.connections


async def test_public_only_looks_at_the_address_that_is_connected_to(
    nasty: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 56, rebinding: the name is harmless the first time, and another address each time it is looked up."""
    there = await nasty()
    monkeypatch.setattr(http, "is_public", lambda address: address == "127.0.0.1")
    answers = iter(["127.0.0.1", "127.0.0.2"])

    async def resolve(_: object, host: str, port: int, **__: object) -> list[Any]:
        assert "rebinding.example" == host
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), there.port))]

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", resolve)
    url = f"http://rebinding.example:{there.port}/"
    assert HookReply() == await ask(url, public_only=True)
    with pytest.raises(HookFailed, match="not public"):
        await ask(url, public_only=True)
    assert 1 == there.connections
