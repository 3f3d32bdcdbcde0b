"""Uploads in memory, for tests and examples: everything is gone with the process."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence

from msgspec.structs import replace

from tusd_py.abc import Buffer, Data, DataReader, DataStore, Digest, InfoStore, JobStore
from tusd_py.errors import DataLost, StaleWriter, UploadExists
from tusd_py.models.hook import Moment
from tusd_py.models.job import Job, JobState
from tusd_py.models.limits import Usage
from tusd_py.models.upload import Progress, UploadInfo, UploadKind, UploadState


class MemoryData(Data):
    """One upload's bytes, open for writing."""

    def __init__(self, store: MemoryDataStore, content: _Content) -> None:
        self._store = store
        self._content = content

    async def write(
        self,
        offset: int,
        buffers: Sequence[Buffer],
        digest: Digest | None = None,
        *,
        sync: bool = False,
        last: bool = False,
    ) -> None:
        """Store buffers; see `tusd_py.abc.Data.write`."""
        for buffer in buffers:
            self._content.put(offset, buffer)
            offset += len(buffer)
            if digest is not None:
                digest.update(buffer)

    async def copy(self, offset: int, source_key: str, length: int) -> None:
        """Copy from a finished upload; see `tusd_py.abc.Data.copy`."""
        source = self._store.content(source_key).data
        if len(source) < length:
            raise DataLost
        self._content.put(offset, bytes(source[:length]))

    async def sync(self) -> None:
        """Do nothing: memory survives nothing."""

    async def seal(self, length: int, *, durable: bool) -> None:
        """Cut to `length`; see `tusd_py.abc.Data.seal`."""
        if len(self._content.data) < length:
            raise DataLost
        await self.truncate(length)

    async def truncate(self, length: int) -> None:
        """Drop everything beyond `length`."""
        del self._content.data[length:]

    async def close(self) -> None:
        """Do nothing: there is no handle."""


class MemoryReader(DataReader):
    """One upload's bytes, open for reading."""

    def __init__(self, content: _Content) -> None:
        self._content = content
        self.size = len(content.data)
        self.modified_at = content.modified_at

    def fileno(self) -> None:
        """Return None: there is no file."""

    async def read(self, offset: int, count: int) -> bytes:
        """Return at most `count` bytes from `offset`."""
        return bytes(self._content.data[offset : offset + count])

    async def close(self) -> None:
        """Do nothing: there is no handle."""


class _Content:
    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.data = bytearray()
        self.modified_at = now()

    def put(self, offset: int, buffer: Buffer) -> None:
        gap = offset - len(self.data)
        if gap > 0:
            self.data.extend(bytes(gap))
        self.data[offset : offset + len(buffer)] = buffer
        self.modified_at = self._now()


class MemoryDataStore(DataStore):
    """Bytes in a dictionary. `now` tells the time of changes (seconds since the Unix epoch)."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._contents: dict[str, _Content] = {}

    async def open(self) -> None:
        """Do nothing: memory is always ready."""

    async def close(self) -> None:
        """Do nothing: the bytes stay for a look afterwards."""

    async def create(self, key: str, buffers: Sequence[Buffer] = (), *, durable: bool) -> None:
        """Make a place; see `tusd_py.abc.DataStore.create`."""
        if key in self._contents:
            raise UploadExists
        content = self._contents[key] = _Content(self._now)
        content.put(0, b"".join(buffers))

    async def write_to(self, key: str, *, holds: int | None = 0, lasts: bool = True) -> MemoryData:
        """Open for writing; see `tusd_py.abc.DataStore.write_to`."""
        if holds is None and key not in self._contents:
            await self.create(key, durable=False)
        content = self.content(key)
        if len(content.data) < (holds or 0):
            raise DataLost(f"The stored data has {len(content.data)} bytes instead of {holds}")
        return MemoryData(self, content)

    async def read_from(self, key: str) -> MemoryReader:
        """Open for reading; see `tusd_py.abc.DataStore.read_from`."""
        return MemoryReader(self.content(key))

    async def sync_all(self) -> None:
        """Do nothing: memory survives no power cut anyway."""

    async def remove(self, key: str, *, durable: bool) -> None:
        """Remove the bytes; none is fine."""
        self._contents.pop(key, None)

    async def names(self, *, older_than: float) -> AsyncIterator[Sequence[str]]:
        """Yield the keys of bytes last changed before `older_than`, in one batch."""
        found = [name for name, content in self._contents.items() if content.modified_at < older_than]
        if found:
            yield found

    def content(self, key: str) -> _Content:
        """Return what is stored under a key. Raises `DataLost`."""
        try:
            return self._contents[key]
        except KeyError:
            raise DataLost from None


class MemoryInfoStore(InfoStore, JobStore):
    """Uploads and jobs in dictionaries. No method suspends, so each is a transaction."""

    def __init__(self) -> None:
        self._uploads: dict[str, UploadInfo] = {}
        self._jobs: dict[tuple[str, str], Job] = {}

    async def open(self) -> None:
        """Do nothing: memory is always ready."""

    async def close(self) -> None:
        """Do nothing: what is known stays for a look afterwards."""

    async def insert(self, upload: UploadInfo, *, durable: bool, jobs: Sequence[Job] = (), kept: bytes = b"") -> None:
        """Add an upload and its jobs; see `tusd_py.abc.InfoStore.insert`."""
        key = upload.creation_key
        if upload.id in self._uploads or (key is not None and await self.find_created(key)):
            raise UploadExists
        self._uploads[upload.id] = upload
        self._add(jobs)

    async def get(self, upload_id: str) -> UploadInfo | None:
        """Return what is known of an upload."""
        return self._uploads.get(upload_id)

    async def find_created(self, key: str) -> UploadInfo | None:
        """Return the upload with a `creation_key`; see `tusd_py.abc.InfoStore.find_created`."""
        return next((upload for upload in self._uploads.values() if upload.creation_key == key), None)

    async def advance(self, progress: Progress, *, durable: bool, kept: bytes = b"") -> None:
        """Move an open or finishing upload; see `tusd_py.abc.InfoStore.advance`."""
        self._step(progress, UploadState.OPEN, UploadState.FINISHING)

    async def finish(self, progress: Progress, *, durable: bool, jobs: Sequence[Job] = (), kept: bytes = b"") -> None:
        """Move an upload to its end and add its jobs; see `tusd_py.abc.InfoStore.finish`."""
        self._step(progress, UploadState.OPEN, UploadState.ASSEMBLING, UploadState.FINISHING)
        self._add(jobs)

    async def mark_deleting(self, upload_id: str, *, durable: bool, jobs: Sequence[Job] = ()) -> bool:
        """Make an upload unknown to clients, and add jobs; see `tusd_py.abc.InfoStore.mark_deleting`."""
        upload = self._uploads.get(upload_id)
        if upload is None:
            return False
        self._uploads[upload_id] = _going(upload)
        self._add(jobs)
        return True

    async def delete(self, upload_id: str) -> None:
        """Forget an upload marked as deleting, and its jobs but those that tell of its end."""
        upload = self._uploads.get(upload_id)
        if upload is not None and upload.state is UploadState.DELETING:
            del self._uploads[upload_id]
            self._drop_jobs(lambda job: job.upload_id == upload_id and not _tells_the_end(job))

    async def list_uploads(
        self, *, after: str = "", limit: int = 1000, states: Collection[UploadState] = ()
    ) -> list[UploadInfo]:
        """Return uploads in the order of their ids; see `tusd_py.abc.InfoStore.list_uploads`."""
        found = (self._uploads[key] for key in sorted(self._uploads) if key > after)
        return [upload for upload in found if not states or upload.state in states][:limit]

    async def list_expired(self, now: float, *, limit: int) -> list[str]:
        """Return expired ids, the longest expired first; see `tusd_py.abc.InfoStore.list_expired`."""
        expired = [
            (upload.expires_at, upload.id)
            for upload in self._uploads.values()
            if upload.expires_at is not None
            and upload.expires_at <= now
            and upload.state not in (UploadState.ASSEMBLING, UploadState.DELETING)
        ]
        return [upload_id for _, upload_id in sorted(expired)][:limit]

    async def list_unsynced(self, *, limit: int) -> list[tuple[str, int]]:
        """Return uploads whose offset is ahead of what is synced."""
        ahead = [
            (upload.id, upload.offset) for upload in self._uploads.values() if upload.offset > upload.synced_offset
        ]
        return sorted(ahead)[:limit]

    async def mark_synced(self, uploads: Sequence[tuple[str, int]]) -> None:
        """Note what is synced."""
        for upload_id, offset in uploads:
            upload = self._uploads.get(upload_id)
            if upload is not None and upload.synced_offset < offset <= upload.offset:
                self._uploads[upload_id] = replace(upload, synced_offset=offset)

    async def fall_back(self) -> None:
        """Take back what is not known to be synced; see `tusd_py.abc.InfoStore.fall_back`."""
        for upload in list(self._uploads.values()):
            if upload.offset > upload.synced_offset and upload.state is not UploadState.DELETING:
                self._fall_back(upload)

    def _fall_back(self, upload: UploadInfo) -> None:
        reopens = upload.state in (UploadState.FINISHING, UploadState.FINISHED, UploadState.REJECTED)
        if upload.is_finished:
            self._drop_jobs(lambda job: job.upload_id == upload.id)
        if upload.is_finished and upload.kind is UploadKind.FINAL:
            self._uploads[upload.id] = _going(upload)
            return
        self._uploads[upload.id] = replace(
            upload,
            state=UploadState.OPEN if reopens else upload.state,
            offset=upload.synced_offset,
            expires_at=upload.expires_at or (time.time() + 7 * 86400.0 if reopens else None),
            finished_at=None,
            rejection=None,
        )

    async def usage(self) -> Usage:
        """Return what open uploads take up."""
        lengths = [upload.length or 0 for upload in self._uploads.values() if upload.state is UploadState.OPEN]
        return Usage(len(lengths), sum(lengths))

    async def known(self, keys: Collection[str]) -> set[str]:
        """Return those ids and keys that are known."""
        return (self._uploads.keys() | {upload.key for upload in self._uploads.values()}) & set(keys)

    async def due_jobs(self, now: float, *, limit: int, busy: Collection[str] = ()) -> list[Job]:
        """Return what is due; see `tusd_py.abc.JobStore.due_jobs`."""
        due = [job for job in self._open_jobs() if job.scheduled_at <= now and job.task not in busy]
        return sorted(due, key=lambda job: (-job.priority, job.scheduled_at))[:limit]

    async def next_job_at(self, *, after: float = float("-inf")) -> float | None:
        """Return when the earliest job behind `after` is scheduled."""
        return min((job.scheduled_at for job in self._open_jobs() if job.scheduled_at > after), default=None)

    async def save_job(self, job: Job) -> bool:
        """Store what can change of a job; a job that is gone stays gone."""
        key = (job.upload_id, job.task)
        if key not in self._jobs:
            return False
        self._jobs[key] = job
        return True

    async def rescue_jobs(self, now: float) -> int:
        """Make every executing job available."""
        executing = [job for job in self._jobs.values() if job.state is JobState.EXECUTING]
        for job in executing:
            self._jobs[job.upload_id, job.task] = replace(job, state=JobState.AVAILABLE, scheduled_at=now)
        return len(executing)

    async def prune_jobs(self, before: float, *, limit: int) -> int:
        """Forget jobs that ended before a time, the oldest first."""
        ended = sorted((job.ended_at, key) for key, job in self._jobs.items() if job.ended_at is not None)
        old = [key for ended_at, key in ended if ended_at < before][:limit]
        for key in old:
            del self._jobs[key]
        return len(old)

    async def list_jobs(
        self,
        *,
        upload_id: str | None = None,
        task: str | None = None,
        states: Collection[JobState] = (),
        after: tuple[str, str] = ("", ""),
        limit: int = 1000,
    ) -> list[Job]:
        """Return jobs in the order of their keys; see `tusd_py.abc.JobStore.list_jobs`."""
        found = (self._jobs[key] for key in sorted(self._jobs) if key > after)
        return [
            job
            for job in found
            if upload_id in (None, job.upload_id) and task in (None, job.task) and (not states or job.state in states)
        ][:limit]

    def _open_jobs(self) -> list[Job]:
        return [job for job in self._jobs.values() if job.ended_at is None]

    def _add(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            key = (job.upload_id, job.task)
            there = self._jobs.get(key)
            if there is None or (
                there.state is not JobState.EXECUTING and there.event.upload.created_at != job.event.upload.created_at
            ):
                self._jobs.pop(key, None)
                self._jobs[key] = job

    def _drop_jobs(self, goes: Callable[[Job], bool]) -> None:
        self._jobs = {key: job for key, job in self._jobs.items() if not goes(job)}

    def _step(self, progress: Progress, *states: UploadState) -> None:
        upload = self._uploads.get(progress.upload_id)
        if (
            upload is None
            or upload.state not in states
            or upload.offset != progress.expected
            or upload.epoch not in (progress.fence, progress.fence - 1)
        ):
            raise StaleWriter
        self._uploads[upload.id] = progress.applied_to(upload)


def _going(upload: UploadInfo) -> UploadInfo:
    return replace(upload, state=UploadState.DELETING, creation_key=None)


def _tells_the_end(job: Job) -> bool:
    return job.event.moment is Moment.POST_TERMINATE
