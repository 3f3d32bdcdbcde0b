"""What is known of uploads, in SQLite."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from tusd_py.abc import InfoStore, Journal
from tusd_py.errors import StaleWriter, StartupError, StoreError, UploadExists
from tusd_py.models.job import Job
from tusd_py.models.limits import Durability, Usage
from tusd_py.models.upload import Progress, UploadInfo, UploadKind, UploadState
from tusd_py.stores.sqlite.ballast import Ballast, wants_room
from tusd_py.stores.sqlite.boot import current_boot_id, fall_back, settle_boot
from tusd_py.stores.sqlite.commits import EVERYTHING, Change, Commits
from tusd_py.stores.sqlite.database import Database, Parameters, first_column
from tusd_py.stores.sqlite.health import unusable
from tusd_py.stores.sqlite.jobs import SqliteJobStore, as_json
from tusd_py.stores.sqlite.journal import SqliteJournal
from tusd_py.stores.sqlite.recent import After, Recent

_RARE = frozenset({UploadState.ASSEMBLING, UploadState.FINISHING, UploadState.DELETING})
_parts = msgspec.json.Decoder(tuple[str, ...])


class SqliteInfoStore(SqliteJobStore, InfoStore):
    """Uploads and jobs in one SQLite file. Changes of many callers share a transaction and its sync.

    SQLite runs on threads of its own, and the event loop waits for them a few milliseconds at most. `sqlite3` errors
    never come out of it.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability,
        boot_id: str | None = None,
        data_root: Path | None = None,
        read_only: bool = False,
    ) -> None:
        """Remember the place; `open` uses it.

        Args:
            path: the database. Ballast lies beside it.
            durability: decides what a done job costs; every other change is told for itself.
            boot_id: names the time since the operating system started; None = ask the kernel.
            data_root: directory of the data. If there is any in it, an empty database is not begun.
            read_only: only look, also beside a server that is running. Changes raise `StoreError`.
        """
        self._durability = durability
        self._boot_id = boot_id
        self._read_only = read_only
        self._database = Database(path, data_root=data_root, read_only=read_only)
        self._recent = Recent()
        self._ballast = Ballast(path.with_name("ballast"))
        self._journal = SqliteJournal(self._database, self._settle, _upload)

    @property
    def journal(self) -> Journal:
        """Short bodies; they are in the same transaction as the row that counts them."""
        return self._journal

    async def open(self) -> None:
        """Get ready; see `tusd_py.abc.InfoStore.open`. The cost does not grow with the store in the same boot."""
        try:
            await self._open()
        except StartupError as error:
            no_room = not self._read_only and wants_room(error.__cause__)
            if not no_room or not await asyncio.to_thread(self._ballast.drop):
                raise
            await self._open()
        if self._read_only:
            return
        await asyncio.to_thread(self._ballast.stow)
        self._commits = Commits(self._database, self._ballast, self._stored)

    async def _open(self) -> None:
        self._recent = Recent(0) if self._read_only else Recent()
        await self._database.open()
        try:
            await self._journal.load()
        except StoreError:
            await self._database.close()
            raise
        if self._read_only:
            return
        try:
            boot_id = self._boot_id
            if boot_id is None:
                boot_id = await asyncio.to_thread(current_boot_id)
            await self._database.writer.run(lambda db: settle_boot(db, boot_id), durable=True)
        except BaseException as error:
            await self._database.close()
            if isinstance(error, (sqlite3.Error, OSError)):
                raise unusable(self._database.path, error) from error
            raise

    async def close(self) -> None:
        """Commit what waits and close the database. Safe to call twice."""
        commits, self._commits = self._commits, None
        if commits is not None:
            await commits.close()
        await self._database.close()

    @property
    def commits(self) -> int:
        """How many transactions were committed since `open`; many callers share one."""
        return self._commits.committed if self._commits else 0

    async def insert(self, upload: UploadInfo, *, durable: bool, jobs: Sequence[Job] = (), kept: bytes = b"") -> None:
        """Add an upload and its jobs; see `tusd_py.abc.InfoStore.insert`."""
        added = self._journal.addition(upload.id, upload.offset, kept)
        steps = (("insert_upload", upload), *(("insert_job", job) for job in jobs), *added)
        changed = await self._change(
            upload.id, *steps, durable=durable, after=lambda _: upload, applied=lambda found: found == upload
        )
        if not changed:
            raise UploadExists

    async def get(self, upload_id: str) -> UploadInfo | None:
        """Return what is known of an upload, as the last commit left it.

        Raises `StoreBusy` on a disk that hangs, or that fails so that nobody can tell yet what a kill would leave.
        """
        if self._commits is not None and self._commits.undecided:
            await self._commits.decide(upload_id)
        if (upload := self._recent.get(upload_id)) is not None:
            return upload
        token = self._recent.begin_read(upload_id)
        try:
            upload = _first(await self._database.read_in_time("get_upload", {"id": upload_id}))
        finally:
            self._recent.end_read(upload_id, token, upload)
        return upload

    async def find_created(self, key: str) -> UploadInfo | None:
        """Return the upload with a `creation_key`; see `tusd_py.abc.InfoStore`. Raises `StoreBusy` as `get` does."""
        upload = _first(await self._database.read_in_time("find_created", {"key": key}))
        if upload is not None and self._commits is not None:
            await self._commits.decide(upload.id)
        return upload

    async def _stored(self, upload_id: str) -> UploadInfo | None:
        return _first(await self._database.read("get_upload", {"id": upload_id}))

    async def advance(self, progress: Progress, *, durable: bool, kept: bytes = b"") -> None:
        """Move an open upload forward; see `tusd_py.abc.InfoStore.advance`."""
        added = self._journal.addition(progress.upload_id, progress.offset, kept)
        if progress.offset < progress.expected:
            added.append(("cut_journal", {}))
        await self._take(progress, ("advance_upload", progress), *added, durable=durable)

    async def finish(self, progress: Progress, *, durable: bool, jobs: Sequence[Job] = (), kept: bytes = b"") -> None:
        """Move an upload to its end and add its jobs; see `tusd_py.abc.InfoStore.finish`."""
        added = self._journal.addition(progress.upload_id, progress.offset, kept)
        steps = (("finish_upload", progress), *(("insert_job", job) for job in jobs), *added)
        await self._take(progress, *steps, durable=durable)

    async def _take(self, progress: Progress, *steps: tuple[str, object], durable: bool) -> None:
        changed = await self._change(
            progress.upload_id, *steps, durable=durable, after=_taking(progress), applied=_has_taken(progress)
        )
        if not changed:
            raise StaleWriter

    async def mark_deleting(self, upload_id: str, *, durable: bool, jobs: Sequence[Job] = ()) -> bool:
        """Make an upload unknown to clients; see `tusd_py.abc.InfoStore.mark_deleting`. Works on a full disk."""
        steps = (("mark_deleting", {"upload_id": upload_id}), *(("insert_job", job) for job in jobs))
        return await self._change(upload_id, *steps, durable=durable, applied=_is_deleting)

    async def delete(self, upload_id: str) -> None:
        """Forget an upload marked as deleting, and its jobs. A power cut may bring the mark back, nothing else."""
        row = {"upload_id": upload_id}
        steps = (("delete_upload", row), ("delete_jobs", row), *self._journal.removals(upload_id))
        await self._change(upload_id, *steps, durable=False, applied=lambda found: found is None)

    async def list_uploads(
        self, *, after: str = "", limit: int = 1000, states: Collection[UploadState] = ()
    ) -> list[UploadInfo]:
        """Return uploads in the order of their ids; see `tusd_py.abc.InfoStore.list_uploads`."""
        query = "list_unsettled" if states and _RARE.issuperset(states) else "list_uploads"
        parameters: Parameters = {"after": after, "limit": limit, "states": as_json(states)}
        return [_upload(row) for row in await self._database.read(query, parameters)]

    async def list_expired(self, now: float, *, limit: int) -> list[str]:
        """Return expired ids, the longest expired first; see `tusd_py.abc.InfoStore.list_expired`."""
        rows = await self._database.read("list_expired", {"now": now, "limit": limit})
        return [row[0] for row in rows]

    async def list_unsynced(self, *, limit: int) -> list[tuple[str, int]]:
        """Return uploads whose offset is ahead of what is synced; see `tusd_py.abc.InfoStore.list_unsynced`."""
        return [(row[0], row[1]) for row in await self._database.read("list_unsynced", {"limit": limit})]

    async def mark_synced(self, uploads: Sequence[tuple[str, int]]) -> None:
        """Note what is synced. A power cut may take the note back, then it falls back further than it had to."""
        changes = (
            self._change(upload_id, ("mark_synced", {"upload_id": upload_id, "offset": offset}), durable=False)
            for upload_id, offset in uploads
        )
        await asyncio.gather(*changes)

    async def fall_back(self) -> None:
        """Take back what is not known to be synced; see `tusd_py.abc.InfoStore.fall_back`. What boot does, too."""
        change = Change(EVERYTHING, durable=True, work=_fall_back)
        change.settled = lambda _: self._recent.clear()
        await self._settle(change)

    async def _settle(self, change: Change) -> bool:
        return await self._open_commits().settle(change)

    async def usage(self) -> Usage:
        """Return what open uploads take up; see `tusd_py.abc.InfoStore.usage`. Raises `StoreBusy` as `get` does."""
        row = (await self._database.read_in_time("get_usage", {}))[0]
        return Usage(row[0], int(row[1]))

    async def known(self, keys: Collection[str]) -> set[str]:
        """Return those ids and keys that are known. Raises `StoreBusy` while nobody can tell for some upload."""
        if self._commits is not None:
            for key in list(self._commits.undecided):
                await self._commits.decide(key)
        return first_column(await self._database.read("known_uploads", {"keys": as_json(keys)}))


def _taking(progress: Progress) -> After:
    return lambda upload: upload and progress.applied_to(upload)


def _has_taken(progress: Progress) -> Callable[[UploadInfo | None], bool]:
    return lambda found: found is not None and found == progress.applied_to(found)


def _is_deleting(found: UploadInfo | None) -> bool:
    return found is not None and found.state is UploadState.DELETING


def _fall_back(db: sqlite3.Connection) -> None:
    fall_back(db, "syncing failed", {"action": "settle_failed"})


def _first(rows: Sequence[sqlite3.Row]) -> UploadInfo | None:
    return _upload(rows[0]) if rows else None


def _upload(row: sqlite3.Row) -> UploadInfo:
    return UploadInfo(
        id=row[0],
        kind=UploadKind(row[1]),
        state=UploadState(row[2]),
        offset=row[3],
        synced_offset=row[4],
        length=row[5],
        metadata=row[6],
        concat=row[7],
        parts=_parts.decode(row[8]),
        path=row[9],
        epoch=row[10],
        created_at=row[11],
        expires_at=row[12],
        finished_at=row[13],
        rejection=row[14],
        creation_key=row[15],
        creation_digest=row[16],
    )
