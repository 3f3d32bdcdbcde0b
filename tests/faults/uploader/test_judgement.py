"""What must not be is found, each thing under its name."""

from __future__ import annotations

import base64
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest

from tests.faults.uploader.oracle import Judgement, Sent, judge
from tests.support.client import Client
from tests.support.servers import Target, embedded

CONTENT = b"what was sent" * 100


@dataclass
class Case:
    """A file that has arrived, and where."""

    sent: Sent
    client: Client
    server: Target

    async def judge(self, sent: Sent | None = None) -> Judgement:
        return await judge(self.client.session, self.server.url, self.server.data_dir, [sent or self.sent])


@pytest.fixture
async def case(tmp_path: Path, session: aiohttp.ClientSession) -> AsyncIterator[Case]:
    """One file, which has arrived."""
    path = tmp_path / "film.bin"
    path.write_bytes(CONTENT)
    async with embedded(tmp_path / "data") as server:
        client = Client(session, server.url)
        name = base64.b64encode(path.name.encode()).decode()
        url = await client.upload(CONTENT, Upload_Metadata=f"filename {name},n {base64.b64encode(b'7').decode()}")
        yield Case(Sent(path, {"filename": path.name, "n": "7"}, url), client, server)


async def test_arrived(case: Case) -> None:
    """Nothing is wrong with a file that is there once."""
    assert await case.judge() == Judgement((), (), ())


async def test_other_bytes(case: Case) -> None:
    """Bytes that are not those of the file are seen on the disk and on the way back."""
    with case.server.data_path(case.sent.url).open("r+b") as file:
        os.pwrite(file.fileno(), b"\0", 50)
    found = (await case.judge()).wrong
    assert len(found) == 2
    assert all("other bytes" in each for each in found)


async def test_told_wrongly(case: Case) -> None:
    """A URL that nobody knows, one of something unfinished, and metadata that did not come are wrong."""
    assert "nobody knows" in (await case.judge(replace(case.sent, url=case.server.url + "0" * 32))).wrong[0]
    unfinished = await case.client.create(5)
    found = (await case.judge(replace(case.sent, url=unfinished))).wrong
    assert "is not finished" in found[0]
    assert "instead of" in found[1]
    assert "instead of {'n': '8'}" in (await case.judge(replace(case.sent, metadata={"n": "8"}))).wrong[0]


async def test_duplicates_and_orphans(case: Case) -> None:
    """Finished again, begun and left, parts of nothing: they are counted; parts of what was told are none of these."""
    parts = [await case.client.upload(half, Upload_Concat="partial") for half in (CONTENT[:500], CONTENT[500:])]
    final = await case.client.post({"Upload-Concat": "final;" + " ".join(parts)})
    joined = Sent(case.sent.path, {}, final.headers["Location"])
    found = await case.judge(joined)
    assert (found.wrong, len(found.duplicates), found.orphans) == ((), 1, ())
    found = await case.judge()
    assert (found.wrong, len(found.duplicates), len(found.orphans)) == ((), 1, 2)
    left = await case.client.create(5)
    found = await case.judge(joined)
    assert (found.wrong, len(found.duplicates), len(found.orphans)) == ((), 1, 1)
    with contextlib.closing(sqlite3.connect(case.server.data_dir / "uploads.sqlite3")) as database, database:
        database.execute("update uploads set expires_at = null where id = ?", (left.rpartition("/")[2],))
    assert "has no end" in (await case.judge(joined)).wrong[0]
