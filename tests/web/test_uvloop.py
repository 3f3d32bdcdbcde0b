"""Applications that run on uvloop."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import sys
from pathlib import Path

import aiohttp
import msgspec

from tests.support.client import Client
from tests.support.servers import READY

MIB = 2**20


async def test_uvloop(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """On uvloop everything is as on asyncio: large bodies are moved by the kernel, small ones read. (CORE-BODY-13)"""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "tests.support.uvloop_app", str(tmp_path / "data"),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    body = os.urandom(3 * MIB)
    checksum = "sha256 " + base64.b64encode(hashlib.sha256(body).digest()).decode()
    try:
        url = (await asyncio.wait_for(child.stdout.readline(), 30)).decode().removeprefix(READY).strip()
        client = Client(session, url)
        first, second = await client.create(len(body) + 5), await client.create(len(body))
        for offset, piece in ((0, body), (len(body), b"small")):
            assert (await client.patch(first, offset, piece)).offset == offset + len(piece)
        assert (await client.patch(second, 0, body, {"Upload-Checksum": checksum})).status == 204
        assert (await client.get(first)).body == body + b"small"
        assert (await client.get(second)).body == body
    finally:
        said, _ = await asyncio.wait_for(child.communicate(b""), 30)
    assert child.returncode == 0
    assert msgspec.json.decode(said) == {"moved": 2 * len(body), "read": 5}
