"""Pure decisions: what an upload, an intent and the limits allow. The engine asks under the lock.

The order of the checks is part of the protocol: the first one that fails answers (protocol.md 1.2).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tusd_py.errors import (
    IdempotencyKeyReused,
    InsufficientStorage,
    InvalidConcat,
    InvalidUploadLength,
    MaxSizeExceeded,
    MismatchedOffset,
    ModifyFinal,
    RejectedBefore,
    TooManyUploads,
    TusError,
    UploadExpired,
    UploadFinishing,
    UploadNotFinished,
    UploadNotFound,
    UploadSizeExceeded,
)
from tusd_py.models.limits import EXTENSIONS, Limits, Usage
from tusd_py.models.upload import UploadInfo, UploadKind, UploadState
from tusd_py.protocol.creation_key import digest_of
from tusd_py.protocol.headers import MAX_INTEGER
from tusd_py.protocol.intents import Append, Completion, Create


class AppendPlan(msgspec.Struct, frozen=True):
    """What one append may do to its upload."""

    length: int | None
    """Declared total once this append counts; None = still deferred."""
    cap: int | None
    """Most bytes that the body may bring; None = unlimited."""
    overflow: type[TusError]
    """What to raise when it brings more."""


def enabled_extensions(limits: Limits) -> tuple[str, ...]:
    """Return the extensions that are really on, in the order of `EXTENSIONS`."""
    off = set()
    # CORE-OPT-07: "if the Server does not offer the Creation extension, it MUST NOT offer the Creation With
    # Upload extension either."
    if "creation" not in limits.extensions:
        off.add("creation-with-upload")
    # EXP-10: without a period nothing expires.
    if limits.expire_after is None:
        off.add("expiration")
    return tuple(name for name in EXTENSIONS if name in limits.extensions and name not in off)


def check_visible(upload: UploadInfo | None, now: float) -> UploadInfo:
    """Return the upload if clients can use it at `now` (seconds since the Unix epoch).

    Raises:
        UploadNotFound: there is none, it is on its way out, or it is a final upload still being assembled.
        UploadExpired: its time ran out.
        RejectedBefore: a hook refused it.
    """
    upload = check_known(upload, now)
    if upload.state is UploadState.REJECTED:
        raise RejectedBefore(upload.rejection)
    return upload


def check_settled(upload: UploadInfo) -> UploadInfo:
    """Return the upload unless a hook still has to agree to its end. Raises `UploadFinishing`.

    "Every byte is here" would be taken for success, and "nothing to send" is not true either: wait and ask again.
    """
    if upload.state is UploadState.FINISHING:
        raise UploadFinishing(upload=upload)
    return upload


def check_known(upload: UploadInfo | None, now: float) -> UploadInfo:
    """Return the upload if it is there at all. Raises `UploadNotFound`, `UploadExpired` as `check_visible`."""
    if upload is None or upload.state in (UploadState.DELETING, UploadState.ASSEMBLING):
        raise UploadNotFound
    if is_gone(upload, now):
        raise UploadExpired
    return upload


def is_gone(upload: UploadInfo, now: float) -> bool:
    """Whether the time of an upload ran out at `now` (seconds since the Unix epoch): it may be removed."""
    # EXP-06: finished ones never do. EXP-09: a partial one does: it is a piece of an unfinished file.
    keeps = upload.is_finished and upload.kind is not UploadKind.PARTIAL
    return not keeps and upload.is_expired(now)


def check_create(intent: Create, limits: Limits) -> None:
    """Check the sizes that a creation announces.

    Raises:
        MaxSizeExceeded: the upload is, or would become, larger than the server allows.
        UploadSizeExceeded: the body is larger than the upload it starts (CWU-04).
    """
    ceiling = _ceiling(limits)
    announced = intent.body_length or 0
    # "If the length of the upload exceeds the maximum [...] the Server MUST respond with the 413 Request
    # Entity Too Large status."
    if intent.length is not None and intent.length > ceiling:
        raise MaxSizeExceeded
    if intent.length is not None and announced > intent.length:
        raise UploadSizeExceeded
    if announced > ceiling:
        raise MaxSizeExceeded


def check_same_creation(upload: UploadInfo, intent: Create) -> None:
    """Check that a creation asks for what the earlier one with its key asked for. Raises `IdempotencyKeyReused`."""
    # Not by what is known of the upload: hooks change its metadata, and a deferred length is declared later.
    if upload.creation_digest != digest_of(intent):
        raise IdempotencyKeyReused


def has_usage_limits(limits: Limits) -> bool:
    """Whether the usage has to be looked at before it grows."""
    return limits.max_open_uploads is not None or limits.max_open_size is not None


def check_usage(usage: Usage, limits: Limits, *, uploads: int, announced: int) -> None:
    """Check that there is room for so many more unfinished uploads and announced bytes.

    Raises:
        TooManyUploads: there would be more uploads than the server takes.
        InsufficientStorage: together they would announce more than the server promises.
    """
    if limits.max_open_uploads is not None and usage.uploads + uploads > limits.max_open_uploads:
        raise TooManyUploads
    if limits.max_open_size is not None and usage.announced + announced > limits.max_open_size:
        raise InsufficientStorage("The unfinished uploads on this server announced all the space there is")


def check_parts(intent: Create, parts: Sequence[UploadInfo | None], limits: Limits, now: float) -> int:
    """Return the length in bytes of a final upload.

    `parts` are the uploads that `intent.parts` names, in the same order; None where there is no such upload.

    Raises:
        UploadNotFound: a part is unknown or terminated (CAT-09).
        UploadExpired: a part has expired.
        InvalidConcat: a part is not a partial upload (CAT-10), or there is not one for every name.
        UploadFinishing: a hook has not agreed to the end of a part yet.
        UploadNotFinished: a part lacks bytes or its length is deferred (CAT-08).
        MaxSizeExceeded: together they are larger than the server allows (CAT-13).
    """
    if len(parts) != len(intent.parts):
        raise InvalidConcat
    total = 0
    for candidate in parts:
        part = check_visible(candidate, now)
        if part.kind is not UploadKind.PARTIAL:
            raise InvalidConcat("Only partial uploads can be concatenated")
        if not check_settled(part).is_finished:
            raise UploadNotFinished
        total += part.offset
    # "The length of the final upload MUST be the sum of the length of all partial uploads."
    if total > _ceiling(limits):
        raise MaxSizeExceeded
    return total


def plan_append(upload: UploadInfo, intent: Append, limits: Limits) -> AppendPlan:
    """Return what an append may do to a visible upload, as it stands under the lock.

    Raises:
        UploadFinishing: it has all its bytes, and a hook has to agree to its end.
        ModifyFinal: the upload is a final one; this wins over a wrong offset (CORE-PATCH-11).
        MismatchedOffset: the append does not start at the current offset.
        InvalidUploadLength: it declares a length that contradicts what is known.
        MaxSizeExceeded: it declares or announces more than the server allows.
        UploadSizeExceeded: it announces more than is missing.

    Every error carries the upload.
    """
    # "The Server MUST respond with the 403 Forbidden status to PATCH requests against a final upload URL and
    # MUST NOT modify the final or its partial uploads."
    if upload.kind is UploadKind.FINAL:
        raise ModifyFinal(upload=upload)
    check_settled(upload)
    # "If the offsets do not match, the Server MUST respond with the 409 Conflict status without modifying the
    # upload."
    if intent.offset != upload.offset:
        raise MismatchedOffset(upload=upload)
    length = _declared_length(upload, intent, limits)
    plan = _plan(upload, length, limits)
    # CORE-PATCH-10, DEF-08, DEF-11: refused before a byte is read. A chunked body meets the cap later.
    room = MAX_INTEGER - upload.offset if plan.cap is None else plan.cap
    if intent.body_length is not None and intent.body_length > room:
        raise plan.overflow(upload=upload)
    return plan


def is_complete(completion: Completion, offset: int, length: int | None) -> bool:
    """Whether an upload is complete once the body of a request ended at `offset`."""
    if completion is Completion.WHEN_FULL:
        return offset == length
    return completion is Completion.NOW


def _declared_length(upload: UploadInfo, intent: Append, limits: Limits) -> int | None:
    """Return the total that is known after this append: "Once set it MUST NOT be changed" (Creation)."""
    if intent.length is None:
        return upload.length
    if upload.length is not None:
        # DEF-05: the same length again is not a change; tuspy repeats it after a lost response.
        if intent.length != upload.length:
            raise InvalidUploadLength("Upload-Length is not the length declared before", upload=upload)
        return upload.length
    if intent.length < upload.offset:
        raise InvalidUploadLength("Upload-Length is smaller than the offset", upload=upload)
    if intent.length > _ceiling(limits):
        raise MaxSizeExceeded(upload=upload)
    return intent.length


def _plan(upload: UploadInfo, length: int | None, limits: Limits) -> AppendPlan:
    # CORE-PATCH-12 and -13: nothing may follow the last byte, but an append of nothing succeeds.
    if upload.is_finished:
        return AppendPlan(length, 0, UploadSizeExceeded)
    if length is not None:
        return AppendPlan(length, length - upload.offset, UploadSizeExceeded)
    if limits.max_size is None:
        return AppendPlan(None, None, MaxSizeExceeded)
    return AppendPlan(None, max(0, limits.max_size - upload.offset), MaxSizeExceeded)


def _ceiling(limits: Limits) -> int:
    """Return the largest total in bytes that any upload may have."""
    return MAX_INTEGER if limits.max_size is None else min(limits.max_size, MAX_INTEGER)
