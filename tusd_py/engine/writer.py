"""One writer of one upload: bytes before offset, offset before answer (reliability 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from tusd_py.abc import Data, Digest
from tusd_py.engine.context import Context
from tusd_py.errors import InsufficientStorage
from tusd_py.models.limits import Limits
from tusd_py.models.upload import Progress, UploadInfo, UploadKind, UploadState


class Writer:
    """Moves one upload forward while its lock is held.

    `position` is where the next byte goes; `upload` is the upload as committed. Everything between the two is
    garbage by definition until `commit` has returned: a crash, an error or a failed check simply leaves it there.
    """

    def __init__(self, ctx: Context, upload: UploadInfo, limits: Limits) -> None:
        self.upload = upload
        self.position = upload.offset
        self.started_at = upload.offset
        self._ctx = ctx
        self._limits = limits
        self._fence = upload.epoch + 1
        self._data: Data | None = None
        self._committed_at = ctx.clock.monotonic()

    async def write(self, buffers: Sequence[bytes], digest: Digest | None = None) -> None:
        """Store buffers behind each other. After `InsufficientStorage` the part that fitted counts as written."""
        data = await self._open()
        try:
            await data.write(self.position, buffers, digest)
        except InsufficientStorage as error:
            self.position += error.written
            raise
        self.position += sum(map(len, buffers))

    async def copy(self, source_id: str, length: int) -> None:
        """Store the first `length` bytes of a finished upload next. Raises `DataLost`, `InsufficientStorage`."""
        data = await self._open()
        await data.copy(self.position, source_id, length)
        self.position += length

    def is_due(self) -> bool:
        """Whether enough bytes or seconds have passed since the last commit for a checkpoint."""
        policy = self._ctx.policy
        uncommitted = self.position - self.upload.offset
        return uncommitted >= policy.checkpoint_bytes or (
            uncommitted > 0 and self._ctx.clock.monotonic() - self._committed_at >= policy.checkpoint_interval
        )

    async def commit(self, length: int | None, *, finish: bool = False) -> UploadInfo:
        """Make everything written so far count, and finish the upload if asked to.

        `length` is the declared total from now on. Returns the upload as committed. At level `patch` everything
        it returns survives a power cut; at `finish` a finished upload does.

        Raises:
            StaleWriter: somebody else changed the upload; nothing was changed by us.
            InsufficientStorage: the commit did not fit; nothing was changed.
            DataLost: the data is shorter than what was written; nothing was changed.
        """
        upload = self.upload
        if not finish and self.position == upload.offset and length == upload.length:
            return upload
        durability = self._ctx.policy.durability
        durable = durability.syncs_finish if finish else durability.syncs_progress
        await self._settle(durable=durable, finish=finish)
        progress = self._progress(length, durable=durable, finish=finish)
        if finish:
            finished = replace(upload, state=UploadState.FINISHED, **_changes(progress))
            await self._ctx.info.finish(progress, durable=durable, jobs=self._ctx.jobs_for(finished))
            self.upload = finished
            self._ctx.finished(finished)
        else:
            await self._ctx.info.advance(progress, durable=durable)
            self.upload = replace(upload, **_changes(progress))
        self._committed_at = self._ctx.clock.monotonic()
        return self.upload

    async def _settle(self, *, durable: bool, finish: bool) -> None:
        try:
            if finish:
                await (await self._open()).seal(self.position, durable=durable)
            elif durable and self._data is not None:
                await self._data.sync()
        except BaseException:
            # The kernel may call the lost pages clean and let the next sync succeed: nothing written since the
            # last commit may ever be acknowledged without being written again (reliability: I9).
            self.position = self.upload.offset
            raise

    async def discard(self) -> None:
        """Forget what was written since the last commit and give its space back."""
        if self._data is not None:
            self.position = self.upload.offset
            await self._data.truncate(self.position)

    async def close(self) -> None:
        """Give the data handle back. Commits nothing."""
        if self._data is not None:
            await self._data.close()

    async def _open(self) -> Data:
        if self._data is None:
            self._data = await self._ctx.data.write_to(self.upload.id, holds=self.upload.offset)
        return self._data

    def _progress(self, length: int | None, *, durable: bool, finish: bool) -> Progress:
        upload, now = self.upload, self._ctx.clock.now()
        expires_at = upload.expires_at
        if finish and upload.kind is not UploadKind.PARTIAL:
            expires_at = None
        elif self.position > upload.offset and self._limits.expire_after is not None:
            expires_at = now + self._limits.expire_after
        return Progress(
            upload_id=upload.id,
            fence=self._fence,
            expected=upload.offset,
            offset=self.position,
            synced_offset=self.position if durable else upload.synced_offset,
            length=self.position if finish else length,
            expires_at=expires_at,
            finished_at=now if finish else None,
        )


def _changes(progress: Progress) -> dict[str, object]:
    return {
        "offset": progress.offset,
        "synced_offset": progress.synced_offset,
        "length": progress.length,
        "epoch": progress.fence,
        "expires_at": progress.expires_at,
        "finished_at": progress.finished_at,
    }
