"""Checksum: big bodies block nobody, and a killed server has kept nothing that was not verified."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import socket
from pathlib import Path

import aiohttp

from tests.support.client import CT, Client, T
from tests.support.latency import slowest_head
from tests.support.servers import Target, process
from tests.support.timed import name_of
from tests.support.waiting import until
from tests.support.wire import Wire

MIB = 1024 * 1024


async def test_killed_in_the_middle(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    """After SIGKILL inside a body with a checksum the offset is the old one, whatever the file's size (CSUM-10)."""
    async with process(tmp_path / "data", checkpoint_bytes=1) as target:
        client = Client(session, target.url)
        url = await client.create(40_000)
        await client.patch(url, 0, b"kept")
        headers = {**T, **CT, "Upload-Offset": "4", "Upload-Checksum": "sha1 AAAA", "Content-Length": "30000"}
        async with await Wire.open(url) as wire:
            wire.start("PATCH", url, headers)
            wire.send(b"x" * 20_000)
            path = target.data_path(url)
            await until(lambda: _is_long(path, 20_004))
            assert target.process is not None
            target.process.kill()
            await target.process.wait()
    assert path.stat().st_size == 20_004
    async with process(tmp_path / "data") as target:
        client = Client(session, target.url)
        url = target.url + name_of(url)
        assert await client.offset(url) == 4
        rest = b"y" * 39_996
        digest = base64.b64encode(hashlib.sha1(rest).digest()).decode()
        assert (await client.patch(url, 4, rest, {"Upload-Checksum": f"sha1 {digest}"})).status == 204
        assert (await client.get(url)).body == b"kept" + rest


async def test_hashing_blocks_nobody(client: Client, server: Target) -> None:
    """While 256 MiB are received and hashed, HEADs on another upload take less than 100 ms (CSUM-20)."""
    other = await client.create(10)
    piece = bytes(range(256)) * 4096
    digest = base64.b64encode(hashlib.sha512(piece * 256).digest()).decode()

    async def upload() -> None:
        url = await client.create(256 * MIB)
        status = await asyncio.to_thread(send_all, url, piece, 256, digest)
        assert status == b"HTTP/1.1 204 No Content"
        assert (await client.delete(url)).status == 204

    # The bound belongs to the row; what blocks does so every time, and a machine that is busy does not.
    for _ in range(3):
        if (slowest := await slowest_head(client, other, upload)) < 0.1:
            return
    assert slowest < 0.1


def send_all(url: str, piece: bytes, count: int, digest: str) -> bytes:
    """Send a PATCH from a thread, so that the client keeps this event loop free; return the status line."""
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    head = (
        f"PATCH /{path} HTTP/1.1\r\nHost: {host}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        f"Content-Type: {CT['Content-Type']}\r\nContent-Length: {len(piece) * count}\r\n"
        f"Upload-Checksum: sha512 {digest}\r\n\r\n"
    )
    with socket.create_connection((name, int(port)), timeout=60) as connection:
        connection.sendall(head.encode())
        for _ in range(count):
            connection.sendall(piece)
        return connection.recv(65536).split(b"\r\n")[0]


async def _is_long(path: Path, size: int) -> bool:
    return os.path.getsize(path) == size
