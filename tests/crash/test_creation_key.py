"""SIGKILL around a creation with a key: exactly one upload, found by whoever asks again (reliability I1)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.client import CT, Client, T
from tests.support.servers import READY, process
from tests.support.timed import name_of
from tests.support.waiting import until
from tests.support.wire import Wire

LARGE = 100_000
WAYS: dict[str, tuple[dict[str, str], bytes | None, int]] = {
    "open": ({"Upload-Length": "9"}, None, 0),
    "with some": ({"Upload-Length": "9", **CT}, b"hello", 5),
    "with all": ({"Upload-Length": "5", **CT}, b"hello", 5),
    "with much": ({"Upload-Length": str(LARGE), **CT}, bytes(LARGE), 0),
}


def new_key() -> dict[str, str]:
    return {"Idempotency-Key": f'"{uuid.uuid4()}"'}


def uploads(place: Path) -> set[str]:
    """Return the ids of all uploads; there is no data of any other."""
    with contextlib.closing(sqlite3.connect(f"file:{place}/uploads.sqlite3?mode=ro", uri=True)) as db:
        ids = {name for (name,) in db.execute("select id from uploads")}
    assert {path.name for path in (place / "uploads").glob("??/*")} <= ids
    return ids


async def post_to_the_dying(place: Path, **request: Any) -> None:
    """Send a creation to a server that is killed between the commit and the answer."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.dying_creation", str(place)), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        line = (await asyncio.wait_for(child.stdout.readline(), 30)).decode()
        async with aiohttp.ClientSession() as session:
            client = Client(session, line.removeprefix(READY).strip())
            with pytest.raises(aiohttp.ClientError):
                await client.post(**request)
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


@pytest.mark.parametrize("way", WAYS)
async def test_between_commit_and_answer(way: str, tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """What was stored and never answered is found after the restart, once, and can be gone on with."""
    place = tmp_path / "data"
    fields, body, offset = WAYS[way]
    headers = {**fields, **new_key()}
    await post_to_the_dying(place, headers=headers, data=body)
    (name,) = uploads(place)
    async with process(place) as server:
        client = Client(session, server.url)
        for _ in range(2):
            answer = await client.post(headers, body)
            assert (answer.status, name_of(answer.headers["Location"])) == (201, name)
            assert int(answer.headers.get("Upload-Offset", "0")) == offset
        assert uploads(place) == {name}
        length = int(fields["Upload-Length"])
        if offset < length:
            assert (await client.patch(answer.headers["Location"], offset, bytes(length - offset))).status == 204
        assert (await client.get(answer.headers["Location"])).body == (body or b"")[:offset] + bytes(length - offset)


async def test_a_final_upload(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """A final upload whose copying was cut is made anew under its key, and only once. (CAT-20)"""
    place = tmp_path / "data"
    async with process(place) as server:
        part = name_of(await Client(session, server.url).upload(b"hello", Upload_Concat="partial"))
    headers = {"Upload-Concat": f"final;/files/{part} /files/{part}", **new_key()}
    await post_to_the_dying(place, headers=headers)
    async with process(place) as server:
        client = Client(session, server.url)
        (url,) = {(await client.post(headers)).headers["Location"] for _ in range(2)}
        assert (await client.get(url)).body == b"hellohello"
        assert uploads(place) == {part, name_of(url)}


async def test_in_the_middle_of_its_bytes(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    """After a kill inside the first request its upload is found with what was committed. (CORE-BODY-19)"""
    place = tmp_path / "data"
    data = os.urandom(LARGE)
    headers = {**T, **CT, "Upload-Length": str(LARGE), **new_key()}
    async with process(place, checkpoint_bytes=1) as server:
        client = Client(session, server.url)
        async with await Wire.open(server.url) as wire:
            wire.start("POST", server.url, {**headers, "Content-Length": str(LARGE)})
            wire.send(data[:60_000])

            async def has_some() -> bool:
                return bool(uploads(place)) and (await client.post(headers)).offset == 60_000

            await until(has_some)
            assert server.process is not None
            server.process.kill()
            await server.process.wait()
    async with process(place) as server:
        client = Client(session, server.url)
        answer = await client.post(headers, data)
        assert (answer.status, answer.offset) == (201, 60_000)
        url = answer.headers["Location"]
        assert uploads(place) == {name_of(url)}
        assert (await client.patch(url, 60_000, data[60_000:])).status == 204
        assert (await client.get(url)).body == data
