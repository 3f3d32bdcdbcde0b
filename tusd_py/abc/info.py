"""What is known of uploads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

from tusd_py.abc.journal import Journal
from tusd_py.models.job import Job
from tusd_py.models.limits import Usage
from tusd_py.models.upload import Progress, UploadInfo, UploadState


class InfoStore(ABC):
    """What is known of uploads, and the jobs they owe. Every change is one transaction.

    With `durable` a change survives a power cut when the coroutine returns; without, it survives a killed process.
    A change whose coroutine is cancelled may or may not have happened.
    """

    @property
    def journal(self) -> Journal | None:
        """Keeps the bytes that `insert`, `advance` and `finish` are given; a store without one is never given any.

        They are the last ones before the new offset.
        """
        return None

    @abstractmethod
    async def open(self) -> None:
        """Get ready: migrate an older schema, refuse a newer or damaged one with `StartupError`.

        After an unclean boot offsets fall back to what was synced.
        """

    @abstractmethod
    async def close(self) -> None:
        """Commit what is under way and release everything."""

    @abstractmethod
    async def insert(self, upload: UploadInfo, *, durable: bool, jobs: Sequence[Job] = (), kept: bytes = b"") -> None:
        """Add an upload, with the jobs of one that is born finished; `kept` is for the journal. Raises `UploadExists`.

        Then its id is taken, or its `creation_key`.
        """

    @abstractmethod
    async def get(self, upload_id: str) -> UploadInfo | None:
        """Return what is known, in whatever state; None when unknown. The cost does not grow with the store."""

    @abstractmethod
    async def find_created(self, key: str) -> UploadInfo | None:
        """Return the upload with a `creation_key`, None when there is none. The cost does not grow with the store."""

    @abstractmethod
    async def advance(self, progress: Progress, *, durable: bool, kept: bytes = b"") -> None:
        """Move an open upload forward; or back, to `synced_offset`, after a failed sync. Or let a finishing one go on.

        Raises `StaleWriter` unless the stored offset is `expected`, the epoch is the fence or one less, and the
        state is open or finishing.
        """

    @abstractmethod
    async def finish(self, progress: Progress, *, durable: bool, jobs: Sequence[Job] = (), kept: bytes = b"") -> None:
        """Move an open, assembling or finishing upload to its end and add its jobs, in one transaction. As `advance`.

        The end is `finished`, or `rejected` for one that was finishing.
        """

    @abstractmethod
    async def mark_deleting(self, upload_id: str, *, durable: bool, jobs: Sequence[Job] = ()) -> bool:
        """Make an upload unknown to clients before its data goes, and add jobs. Returns False when there is none.

        Its `creation_key` is forgotten: another upload may have it. One that is marked already gets no jobs again.
        """

    @abstractmethod
    async def delete(self, upload_id: str) -> None:
        """Forget an upload marked as deleting, and its jobs but those that tell of its end. Nothing is fine."""

    @abstractmethod
    async def list_uploads(
        self, *, after: str = "", limit: int = 1000, states: Collection[UploadState] = ()
    ) -> list[UploadInfo]:
        """Return uploads in the order of their ids, beginning behind `after`; no states = all states."""

    @abstractmethod
    async def list_expired(self, now: float, *, limit: int) -> list[str]:
        """Return ids whose `expires_at` has passed, the longest expired first; none that is assembling or deleting."""

    @abstractmethod
    async def list_unsynced(self, *, limit: int) -> list[tuple[str, int]]:
        """Return (id, offset) of uploads whose offset is ahead of what is known to survive a power cut."""

    @abstractmethod
    async def mark_synced(self, uploads: Sequence[tuple[str, int]]) -> None:
        """Note that so many bytes of each upload survive a power cut. What is gone or known already is fine."""

    @abstractmethod
    async def fall_back(self) -> None:
        """Take back what is not known to be synced, as an unclean boot does, because a sync failed (I9).

        What was asked for before the call is taken back too, what is asked for later is not.
        """

    @abstractmethod
    async def usage(self) -> Usage:
        """Return what open uploads take up. The cost may grow with their number, not with that of finished ones."""

    @abstractmethod
    async def known(self, keys: Collection[str]) -> set[str]:
        """Return those of the given ids, and keys of data (`UploadInfo.key`), that belong to an upload in any state."""
