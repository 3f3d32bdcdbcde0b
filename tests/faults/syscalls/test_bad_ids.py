"""Ids that no upload can have never reach the file system (reliability 5.2, row 16)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import NoReturn

import aiohttp
import pytest

from tests.faults.figures import Figures
from tests.faults.lives import Life, lives
from tests.faults.syscalls.injection import has_strace, traced
from tests.support.client import Client, T
from tests.support.waiting import until
from tests.support.wire import RawAnswer, Wire

UNKNOWN = "0123456789abcdef0123456789abcdef"
BAD = (
    "../x",
    "../../etc/passwd",
    "%2e%2e%2f",
    "%2e%2e/%2e%2e/etc/passwd",
    "..%2f..%2fuploads.sqlite3",
    "..%5c",
    "..",
    ".",
    "%00",
    "a%00b",
    "a%2fb",
    "a/b",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "%c0%ae%c0%ae%c0%af",
    "x.info",
    "x.tmp",
    "x%0d%0ay",
    "%f0%9f%92%a3",
    "*",
    "a" * 129,
    "a" * 256,
    "a" * 4000,
)
"""As they stand in the target of a request; `OF` makes more of them from an upload that is there."""
OF = ("{}.info", "{}.tmp", "{}%00", "{}%2f..%2f{}", "{}/{}", "%2e/{}", "../files.{}", "{}%20")
METHODS = ("HEAD", "GET", "PATCH", "DELETE")


class Watched:
    """A server with one finished upload, and what it does to files."""

    def __init__(self, life: Life, output: Path, upload: str, session: aiohttp.ClientSession) -> None:
        self.life, self.upload = life, upload
        self.name = upload.rpartition("/")[2]
        self._output, self._client = output, Client(session, life.url)
        self._read = 0

    async def accesses(self) -> list[str]:
        """Return every access to a file since the last time, those of a download at the end included."""
        assert (await self._client.get(self.upload)).status == 200
        await until(self._is_told)
        lines = self._lines()
        new, self._read = lines[self._read :], len(lines)
        # Neither the thread nor the numbers of descriptors matter.
        return [re.sub(r"^\d+ |(?<=\()\d+|= \d+", "", line) for line in new]

    async def is_followed(self) -> bool:
        """Ask for the upload and return whether that was seen."""
        assert (await self._client.get(self.upload)).status == 200
        return await self._is_told()

    async def _is_told(self) -> bool:
        return any(f'"{self.name}"' in line for line in self._lines()[self._read :])

    def _lines(self) -> list[str]:
        return self._output.read_text(errors="replace").splitlines() if self._output.exists() else []


@pytest.fixture
async def watched(
    tmp_path: Path, session: aiohttp.ClientSession, not_run: Callable[[str, str], NoReturn]
) -> AsyncIterator[Watched]:
    if not has_strace():
        not_run("no file access for bad ids", "needs strace")
    async with lives(tmp_path) as them:
        life = await them.begin(tmp_path / "data")
        upload = await Client(session, life.url).upload(b"hello")
        async with traced(life, tmp_path / "files", "-e", "trace=%file"):
            watched = Watched(life, tmp_path / "files", upload, session)
            await until(watched.is_followed)
            yield watched


async def test_no_file_is_touched(watched: Watched, figures: Figures) -> None:
    """An id that is none is answered like one that nobody has, and without a look at any file (5.2, row 16)."""
    ids = [*BAD, watched.name.upper(), *(each.replace("{}", watched.name) for each in OF)]
    # Once for what Python loads with the first request of a kind.
    await _ask(watched, ids)
    await watched.accesses()
    of_a_download = await watched.accesses()
    assert any(watched.name in line for line in of_a_download)
    wrong = await _ask(watched, ids)
    assert of_a_download == await watched.accesses()
    assert [] == wrong
    figures.add("operations", 2 * len(ids) * (len(METHODS) + 1))


async def _ask(watched: Watched, ids: Sequence[str]) -> list[tuple[str, str, int]]:
    """Send a request of every kind for every id; return the answers that differ from those for an unknown one."""
    unknown = {method: await _answer(watched, method, UNKNOWN) for method in METHODS}
    wrong = []
    for upload_id in ids:
        for method, expected in unknown.items():
            answer = await _answer(watched, method, upload_id)
            if (answer.status, answer.body) != (expected.status, expected.body):
                wrong.append((method, upload_id[:40], answer.status))
        joined = await _answer(watched, "POST", upload_id)
        if not 400 <= joined.status < 500:
            wrong.append(("POST", upload_id[:40], joined.status))
    return wrong


async def _answer(watched: Watched, method: str, upload_id: str) -> RawAnswer:
    target = f"/files/{upload_id}"
    async with await Wire.open(watched.life.url) as wire:
        if method == "PATCH":
            wire.start_patch(target, 0, {"Content-Length": "5"})
            wire.send(b"hello")
        elif method == "POST":
            parts = {"Upload-Concat": f"final;{target}", "Content-Length": "0"}
            wire.start("POST", "/files/", {**T, **parts})
        else:
            wire.start(method, target, {**T, "Content-Length": "0"})
        return await wire.answer(head=method == "HEAD")
