"""What requests leave in the log of our own server (reliability 5.2 rows 21 and 26)."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import aiohttp

from tests.support.client import Client, T
from tests.support.servers import READY, launch
from tests.support.wire import Wire

NASTY = ["a%0ab", "%1b[31mred", "%25s%25d", "{}{0}{secret}", "%e2%80%ae", "%00", "x" * 5000, "%22,%22level%22:%22x"]


async def test_one_json_line_per_request(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """Whatever a path holds, each request is one well-formed JSON line of bounded length, and no id can be read.

    (rows 21 and 26)
    """
    child = await launch(tmp_path / "data", log_format="json")
    assert child.stdout is not None
    base = (await child.stdout.readline()).decode().removeprefix(READY).strip()
    client = Client(session, base)
    ids = []
    for name in NASTY:
        async with await Wire.open(base) as wire:
            wire.start("HEAD", f"/files/{name}", T)
            assert (await wire.answer(head=True)).status in (400, 404)
        ids.append((await client.create(1, Upload_Metadata="filename YQ0KYgBc")).rpartition("/")[2])
        assert (await client.patch(base + ids[-1], 0, b"x")).status == 204
    child.send_signal(signal.SIGTERM)
    _, errors = await asyncio.wait_for(child.communicate(), 20)
    assert child.returncode == 0
    lines = errors.split(b"\n")[:-1]
    records = [json.loads(line) for line in lines]
    assert max(map(len, lines)) <= 8192
    assert not any(byte < 32 for line in lines for byte in line)
    assert sum(record.get("action") == "request" for record in records) == 3 * len(NASTY)
    for upload_id in ids:
        assert upload_id.encode() not in errors
