"""Uploads in memory, for tests and examples: everything is gone with the process."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence

from msgspec.structs import replace

from tusd_py.abc import Data, DataReader, DataStore, Digest, InfoStore, JobStore
from tusd_py.errors import DataLost, StaleWriter, UploadExists
from tusd_py.models.job import Job
from tusd_py.models.limits import Usage
from tusd_py.models.upload import Progress, UploadInfo, UploadKind, UploadState


class MemoryData(Data):
    """One upload's bytes, open for writing."""

    def __init__(self, store: MemoryDataStore, content: _Content) -> None:
        self._store = store
        self._content = content

    async def write(
        self, offset: int, buffers: Sequence[bytes], digest: Digest | None = None, *, sync: bool = False
    ) -> None:
        """Store buffers; see `tusd_py.abc.Data.write`."""
        for buffer in buffers:
            self._content.put(offset, buffer)
            offset += len(buffer)
            if digest is not None:
                digest.update(buffer)

    async def copy(self, offset: int, source_id: str, length: int) -> None:
        """Copy from a finished upload; see `tusd_py.abc.Data.copy`."""
        source = self._store.content(source_id).data
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

    def put(self, offset: int, buffer: bytes) -> None:
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

    async def create(self, upload_id: str, buffers: Sequence[bytes] = (), *, durable: bool) -> None:
        """Make a place; see `tusd_py.abc.DataStore.create`."""
        if upload_id in self._contents:
            raise UploadExists
        content = self._contents[upload_id] = _Content(self._now)
        content.put(0, b"".join(buffers))

    async def write_to(self, upload_id: str, *, holds: int | None = 0) -> MemoryData:
        """Open for writing; see `tusd_py.abc.DataStore.write_to`."""
        if holds is None and upload_id not in self._contents:
            await self.create(upload_id, durable=True)
        content = self.content(upload_id)
        if len(content.data) < (holds or 0):
            raise DataLost(f"The stored data has {len(content.data)} bytes instead of {holds}")
        return MemoryData(self, content)

    async def read_from(self, upload_id: str) -> MemoryReader:
        """Open for reading; see `tusd_py.abc.DataStore.read_from`."""
        return MemoryReader(self.content(upload_id))

    async def sync_all(self) -> None:
        """Do nothing: memory survives no power cut anyway."""

    async def remove(self, upload_id: str, *, durable: bool) -> None:
        """Remove the bytes; none is fine."""
        self._contents.pop(upload_id, None)

    async def names(self, *, older_than: float) -> AsyncIterator[Sequence[str]]:
        """Yield the ids of bytes last changed before `older_than`, in one batch."""
        found = [name for name, content in self._contents.items() if content.modified_at < older_than]
        if found:
            yield found

    def content(self, upload_id: str) -> _Content:
        """Return what is stored under an id. Raises `DataLost`."""
        try:
            return self._contents[upload_id]
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

    async def insert(self, upload: UploadInfo, *, durable: bool, jobs: Sequence[Job] = ()) -> None:
        """Add an upload and its jobs; see `tusd_py.abc.InfoStore.insert`."""
        if upload.id in self._uploads:
            raise UploadExists
        self._uploads[upload.id] = upload
        self._add(jobs)

    async def get(self, upload_id: str) -> UploadInfo | None:
        """Return what is known of an upload."""
        return self._uploads.get(upload_id)

    async def advance(self, progress: Progress, *, durable: bool) -> None:
        """Move an open upload forward; see `tusd_py.abc.InfoStore.advance`."""
        self._step(progress, UploadState.OPEN)

    async def finish(self, progress: Progress, *, durable: bool, jobs: Sequence[Job] = ()) -> None:
        """Move an upload to its end and add its jobs; see `tusd_py.abc.InfoStore.finish`."""
        self._step(progress, UploadState.OPEN, UploadState.ASSEMBLING)
        upload = self._uploads[progress.upload_id]
        self._uploads[upload.id] = replace(upload, state=UploadState.FINISHED, finished_at=progress.finished_at)
        self._add(jobs)

    async def mark_deleting(self, upload_id: str, *, durable: bool) -> bool:
        """Make an upload unknown to clients; see `tusd_py.abc.InfoStore.mark_deleting`."""
        upload = self._uploads.get(upload_id)
        if upload is None:
            return False
        self._uploads[upload_id] = replace(upload, state=UploadState.DELETING)
        return True

    async def delete(self, upload_id: str) -> None:
        """Forget an upload marked as deleting, and its jobs."""
        upload = self._uploads.get(upload_id)
        if upload is not None and upload.state is UploadState.DELETING:
            del self._uploads[upload_id]
            self._jobs = {key: job for key, job in self._jobs.items() if key[0] != upload_id}

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
            and upload.state in (UploadState.OPEN, UploadState.FINISHED)
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
        for upload in self._uploads.values():
            if upload.offset <= upload.synced_offset or upload.state is UploadState.DELETING:
                continue
            if upload.is_finished:
                self._jobs = {key: job for key, job in self._jobs.items() if key[0] != upload.id}
            if upload.is_finished and upload.kind is UploadKind.FINAL:
                self._uploads[upload.id] = replace(upload, state=UploadState.DELETING)
                continue
            expires_at = upload.expires_at or (time.time() + 7 * 86400.0 if upload.is_finished else None)
            self._uploads[upload.id] = replace(
                upload,
                state=UploadState.OPEN if upload.is_finished else upload.state,
                offset=upload.synced_offset,
                expires_at=expires_at,
                finished_at=None,
            )

    async def usage(self) -> Usage:
        """Return what open uploads take up."""
        lengths = [upload.length or 0 for upload in self._uploads.values() if upload.state is UploadState.OPEN]
        return Usage(len(lengths), sum(lengths))

    async def known(self, upload_ids: Collection[str]) -> set[str]:
        """Return those ids that are known."""
        return self._uploads.keys() & upload_ids

    async def due_jobs(self, now: float, *, limit: int) -> list[Job]:
        """Return jobs scheduled at or before `now`, the earliest first."""
        due = [job for job in self._jobs.values() if job.scheduled_at <= now]
        return sorted(due, key=lambda job: (job.scheduled_at, job.upload_id, job.task))[:limit]

    async def next_job_at(self, *, after: float = float("-inf")) -> float | None:
        """Return when the earliest job behind `after` is scheduled."""
        return min((job.scheduled_at for job in self._jobs.values() if job.scheduled_at > after), default=None)

    async def retry_job(self, job: Job) -> None:
        """Store a failed job's new attempt, time and error; a job that is gone stays gone."""
        if (job.upload_id, job.task) in self._jobs:
            self._jobs[job.upload_id, job.task] = job

    async def complete_job(self, job: Job) -> None:
        """Forget a job."""
        self._jobs.pop((job.upload_id, job.task), None)

    def _add(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._jobs[job.upload_id, job.task] = job

    def _step(self, progress: Progress, *states: UploadState) -> None:
        upload = self._uploads.get(progress.upload_id)
        if (
            upload is None
            or upload.state not in states
            or upload.offset != progress.expected
            or upload.epoch not in (progress.fence, progress.fence - 1)
        ):
            raise StaleWriter
        self._uploads[upload.id] = replace(
            upload,
            offset=progress.offset,
            synced_offset=progress.synced_offset,
            length=progress.length,
            epoch=progress.fence,
            expires_at=progress.expires_at,
        )
