"""A client of servers that come and go, whose whole story is judged at the end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.actors import Actor
from tests.faults.check import summary
from tests.faults.figures import OF_VIOLATIONS, Figures
from tests.faults.lives import LAG, Life, Lives, lag_quantile, read_jobs
from tests.faults.oracle.checker import check_jobs
from tests.faults.oracle.history import Begun, Event, History
from tests.faults.oracle.payload import payload
from tests.support.waiting import until
from tests.support.wire import Wire

TRIES = 5
UNSEEN = ("never retrieved", "never awaited")
"""What asyncio says of errors that nobody took care of."""


@dataclass
class Half:
    """A PATCH whose body does not go on by itself."""

    begun: Begun
    wire: Wire
    rest: bytes
    sent: int

    async def told(self) -> int | None:
        """Wait for the answer to what was sent; return its status, None when the connection ends without one."""
        try:
            answer = await self.wire.answer()
        except (OSError, asyncio.IncompleteReadError):
            return self.begun.end(None, sent=self.sent).status
        offset = answer.headers.get("Upload-Offset")
        return self.begun.end(answer.status, int(offset) if offset else None, sent=self.sent).status

    async def go_on(self) -> int | None:
        """Send the rest; return the status."""
        self.wire.send(self.rest)
        self.sent += len(self.rest)
        return await self.told()


class Trial(Actor):
    """Client and data directory of one scenario; starts servers and follows them to their ports."""

    def __init__(self, them: Lives, data_dir: Path, log: History) -> None:
        super().__init__("", log, writers=itertools.count(1))
        self.them = them
        self.data_dir = data_dir
        self.lengths: dict[str, int] = {}
        self.partial: set[str] = set()
        """Those that are for a concatenation, and owe no job."""
        self.lives: list[Life] = []
        self._of_life: dict[str, Any] = {}

    @property
    def life(self) -> Life:
        """The server that runs, or ran last."""
        return self.lives[-1]

    async def begin(self, **options: Any) -> Life:
        """Start a server, as `Lives.begin`, and follow it. Without options: as the last one."""
        self._of_life = options or self._of_life
        life = await self.them.begin(self.data_dir, **self._of_life)
        self.lives.append(life)
        self.follow(life)
        return life

    def follow(self, life: Life) -> None:
        """Speak to this server from now on."""
        self.url = life.url
        self.urls = {key: life.url + name_of(url) for key, url in self.urls.items()}

    async def made(self, key: str, length: int, **headers: str) -> str:
        """Create an upload, which must work; return its URL."""
        self.lengths[key] = length
        event = await self.create(key, length, {name.replace("_", "-"): text for name, text in headers.items()})
        assert event.status == 201, event
        return self.urls[key]

    async def offset(self, key: str) -> int:
        """Return what HEAD shows; it must work."""
        event = await self.head(key)
        assert event.status == 200, event
        assert event.offset is not None
        return event.offset

    async def fill(self, key: str, to: int | None = None) -> Event:
        """Send the rest of an upload, or up to there, in one body."""
        at = await self.offset(key)
        return await self.patch(key, at, (self.lengths[key] if to is None else to) - at)

    async def uploaded(self, key: str, length: int, **headers: str) -> str:
        """Create an upload and fill it, which must work; return its URL."""
        url = await self.made(key, length, **headers)
        assert (await self.fill(key)).status == 204
        return url

    async def half(self, crowd: AsyncExitStack, key: str, length: int) -> Half:
        """Create an upload and send half of it; it is on the disk, and nothing was acknowledged."""
        url, writer = await self.made(key, length), next(self._writers)
        body, sent = payload(key, writer, 0, length), length // 2
        begun = self.log.begin("patch", key, writer=writer, at=0, size=length, sent=sent)
        wire = await crowd.enter_async_context(await Wire.open(url))
        wire.start_patch(url, 0, {"Content-Length": str(length)})
        wire.send(body[:sent])
        await self.until_stored(key, sent)
        return Half(begun, wire, body[sent:], sent)

    async def removed(self, key: str) -> None:
        """Delete an upload, which must work."""
        assert (await self.delete(key)).status == 204
        assert (await self.head(key)).status == 404
        self.forget(key)

    def forget(self, key: str) -> None:
        """Do not finish this upload in the end."""
        del self.lengths[key]

    def path_of(self, key: str) -> Path:
        """Return where the bytes of an upload are."""
        name = name_of(self.urls[key])
        return self.data_dir / "uploads" / name[:2] / name

    async def until_stored(self, key: str, size: int) -> None:
        """Wait until so many bytes of an upload have reached the disk, acknowledged or not."""

        async def is_there() -> bool:
            return self.path_of(key).exists() and self.path_of(key).stat().st_size >= size

        await until(is_there)

    async def finish_all(self) -> None:
        """Take up every upload that is not finished until it is, and download all of them."""
        for key, length in self.lengths.items():
            for _ in range(TRIES):
                if await self.offset(key) == length:
                    break
                await self.fill(key)
            assert (await self.get(key)).status == 200, key

    async def has_no_jobs(self) -> bool:
        """Whether every job has come to its end, and is known to have."""
        with closing(sqlite3.connect(f"file:{self.data_dir}/uploads.sqlite3?mode=ro", uri=True)) as db:
            return bool(db.execute("select count(*) from jobs where ended_at is null").fetchone() == (0,))

    async def judged(self, figures: Figures, subject: str, *, failing_disk: bool = False) -> None:
        """Finish all uploads, end the server, count everything; whatever was broken fails the test.

        With a `failing_disk` the answer 500 was a proper one.
        """
        await self.finish_all()
        owed = {name_of(self.urls[key]) for key in self.lengths.keys() - self.partial}
        if self._of_life.get("job", "work") == "work":
            await until(lambda: self._noted(owed))
        for life in self.lives:
            assert (life.ended.done() and life.ended.result() == -9) or await life.end() == 0, life.stderr.read_text()
        jobs = [job for job in read_jobs(self.them.jobs) if job.upload in owed]
        report = summary(self.log.events(), self.bodies)
        violations = report.violations + check_jobs(owed, jobs)
        if failing_disk:
            del report.figures.counters["unhandled_500s"]
        figures.merge(report.figures)
        figures.add("jobs_missing", 0)
        for each in violations[len(report.violations) :]:
            figures.add(OF_VIOLATIONS[each.kind])
        figures.add("duplicate_job_attempts", len(jobs) - len({job.upload for job in jobs}))
        figures.sample("loop_lag_p99_ms", lag_quantile(self.them.lag), of=subject)
        assert not violations, [each.sentence for each in violations]
        assert failing_disk or not report.figures.total("unhandled_500s"), report.statuses
        for life in self.lives:
            told = life.stderr.read_text(errors="replace")
            assert not any(words in told for words in UNSEEN), told

    async def _noted(self, owed: set[str]) -> bool:
        return owed <= {job.upload for job in read_jobs(self.them.jobs)}


@contextlib.asynccontextmanager
async def trial(them: Lives, data_dir: Path) -> AsyncIterator[Trial]:
    """Have a client, a log, and no server that outlives the block."""
    them.lag.write_bytes(bytes(LAG.size))
    log = History(them.place / f"history-{time.monotonic_ns()}.jsonl")
    one = Trial(them, data_dir, log)
    try:
        yield one
    finally:
        for life in one.lives:
            await life.kill()
        log.close()


def name_of(url: str) -> str:
    """Return the id in an upload URL."""
    return url.rpartition("/")[2]
