"""What is known of an upload, except its bytes."""

from __future__ import annotations

from enum import StrEnum

import msgspec


def short(upload_id: str) -> str:
    """Return what a log may say of an id: enough to find the upload, not enough to use it (reliability 5.2, row 21)."""
    return upload_id[:8]


class UploadKind(StrEnum):
    """The part an upload plays in concatenation (tus 1.0.0, Concatenation)."""

    SINGLE = "single"
    PARTIAL = "partial"
    FINAL = "final"


class UploadState(StrEnum):
    """Where an upload stands in its life.

    `open` takes bytes; `assembling` is a final upload whose parts are being copied; `finishing` has every byte and
    waits for a hook to agree; `finished` is immutable; `rejected` is one that a hook refused; `deleting` is on its
    way out: its data is being removed, and it is unknown to clients.
    """

    OPEN = "open"
    ASSEMBLING = "assembling"
    FINISHING = "finishing"
    FINISHED = "finished"
    REJECTED = "rejected"
    DELETING = "deleting"


class UploadInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Everything known of an upload except its bytes. Changed by copy (`msgspec.structs.replace`)."""

    id: str
    """Unguessable name, the last segment of the upload URL."""
    kind: UploadKind = UploadKind.SINGLE
    state: UploadState = UploadState.OPEN
    offset: int = 0
    """Bytes acknowledged. The only truth: never derived from the size of the data file.

    Goes back only where the disk may have lost bytes that were not synced: at the weaker levels of durability, after
    the operating system was started anew or a sync failed. Then it is `synced_offset`.
    """
    synced_offset: int = 0
    """Bytes known to survive a power cut. At the level `patch` the same as `offset`."""
    length: int | None = None
    """Declared total in bytes; None while deferred."""
    metadata: str = ""
    """The `Upload-Metadata` header, verbatim. Empty when the client sent none."""
    concat: str | None = None
    """The `Upload-Concat` header, verbatim."""
    parts: tuple[str, ...] = ()
    """Ids of the partial uploads of a final one, in order."""
    path: str | None = None
    """Where the data is kept below the directory of named data, when a hook chose; None = it follows from the id."""
    epoch: int = 0
    """Fence: raised by every writer; a writer with an older number can change nothing."""
    created_at: float = 0.0
    """Seconds since the Unix epoch."""
    expires_at: float | None = None
    """Seconds since the Unix epoch; None = never."""
    finished_at: float | None = None
    """Seconds since the Unix epoch; None = not finished. Stored, not derived from offset == length."""
    rejection: str | None = None
    """Why a hook refused it, for the client; only of a rejected one."""
    creation_key: str | None = None
    """By which its client finds it again when the answer to the creation was lost; a secret like the id."""
    creation_digest: str | None = None
    """What the creation with that key asked for: another one cannot have the same key."""

    @property
    def key(self) -> str:
        """Where a data store keeps it: under its id, or under a path of its own, which begins with a slash."""
        return self.id if self.path is None else f"/{self.path}"

    @property
    def is_finished(self) -> bool:
        """Whether every byte arrived and the upload is immutable."""
        return self.state is UploadState.FINISHED

    @property
    def is_open(self) -> bool:
        """Whether it takes bytes."""
        return self.state is UploadState.OPEN

    def is_expired(self, now: float) -> bool:
        """Whether its time ran out at `now` (seconds since the Unix epoch)."""
        return self.expires_at is not None and self.expires_at <= now


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One step forward of one upload, as an info store commits it: a compare-and-set with a fence."""

    upload_id: str
    fence: int
    """The writer's number: the epoch it read under the lock, plus one."""
    expected: int
    """The offset that must be stored for the step to be taken."""
    offset: int
    """The offset afterwards; smaller than `expected` only after a failed sync: then it is `synced_offset` (I9)."""
    synced_offset: int
    """How many of these bytes are known to survive a power cut."""
    length: int | None
    """Declared total afterwards; an upload whose length is known never becomes deferred again."""
    expires_at: float | None
    state: UploadState = UploadState.OPEN
    """Afterwards: `finishing` when every byte is there and a hook has to agree, `finished` or `rejected` at the end."""
    finished_at: float | None = None
    """Set only by the step that finishes the upload."""
    rejection: str | None = None
    """Set only by the step that rejects it."""

    def applied_to(self, upload: UploadInfo) -> UploadInfo:
        """Return an upload as it is after this step."""
        return msgspec.structs.replace(
            upload,
            state=self.state,
            offset=self.offset,
            synced_offset=self.synced_offset,
            length=self.length,
            epoch=self.fence,
            expires_at=self.expires_at,
            finished_at=self.finished_at,
            rejection=self.rejection,
        )
