"""Short stories of one upload or a few, each told to a server of its own; what was promised in them is written down."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from tests.faults.crash_states.tracing import Connection
from tests.faults.lives import Life, Lives, read_jobs
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


Tell = Callable[[Story], Awaitable[None]]


@dataclass(frozen=True)
class Workload:
    """One story and the settings of its server."""

    name: str
    tell: Tell
    settings: Mapping[str, Any] = field(default_factory=dict)
    from_start: bool = False
    """Whether the first start of the server is a part of it."""

    @property
    def level(self) -> str:
        return level_of(self.settings)


def level_of(settings: Mapping[str, Any]) -> str:
    """Return the level of durability."""
    return str(settings.get("durability", "patch"))


async def create(story: Story) -> None:
    await story.create("a", 1000)
    await story.create("b", None)
    await story.create("empty", 0)
    await story.until_done("empty")


async def create_with_bodies(story: Story) -> None:
    await story.create("whole", 3000, 3000)
    await story.create("some", 9000, 3000)
    await story.create("large", 150_000, 120_000)
    await story.create("largest", 70_000, 70_000)
    await story.until_done("whole", "largest")


async def create_together(story: Story) -> None:
    bodies = [0, 2000, 3000, 500, 3000, 3000]
    await asyncio.gather(*(story.create(f"u{number}", 3000, body) for number, body in enumerate(bodies)))
    await story.patch("u1", 2000, 1000)


async def patches(story: Story) -> None:
    await story.create("a", 5000)
    for at, size in ((0, 700), (700, 2300), (3000, 2000)):
        await story.patch("a", at, size)
        assert await story.head("a") == at + size
    await story.until_done("a")


async def large_patches(story: Story) -> None:
    await story.create("a", 300_000)
    await story.patch("a", 0, 180_000)
    await story.patch("a", 180_000, 120_000)
    await story.until_done("a")


async def deletions(story: Story) -> None:
    await story.create("open", 5000)
    await story.patch("open", 0, 3000)
    await story.create("done", 3000, 3000)
    await story.delete("open")
    await story.until_done("done")
    await story.delete("done")
    await story.create("next", 100)


async def concatenation(story: Story) -> None:
    await story.create("one", 3000, 3000, partial=True)
    await story.create("two", 2500, partial=True)
    await story.patch("two", 0, 2500)
    await story.concat("both", "one", "two")
    await story.delete("one")
    await story.until_done("both")


async def expiry(story: Story) -> None:
    await story.create("a", 5000)
    await story.patch("a", 0, 3000)
    await story.create("b", 5000, 2000)
    await story.until_row("a", "id is null")
    await story.until_row("b", "id is null")


async def settling(story: Story) -> None:
    await story.create("a", 5000)
    await story.patch("a", 0, 3000)
    await story.until_row("a", "synced_offset = 3000")
    await story.patch("a", 3000, 1000)
    await story.create("b", 3000, 3000)
    await story.until_row("b", "synced_offset = 3000")
    await story.delete("b")


async def mismatch(story: Story) -> None:
    await story.create("a", 9000)
    await story.patch("a", 0, 2000)
    checksum = {"Upload-Checksum": "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk="}
    answer = await story.patch("a", 2000, 5000, headers=checksum, writer=WRONG)
    assert answer is not None
    assert answer.status == 460, answer
    await story.patch("a", 2000, 7000)
    await story.until_done("a")


async def killed(story: Story, *, reboot: bool = False) -> None:
    await story.create("a", 200_000)
    await story.patch("a", 0, 10_000)
    await story.patch("a", 10_000, 100_000, cut=partial(story.until_size, "a", 60_000))
    await story.begin(reboot=reboot)
    offset = await story.head("a")
    await story.patch("a", offset, 200_000 - offset)
    await story.until_done("a")


async def shortened(story: Story) -> None:
    await story.create("a", None)
    await story.patch("a", 0, 1000)
    await story.patch("a", 1000, 90_000, cut=partial(story.until_size, "a", 50_000))
    await story.begin()
    offset = await story.head("a")
    await story.patch("a", offset, 500, headers={"Upload-Length": str(offset + 500)})


async def stopped(story: Story) -> None:
    await story.create("a", 5000)
    await story.patch("a", 0, 3000)
    assert story.life is not None
    assert await story.life.end() == 0
    await story.begin(reboot=True)
    offset = await story.head("a")
    await story.patch("a", offset, 5000 - offset)
    await story.until_done("a")


async def raised(story: Story) -> None:
    await story.create("a", 5000)
    await story.patch("a", 0, 3000)
    await story.until_row("a", "synced_offset = 3000")
    # What the first life committed was not synced, and must be before the second one shows it.
    await story.begin(durability="patch", sweep_interval=60)
    assert await story.head("a") == 3000
    await story.patch("a", 3000, 2000)


READ = {"data_plane_from": "none"}
MOVED = {"data_plane_from": 1}
CHECKPOINTS = {"checkpoint_bytes": 40_000}
WORKLOADS = (
    Workload("first start", create, from_start=True),
    Workload("patches", patches),
    Workload("patches", patches, {"durability": "none"}),
    Workload("moved patches with checkpoints", large_patches, MOVED | CHECKPOINTS),
    Workload("create with bodies", create_with_bodies, MOVED),
    Workload("create together", create_together),
    Workload("deletions", deletions),
    Workload("concatenation", concatenation),
    Workload("killed in a PATCH", killed, READ | CHECKPOINTS),
    Workload("shortened after a kill", shortened),
    Workload("raised after a kill", raised, {"durability": "none", "sweep_interval": 0.1}),
    # Up to here those for a quick look.
    Workload("create", create, {"durability": "finish"}),
    Workload("create with bodies", create_with_bodies, {"durability": "finish"} | READ),
    Workload("patches", patches, {"durability": "finish"}),
    Workload("moved patches", large_patches, MOVED),
    Workload("read patches with checkpoints", large_patches, READ | CHECKPOINTS),
    Workload("deletions", deletions, {"durability": "finish"}),
    Workload("deletions", deletions, {"durability": "none"}),
    Workload("concatenation", concatenation, {"durability": "none"}),
    Workload("expiry", expiry, {"expire_after": 0.3, "sweep_interval": 0.1}),
    Workload("settling", settling, {"durability": "none", "sweep_interval": 0.1}),
    Workload("checksum mismatch", mismatch, READ),
    Workload("killed in a PATCH", partial(killed, reboot=True), {"durability": "none"} | MOVED | CHECKPOINTS),
    Workload("stopped", stopped, {"durability": "none"}),
)
FEW = WORKLOADS[:11]


async def tell(workload: Workload, lives: Lives, place: Path) -> Story:
    """Tell a story from its beginning to the death of its server."""
    place.mkdir()
    story = Story(lives, place, workload.settings)
    await story.begin()
    await workload.tell(story)
    assert story.life is not None
    await story.life.kill()
    return story
