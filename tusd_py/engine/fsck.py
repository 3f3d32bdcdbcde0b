"""`tusd-py fsck`: what is known and what is stored, held against each other while no server runs (reliability: I7).

Judges by the rules by which the server refuses data, so that whatever is not named here is served, and what is served
is not named.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec
from msgspec.structs import replace

from tusd_py.engine.context import Context
from tusd_py.engine.existence import remove
from tusd_py.engine.expire import BATCH, ORPHAN_AGE
from tusd_py.engine.replay import AT_ONCE
from tusd_py.errors import StoreError
from tusd_py.models.job import Job, JobState
from tusd_py.models.stored import Entry, Stored
from tusd_py.models.upload import Progress, UploadInfo, UploadKind, UploadState


class Kind(StrEnum):
    """What can be wrong."""

    DATABASE = "database"
    SHORT = "short"
    LOST = "lost"
    LONG = "long"
    HOLE = "hole"
    HALF_REMOVED = "half-removed"
    HALF_JOINED = "half-joined"
    ORPHAN = "orphan"
    FOREIGN = "foreign"
    JOB = "job"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be."""

    kind: Kind
    name: str
    """The id of the upload, the key of data that has none, or the path below the directory of the data."""
    detail: str
    repaired: bool = False


class Files(Protocol):
    """The disk, as it is."""

    async def look(self, uploads: Sequence[UploadInfo]) -> list[Stored]:
        """Return what is there of each upload."""

    def entries(self) -> AsyncIterator[Sequence[Entry]]:
        """Yield everything that is there."""


class Jobs(Protocol):
    """What is owed, as it is."""

    async def stray_jobs(self, *, after: Job | None, limit: int) -> list[Job]:
        """Return jobs that are owed for no finished upload, in the order of their keys."""

    async def save_job(self, job: Job) -> bool:
        """Store what became of a job."""


class Check:
    """One pass over a data directory that nobody else uses. Memory does not grow with the number of uploads."""

    def __init__(self, ctx: Context, jobs: Jobs, files: Files, *, repair: bool, restarted: bool = False) -> None:
        """Remember the rooms; without `repair` only reading methods are used.

        `restarted`: offsets that were not synced count as taken back already, as the next start will do it.
        """
        self.checked = 0
        """Uploads looked at so far."""
        self._ctx = ctx
        self._owed = jobs
        self._files = files
        self._repair = repair
        self._restarted = restarted

    async def problems(self) -> AsyncIterator[Problem]:
        """Yield each problem when what can be done about it is done. Raises `StoreError`, `OSError`."""
        for part in (self._uploads(), self._entries(), self._jobs()):
            async for problem in part:
                yield problem

    async def _uploads(self) -> AsyncIterator[Problem]:
        after, ends = "", await self._journal_ends()
        while rows := await self._ctx.info.list_uploads(after=after, limit=BATCH):
            after = rows[-1].id
            self.checked += len(rows)
            uploads = [after_boot(upload) for upload in rows] if self._restarted else rows
            for upload, found in zip(uploads, await self._files.look(uploads), strict=True):
                stored = after_replay(upload, found, ends[upload.id]) if upload.id in ends else found
                if problem := judge(upload, stored):
                    yield await self._mended(problem, upload, stored) if self._repair else problem

    async def _journal_ends(self) -> dict[str, tuple[int, int]]:
        """Return from where to where the journal has bytes, by upload: the next start writes them to the data."""
        ends: dict[str, tuple[int, int]] = {}
        number = 0
        while self._ctx.info.journal is not None and not self._repair:
            entries = await self._ctx.info.journal.entries(after=number, limit=AT_ONCE)
            if not entries:
                break
            number = entries[-1].number
            for entry in entries:
                start, _ = ends.get(entry.upload.id, (entry.offset, 0))
                ends[entry.upload.id] = start, entry.offset + len(entry.data)
        return ends

    async def _mended(self, problem: Problem, upload: UploadInfo, stored: Stored) -> Problem:
        try:
            return replace(problem, repaired=await self._mend(problem.kind, upload, stored))
        except (StoreError, OSError) as error:
            return replace(problem, detail=f"{problem.detail}; repairing failed: {error}")

    async def _mend(self, kind: Kind, upload: UploadInfo, stored: Stored) -> bool:
        """Do what is safe: nothing that a client could still use is removed."""
        match kind:
            case Kind.HALF_REMOVED | Kind.HALF_JOINED:
                await remove(self._ctx, upload)
            case Kind.SHORT:
                await self._take_back(upload, stored.sound)
            case Kind.LONG:
                data = await self._ctx.data.write_to(upload.key, holds=upload.offset)
                try:
                    await data.seal(upload.offset, durable=True)
                finally:
                    await data.close()
            case _:
                return False
        return True

    async def _take_back(self, upload: UploadInfo, offset: int) -> None:
        """Let the offset of an unfinished upload fall, as after a power cut: its client asks, and goes on there."""
        step = Progress(
            upload_id=upload.id,
            fence=upload.epoch + 1,
            expected=upload.offset,
            offset=offset,
            synced_offset=min(upload.synced_offset, offset),
            length=upload.length,
            expires_at=upload.expires_at,
        )
        await self._ctx.info.advance(step, durable=True)

    async def _entries(self) -> AsyncIterator[Problem]:
        old = self._ctx.clock.now() - ORPHAN_AGE
        async for batch in self._files.entries():
            known = await self._ctx.info.known([entry.key for entry in batch if entry.key])
            for entry in batch:
                if entry.key in known:
                    continue
                if entry.key is None or not entry.is_plain:
                    yield Problem(kind=Kind.FOREIGN, name=entry.path, detail="not made by the server; left alone")
                else:
                    yield await self._orphan(entry, entry.key, removes=entry.modified_at < old)

    async def _orphan(self, entry: Entry, key: str, *, removes: bool) -> Problem:
        when = "more than a day old" if removes else "the server removes it when it is a day old"
        detail = f"{entry.size} bytes that no upload owns; {when}"
        if self._repair and removes:
            await self._ctx.data.remove(key, durable=False)
        return Problem(kind=Kind.ORPHAN, name=key, detail=detail, repaired=self._repair and removes)

    async def _jobs(self) -> AsyncIterator[Problem]:
        after: Job | None = None
        while jobs := await self._owed.stray_jobs(after=after, limit=BATCH):
            after = jobs[-1]
            for job in jobs:
                if self._repair:
                    await self._owed.save_job(_cancelled(job, self._ctx.clock.now()))
                detail = f"a job {job.task!r} is owed for no finished upload"
                yield Problem(kind=Kind.JOB, name=job.upload_id, detail=detail, repaired=self._repair)


def _cancelled(job: Job, now: float) -> Job:
    return replace(job, state=JobState.CANCELLED, ended_at=now, error="owed for no finished upload")


def after_replay(upload: UploadInfo, stored: Stored, kept: tuple[int, int]) -> Stored:
    """Return what is there of an upload when what the journal has is written to it, which is from here to there."""
    start, end = kept
    size = 0 if stored.is_missing else stored.size
    if size is None or size < start:
        return stored
    hole = None if stored.hole is not None and stored.hole >= start else stored.hole
    is_cut = upload.is_finished and end == upload.offset
    return Stored(size=end if is_cut else max(size, end), hole=hole)


def judge(upload: UploadInfo, stored: Stored) -> Problem | None:
    """Return what is wrong with one upload; None = the server can go on with it, or serve it."""
    found = _HALF_DONE.get(upload.state) or _missing(upload, stored) or _too_much(upload, stored)
    return found and Problem(kind=found[0], name=upload.id, detail=found[1])


_HALF_DONE = {
    UploadState.DELETING: (Kind.HALF_REMOVED, "its removal was begun; the server goes on with it at its start"),
    UploadState.ASSEMBLING: (Kind.HALF_JOINED, "its parts were being copied; the server removes it at its start"),
}


def _missing(upload: UploadInfo, stored: Stored) -> tuple[Kind, str] | None:
    """Return whether acknowledged bytes are gone, for which the server answers `DataLost`."""
    # Of one that has come to its end, rejected ones too, nobody sends the bytes again.
    goes_on = upload.state in (UploadState.OPEN, UploadState.FINISHING)
    if stored.is_missing and goes_on and not upload.offset:
        # Data is made with the first byte.
        return None
    if stored.size is None:
        kind = Kind.SHORT if stored.is_missing and goes_on else Kind.LOST
        return kind, f"its data cannot be used: {stored.fault}"
    if stored.size < upload.offset:
        kind = Kind.SHORT if goes_on else Kind.LOST
        return kind, f"{stored.size} of {upload.offset} bytes are there"
    if upload.is_finished and upload.offset != upload.length:
        return Kind.LOST, f"it is called finished with {upload.offset} of {upload.length} bytes"
    return None


def _too_much(upload: UploadInfo, stored: Stored) -> tuple[Kind, str] | None:
    """Return whether there are bytes that nobody sent."""
    if upload.is_finished and stored.size != upload.offset:
        return Kind.LONG, f"{stored.size} bytes are there, of which {upload.offset} are its own"
    if stored.hole is not None:
        return Kind.HOLE, f"there is a hole in the file at byte {stored.hole}, where nothing was ever written"
    return None


def after_boot(upload: UploadInfo) -> UploadInfo:
    """Return an upload as the start after an unclean boot makes it (reliability 3.1)."""
    if upload.state is UploadState.DELETING or upload.synced_offset >= upload.offset:
        return upload
    if upload.is_finished and upload.kind is UploadKind.FINAL:
        return replace(upload, state=UploadState.DELETING)
    falls = (UploadState.FINISHING, UploadState.FINISHED, UploadState.REJECTED)
    state = UploadState.OPEN if upload.state in falls else upload.state
    return replace(upload, state=state, offset=upload.synced_offset)
