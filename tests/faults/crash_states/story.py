"""A client that is told what to do, and writes down what its server has promised."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from tests.faults.crash_states.tracing import Connection
from tests.faults.lives import ENDED, Life, Lives, read_jobs
from tests.faults.oracle.payload import payload
from tests.support.client import CT, T
from tests.support.waiting import until
from tests.support.wire import RawAnswer, Wire

WRONG = 1
"""The writer of bytes that must not stay."""


@dataclass
class Upload:
    """What a client means an upload to become."""

    key: str
    length: int | None
    parts: tuple[str, ...] = ()
    partial: bool = False
    mortal: bool = False
    """Whether it may go by itself."""
    refused: bool = False
    """Whether a hook does not agree to its end."""
    id: str = ""


@dataclass
class Request:
    """One request: its connection, and what its answer promised."""

    method: str
    url: str
    key: str
    boot: int
    after: frozenset[Connection]
    """The connections on which answers had come before it was sent."""
    level: str
    """What the server had to sync for its answer."""
    finishes: bool = False
    connection: Connection = (0, 0)
    offset: int | None = None
    """Promised; None when there was no answer, or one that promises nothing."""

    @property
    def deletes(self) -> bool:
        return self.method == "DELETE"


@dataclass
class Story:
    """A client and the server it talks to."""

    lives: Lives
    place: Path
    settings: Mapping[str, Any]
    uploads: dict[str, Upload] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    boots: list[int] = field(default_factory=list)
    """For every life the boot of the system in which it began."""
    life: Life | None = None
    _answered: set[Connection] = field(default_factory=set)

    @property
    def data_dir(self) -> Path:
        return self.place / "data"

    async def begin(self, *, reboot: bool = False, **changed: Any) -> None:
        """Kill the life there is and begin another, after a restart of the system or not, with some other settings."""
        self.settings = {**self.settings, **changed}
        if self.life is not None:
            await self.life.kill()
        self.boots.append((self.boots[-1] + reboot) if self.boots else 0)
        environ = {"TUSD_PY_BOOT_ID": f"boot-{self.boots[-1]}"}
        self.life = await self.lives.begin(self.data_dir, environ=environ, **self.settings)

    async def create(self, key: str, length: int | None, body: int = 0, *, partial: bool = False) -> None:
        """POST, with a body or without."""
        self.uploads[key] = Upload(key, length, partial=partial, mortal="expire_after" in self.settings)
        headers = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
        headers |= {"Upload-Concat": "partial"} if partial else {}
        headers |= CT if body else {}
        await self._post(key, headers, payload(key, 0, 0, body))

    async def concat(self, key: str, *parts: str) -> None:
        """POST of a final upload."""
        self.uploads[key] = Upload(key, sum(self.uploads[part].length or 0 for part in parts), parts)
        await self._post(key, {"Upload-Concat": "final;" + " ".join(map(self.url, parts))}, b"")

    async def patch(
        self,
        key: str,
        at: int,
        size: int,
        *,
        headers: Mapping[str, str] | None = None,
        writer: int = 0,
        cut: Callable[[], Awaitable[object]] | None = None,
    ) -> RawAnswer | None:
        """PATCH; with `cut`, all but the last byte of the body are sent, and that is awaited instead of an answer."""
        upload, headers = self.uploads[key], {**CT, "Upload-Offset": str(at), **(headers or {})}
        if "Upload-Length" in headers:
            upload.length = int(headers["Upload-Length"])
        request = self._request("PATCH", self.url(key), key, finishes=at + size == upload.length)
        answer = await self._send(request, headers, payload(key, writer, at, at + size), cut)
        if answer is not None and answer.status == 204:
            request.offset = int(answer.headers["Upload-Offset"])
        return answer

    async def head(self, key: str) -> int:
        """HEAD: what it shows is a promise as well."""
        request = self._request("HEAD", self.url(key), key)
        answer = await self._send(request)
        assert answer is not None
        assert answer.status == 200, answer
        request.offset = int(answer.headers["Upload-Offset"])
        return request.offset

    async def delete(self, key: str) -> None:
        """DELETE."""
        request = self._request("DELETE", self.url(key), key)
        answer = await self._send(request)
        assert answer is not None
        assert answer.status == 204, answer
        request.offset = 0

    def url(self, key: str) -> str:
        assert self.life is not None
        return urljoin(self.life.url, self.uploads[key].id)

    def content(self, key: str, start: int, end: int) -> bytes:
        """Return the bytes that an upload must have."""
        upload = self.uploads[key]
        if not upload.parts:
            return payload(key, 0, start, end)
        whole = b"".join(self.content(part, 0, self.uploads[part].length or 0) for part in upload.parts)
        return whole[start:end]

    def by_id(self, upload_id: str) -> Upload | None:
        return next((each for each in self.uploads.values() if each.id == upload_id), None)

    def path(self, key: str) -> Path:
        upload_id = self.uploads[key].id
        return self.data_dir / "uploads" / upload_id[:2] / upload_id

    async def until_done(self, *keys: str) -> None:
        """Wait until the jobs of these uploads have run."""

        async def have_run() -> bool:
            return {self.uploads[key].id for key in keys} <= {job.upload for job in read_jobs(self.lives.jobs)}

        await until(have_run)

    async def until_ended(self, *keys: str) -> None:
        """Wait until those who want to know have been told that these uploads were removed."""
        wanted = {f"{self.uploads[key].id}:{ENDED}" for key in keys}

        async def were_told() -> bool:
            return wanted <= {job.event_id for job in read_jobs(self.lives.jobs)}

        await until(were_told)

    async def until_row(self, key: str, condition: str) -> None:
        """Wait until the row of an upload is as a condition in SQL says; a row that is gone is all nulls."""

        async def holds() -> bool:
            with contextlib.closing(sqlite3.connect(f"file:{self.data_dir}/uploads.sqlite3?mode=ro", uri=True)) as db:
                row = f"(select 1) left join uploads on id = '{self.uploads[key].id}'"
                return bool(db.execute(f"select {condition} from {row}").fetchone()[0])

        await until(holds)

    async def until_size(self, key: str, size: int) -> None:
        """Wait until the file of an upload has this size."""

        async def has() -> bool:
            return self.path(key).stat().st_size >= size

        await until(has)

    def _request(self, method: str, url: str, key: str, *, finishes: bool = False) -> Request:
        request = Request(
            method, url, key, self.boots[-1], frozenset(self._answered), level_of(self.settings), finishes
        )
        self.requests.append(request)
        return request

    async def _post(self, key: str, headers: Mapping[str, str], body: bytes) -> None:
        upload = self.uploads[key]
        assert self.life is not None
        finishes = len(body) == upload.length or bool(upload.parts)
        request = self._request("POST", self.life.url, key, finishes=finishes)
        answer = await self._send(request, headers, body)
        assert answer is not None
        assert answer.status == 201, answer
        upload.id = answer.headers["Location"].rpartition("/")[2]
        request.offset = (upload.length or 0) if upload.parts else len(body)

    async def _send(
        self,
        request: Request,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        cut: Callable[[], Awaitable[object]] | None = None,
    ) -> RawAnswer | None:
        async with await Wire.open(request.url) as wire:
            server, client = (wire.writer.get_extra_info(name) for name in ("peername", "sockname"))
            request.connection = (server[1], client[1])
            wire.start(request.method, request.url, {**T, **(headers or {}), "Content-Length": str(len(body))})
            wire.send(body if cut is None else body[:-1])
            if cut is not None:
                await wire.flush()
                await cut()
                return None
            answer = await wire.answer(head=request.method == "HEAD")
            self._answered.add(request.connection)
            return answer


def level_of(settings: Mapping[str, Any]) -> str:
    """Return the level of durability."""
    return str(settings.get("durability", "patch"))
