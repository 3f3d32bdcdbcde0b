"""An engine over memory rooms that write down what is asked of them, in order, and fail when told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.noting import NotingJobs
from tusd_py.abc import Body, Digest, Journal
from tusd_py.engine.context import Policy
from tusd_py.engine.service import Engine
from tusd_py.errors import DataLost, TusError
from tusd_py.lockers.memory import MemoryLocker
from tusd_py.models.job import Job
from tusd_py.models.journal import JournalEntry
from tusd_py.models.limits import Durability, Limits
from tusd_py.models.upload import Progress, UploadInfo, UploadState
from tusd_py.protocol.intents import Append, Create
from tusd_py.stores.memory import MemoryData, MemoryDataStore, MemoryInfoStore
from tusd_py.testing.fakes import FakeClock

Hook = Callable[[], object]
STEPS_OF_A_COMMIT = 10
"""Turns of the loop that a commit to memory takes, and some."""


class Diary:
    """What happened, in order; and what shall happen when a step is reached."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self._hooks: dict[str, list[Hook | BaseException]] = {}

    def at(self, verb: str, hook: Hook | BaseException) -> None:
        """Raise an error, or call a function, the next time that a verb is reached; several are taken in order."""
        self._hooks.setdefault(verb, []).append(hook)

    def note(self, verb: str, *facts: object) -> None:
        """Write down a step, then do what was planned for it."""
        self.steps.append(" ".join([verb, *(str(fact) for fact in facts if fact != "")]))
        if hooks := self._hooks.get(verb):
            hook = hooks.pop(0)
            if isinstance(hook, BaseException):
                raise hook
            hook()

    def take(self) -> list[str]:
        """Return the steps since the last time."""
        steps, self.steps = self.steps, []
        return steps


def _mark(durable: bool) -> str:
    return "durable" if durable else ""


def _keeps(kept: bytes) -> list[str]:
    return [f"keeps {kept.decode(errors='backslashreplace')}"] if kept else []


class RecordingData(MemoryData):
    _store: RecordingDataStore

    async def write(
        self,
        offset: int,
        buffers: Sequence[bytes],
        digest: Digest | None = None,
        *,
        sync: bool = False,
        last: bool = False,
    ) -> None:
        self._store.diary.note("write", f"{offset}+{sum(map(len, buffers))}")
        await super().write(offset, buffers, digest)
        if sync:
            await self.sync()

    async def copy(self, offset: int, source_id: str, length: int) -> None:
        self._store.diary.note("copy", f"{offset}+{length}")
        await super().copy(offset, source_id, length)

    async def sync(self) -> None:
        self._store.diary.note("sync")
        await super().sync()

    async def seal(self, length: int, *, durable: bool) -> None:
        self._store.diary.note("seal", length, _mark(durable))
        if len(self._content.data) < length:
            raise DataLost
        del self._content.data[length:]

    async def truncate(self, length: int) -> None:
        self._store.diary.note("truncate", length)
        await super().truncate(length)


class RecordingDataStore(MemoryDataStore):
    notices_loss = True

    def __init__(self, diary: Diary, now: Callable[[], float]) -> None:
        super().__init__(now=now)
        self.diary = diary
        self.lasting: list[bool] = []
        """Of data with bytes in it, whether it was said to last."""

    async def create(self, upload_id: str, buffers: Sequence[bytes] = (), *, durable: bool) -> None:
        size = sum(map(len, buffers))
        self.diary.note("create", f"+{size}" if size else "", _mark(durable))
        await super().create(upload_id, buffers, durable=durable)

    async def write_to(self, upload_id: str, *, holds: int | None = 0, lasts: bool = True) -> RecordingData:
        await super().write_to(upload_id, holds=holds, lasts=lasts)
        if holds:
            self.lasting.append(lasts)
        return RecordingData(self, self.content(upload_id))

    async def sync_all(self) -> None:
        self.diary.note("sync_all")

    async def remove(self, upload_id: str, *, durable: bool) -> None:
        self.diary.note("remove", _mark(durable))
        await super().remove(upload_id, durable=durable)


class MemoryJournal(Journal):
    def __init__(self, store: RecordingInfoStore) -> None:
        self._store = store
        self._last = 0
        self.kept: dict[int, tuple[str, int, bytes]] = {}
        self.more = 0
        """What its size is beyond that of what it keeps."""

    @property
    def size(self) -> int:
        return self.more + sum(len(data) for _, _, data in self.kept.values())

    def keep(self, upload_id: str, end: int, data: bytes) -> None:
        if data:
            self._last += 1
            self.kept[self._last] = upload_id, end - len(data), data

    def cut(self, upload_id: str, offset: int) -> None:
        """Forget what is of an upload and ends behind an offset."""
        self.kept = {
            number: (owner, start, data)
            for number, (owner, start, data) in self.kept.items()
            if owner != upload_id or start + len(data) <= offset
        }

    def holds(self, upload_id: str) -> bool:
        return any(upload_id == owner for owner, _, _ in self.kept.values())

    async def end(self) -> int:
        self._store.diary.note("end")
        return self._last

    async def entries(self, *, after: int, limit: int) -> list[JournalEntry]:
        return [
            JournalEntry(number=number, upload=self._store._uploads[upload_id], offset=offset, data=data)
            for number, (upload_id, offset, data) in self.kept.items()
            if number > after and self._store._uploads[upload_id].state is not UploadState.DELETING
        ][:limit]

    async def forget(self, upto: int, *, but: Collection[str] = ()) -> None:
        self._store.diary.note("forget")
        self.kept = {number: entry for number, entry in self.kept.items() if number > upto or entry[0] in but}


class RecordingInfoStore(MemoryInfoStore):
    def __init__(self, diary: Diary) -> None:
        super().__init__()
        self.diary = diary
        self.kept = MemoryJournal(self)

    @property
    def journal(self) -> Journal:
        return self.kept

    async def insert(self, upload: UploadInfo, *, durable: bool, jobs: Sequence[Job] = (), kept: bytes = b"") -> None:
        self.diary.note("insert", upload.state, _mark(durable), *_keeps(kept))
        await super().insert(upload, durable=durable, jobs=jobs)
        self.kept.keep(upload.id, upload.offset, kept)

    async def advance(self, progress: Progress, *, durable: bool, kept: bytes = b"") -> None:
        self.diary.note("advance", f"{progress.offset} synced {progress.synced_offset}", _mark(durable), *_keeps(kept))
        await super().advance(progress, durable=durable)
        self.kept.cut(progress.upload_id, progress.offset)
        self.kept.keep(progress.upload_id, progress.offset, kept)

    async def finish(self, progress: Progress, *, durable: bool, jobs: Sequence[Job] = (), kept: bytes = b"") -> None:
        self.diary.note("finish", f"{progress.offset} synced {progress.synced_offset}", _mark(durable), *_keeps(kept))
        await super().finish(progress, durable=durable, jobs=jobs)
        self.kept.keep(progress.upload_id, progress.offset, kept)

    async def mark_synced(self, uploads: Sequence[tuple[str, int]]) -> None:
        self.diary.note("mark_synced")
        await super().mark_synced(uploads)

    async def fall_back(self) -> None:
        self.diary.note("fall_back")
        await super().fall_back()

    async def mark_deleting(self, upload_id: str, *, durable: bool, jobs: Sequence[Job] = ()) -> bool:
        self.diary.note("mark_deleting", _mark(durable))
        return await super().mark_deleting(upload_id, durable=durable, jobs=jobs)

    async def delete(self, upload_id: str) -> None:
        self.diary.note("delete")
        await super().delete(upload_id)
        self.kept.cut(upload_id, -1)


class ScriptedBody(Body):
    """A body that brings what it was given: bytes, things to do in between, and an error as its end."""

    def __init__(self, *script: bytes | Callable[[], Any] | TusError) -> None:
        self.script = list(script)
        self.reason: TusError | None = None

    async def receive(self) -> Sequence[bytes]:
        # A checkpoint runs beside the reading; a network is slow enough for one of memory to be done.
        for _ in range(STEPS_OF_A_COMMIT):
            await asyncio.sleep(0)
        while self.script:
            item = self.script.pop(0)
            if isinstance(item, TusError):
                raise item
            if isinstance(item, bytes):
                return (item,)
            result = item()
            if hasattr(result, "__await__"):
                await result
        if self.reason is not None:
            raise self.reason
        return ()

    def interrupt(self, reason: TusError) -> None:
        self.reason = self.reason or reason

    def idle(self) -> float:
        return 0.0

    def is_over(self) -> bool:
        return False


@dataclass
class House:
    """An engine and its rooms."""

    engine: Engine
    data: RecordingDataStore
    info: RecordingInfoStore
    locker: MemoryLocker
    clock: FakeClock
    diary: Diary
    finished: list[UploadInfo] = field(default_factory=list)

    async def create(self, length: int | None = 8, *body: bytes, limits: Limits | None = None, **fields: Any) -> str:
        """Create an upload, perhaps with first bytes, note the answer and return the id."""
        size = sum(map(len, body))
        intent = Create(length=length, has_body=bool(body), with_upload=bool(body), body_length=size, **fields)
        upload = await self.engine.create(intent, ScriptedBody(*body), limits or Limits())
        self.diary.steps.append("answer")
        return upload.id

    async def append(
        self,
        upload_id: str,
        offset: int,
        *script: Any,
        limits: Limits | None = None,
        size: int | None = None,
        **fields: Any,
    ) -> UploadInfo:
        """Append a body of `size` bytes, None = of unknown length; note the answer and return the upload."""
        intent = Append(upload_id=upload_id, offset=offset, has_body=bool(script), body_length=size, **fields)
        upload = await self.engine.append(intent, ScriptedBody(*script), limits or Limits())
        self.diary.steps.append("answer")
        return upload

    async def fill(self, data: bytes, **fields: Any) -> str:
        """Create an upload, fill it, and forget the steps."""
        upload_id = await self.create(len(data), **fields)
        await self.append(upload_id, 0, data)
        self.diary.take()
        return upload_id

    def row(self, upload_id: str) -> UploadInfo:
        """Return what is stored of an upload, in whatever state."""
        return self.info._uploads[upload_id]

    def stored(self, upload_id: str) -> bytes:
        """Return the stored bytes of an upload."""
        return bytes(self.data.content(upload_id).data)


@contextlib.asynccontextmanager
async def house(level: Durability = Durability.PATCH, *, start: bool = True, **policy: Any) -> AsyncIterator[House]:
    """Yield an engine at a durability level; `policy` are further fields of it. Nothing sweeps unless told to.

    Nothing is kept in a journal either.
    """
    diary, clock, finished = Diary(), FakeClock(), []
    data, info, locker = RecordingDataStore(diary, clock.now), RecordingInfoStore(diary), MemoryLocker()

    def note(upload: UploadInfo) -> None:
        diary.steps.append("finished")
        finished.append(upload)

    engine = Engine(
        data=data,
        info=info,
        locker=locker,
        clock=clock,
        policy=Policy(durability=level, **{"journal_up_to": 0, **policy}),
        sweep_interval=3600,
        jobs=NotingJobs(info._uploads.get, note),
    )
    if start:
        await engine.start()
    diary.take()
    try:
        yield House(engine, data, info, locker, clock, diary, finished)
    finally:
        await engine.stop()
