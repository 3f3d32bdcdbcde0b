"""The HAProxy configuration of the page on proxies, with a real HAProxy in front of a real server."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.docs.blocks import ROOT, blocks_of
from tests.support.client import Client
from tests.support.servers import Target, process
from tests.support.waiting import until
from tests.support.wire import Wire

HAPROXY = shutil.which("haproxy")
PAGE = ROOT / "docs" / "howto" / "proxy.md"

pytestmark = pytest.mark.skipif(HAPROXY is None, reason="NOT RUN: needs haproxy")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def behind(tmp_path: Path) -> AsyncIterator[tuple[Target, str]]:
    """A server, and the base URL of HAProxy in front of it."""
    [text] = [block.text for block in blocks_of(PAGE) if block.text.startswith("defaults\n")]
    async with process(tmp_path / "data", behind_proxy=True) as target:
        front = f"127.0.0.1:{free_port()}"
        config = tmp_path / "haproxy.cfg"
        config.write_text(text.replace("127.0.0.1:8000", front).replace("127.0.0.1:8080", target.host))
        child = await asyncio.create_subprocess_exec(str(HAPROXY), "-db", "-q", "-f", str(config))
        try:
            await until_it_listens(front)
            yield target, f"http://{front}/files/"
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
            await child.wait()


async def until_it_listens(address: str) -> None:
    host, port = address.split(":")

    async def is_open() -> bool:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return False
        writer.close()
        return True

    await until(is_open)


async def test_bytes_come_through_at_once(behind: tuple[Target, str], session: aiohttp.ClientSession) -> None:
    """Uploads get URLs of the proxy, half a body is stored while the other half is still to come, and when the client
    is cut off in the middle the upload goes on where it was.
    """
    target, base = behind
    client = Client(session, base)
    url = await client.create(100_000)
    assert url.startswith(base)
    async with await Wire.open(url) as wire:
        wire.start_patch(url, 0, {"Content-Length": "100000"})
        wire.send(b"x" * 50_000)
        await wire.flush()
        await target.until_stored(url, 50_000)

    async def is_committed() -> bool:
        return await client.offset(url) == 50_000

    await until(is_committed)
    assert (await client.patch(url, 50_000, b"y" * 50_000)).offset == 100_000
    assert (await client.get(url)).body == b"x" * 50_000 + b"y" * 50_000


async def test_nobody_else_says_where_the_server_is(behind: tuple[Target, str], session: aiohttp.ClientSession) -> None:
    """Forwarded headers of a client do not reach the server."""
    _, base = behind
    lies = {"Forwarded": "host=evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil"}
    async with session.post(base, headers={"Tus-Resumable": "1.0.0", "Upload-Length": "5", **lies}) as answer:
        assert answer.headers["Location"].startswith(base)
