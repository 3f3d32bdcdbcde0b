"""Every way in which a request, a store or a start can fail.

The tree::

    TusError                     a request cannot be served; carries an ERR_* code and a status *hint*
    ├── protocol refusals        the client asked for something impossible (4xx)
    ├── body endings             the body stopped before its end (interrupted, timed out, reset, shutdown)
    └── StoreError               a store could not do its work
    StartupError                 the server refuses to start; one line for a person

Errors are raised near the fact and caught at a door. The dialect alone turns one into a status and a body.
"""

from __future__ import annotations

from typing import ClassVar

from tusd_py.models.hook import HookReply
from tusd_py.models.upload import UploadInfo


class TusError(Exception):
    """A request cannot be served. The class docstring is the sentence a client reads."""

    code: ClassVar[str] = "ERR_INTERNAL_SERVER_ERROR"
    status: ClassVar[int] = 500
    retry_after: ClassVar[int | None] = None
    """Seconds after which trying again makes sense; None = the answer will be the same."""
    closes: ClassVar[bool] = False
    """Whether the connection cannot be used for another request."""

    def __init__(self, message: str | None = None, *, upload: UploadInfo | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").partition("\n")[0].rstrip(".")
        self.upload = upload
        """The upload as it stands now, when it is known: its offset and expiry go into the answer."""
        super().__init__(self.message)


class UnsupportedVersion(TusError):
    """This server speaks tus 1.0.0 only; send Tus-Resumable: 1.0.0."""

    code, status = "ERR_UNSUPPORTED_VERSION", 412


class MissingVersion(UnsupportedVersion):
    """The request has no Tus-Resumable header; send Tus-Resumable: 1.0.0."""


class InvalidRequest(TusError):
    """The request is not well formed."""

    code, status = "ERR_INVALID_REQUEST", 400


class InvalidFraming(InvalidRequest):
    """Where the body of this request ends cannot be told; the connection is closed."""

    closes = True


class MethodNotAllowed(TusError):
    """This method is not allowed here."""

    code, status = "ERR_METHOD_NOT_ALLOWED", 405

    def __init__(self, message: str | None = None, *, allow: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allow = allow


class ExpectationFailed(TusError):
    """The only expectation this server can meet is 100-continue."""

    code, status = "ERR_EXPECTATION_FAILED", 417


class OriginNotAllowed(TusError):
    """Requests from this origin are not allowed."""

    code, status = "ERR_ORIGIN_NOT_ALLOWED", 403


class NotImplementedExtension(TusError):
    """The request needs a tus extension that is not enabled."""

    code, status = "ERR_NOT_IMPLEMENTED", 501


class InvalidContentType(TusError):
    """The body must have Content-Type: application/offset+octet-stream."""

    code, status = "ERR_INVALID_CONTENT_TYPE", 415


class UnsupportedContentEncoding(TusError):
    """The body must not have a Content-Encoding; send the bytes as they are."""

    code, status = "ERR_UNSUPPORTED_CONTENT_ENCODING", 415


class InvalidOffset(TusError):
    """Upload-Offset must be a non-negative integer, given once."""

    code, status = "ERR_INVALID_OFFSET", 400


class InvalidUploadLength(TusError):
    """Upload-Length must be a non-negative integer, given once."""

    code, status = "ERR_INVALID_UPLOAD_LENGTH", 400


class InvalidUploadLengthDefer(TusError):
    """Upload-Defer-Length must be 1."""

    code, status = "ERR_INVALID_UPLOAD_LENGTH_DEFER", 400


class AmbiguousUploadLength(TusError):
    """Send either Upload-Length or Upload-Defer-Length, not both."""

    code, status = "ERR_AMBIGUOUS_UPLOAD_LENGTH", 400


class InvalidMetadata(TusError):
    """Upload-Metadata is not a list of keys with base64 values."""

    code, status = "ERR_INVALID_METADATA", 400


class InvalidConcat(TusError):
    """Upload-Concat must be 'partial' or 'final;' followed by URLs of finished partial uploads."""

    code, status = "ERR_INVALID_CONCAT", 400


class ConcatenationUnsupported(TusError):
    """Concatenation is not enabled on this server."""

    code, status = "ERR_CONCATENATION_UNSUPPORTED", 400


class UploadNotFinished(TusError):
    """One of the partial uploads is not finished."""

    code, status = "ERR_UPLOAD_NOT_FINISHED", 400


class IdempotencyKeyReused(TusError):
    """This Idempotency-Key belongs to another upload; use a new key for each upload."""

    code, status = "ERR_IDEMPOTENCY_KEY_REUSED", 422


class ModifyFinal(TusError):
    """A final upload cannot be changed."""

    code, status = "ERR_MODIFY_FINAL", 403


class InvalidChecksum(TusError):
    """Upload-Checksum must be an algorithm and a base64 digest, separated by one space."""

    code, status = "ERR_INVALID_CHECKSUM", 400


class UnsupportedChecksumAlgorithm(TusError):
    """This checksum algorithm is not supported; OPTIONS lists those that are."""

    code, status = "ERR_UNSUPPORTED_CHECKSUM_ALGORITHM", 400


class ChecksumTrailerUnsupported(TusError):
    """A checksum in a trailer is not supported; send Upload-Checksum as a header."""

    code, status = "ERR_CHECKSUM_TRAILER_UNSUPPORTED", 400


class ChecksumMismatch(TusError):
    """The body does not have the announced checksum; it was discarded."""

    code, status = "ERR_CHECKSUM_MISMATCH", 460


class TooManyUploads(TusError):
    """There are too many unfinished uploads on this server; finish or remove some, or try again later."""

    code, status, retry_after = "ERR_TOO_MANY_UPLOADS", 429, 60


class UploadNotFound(TusError):
    """There is no such upload."""

    code, status = "ERR_UPLOAD_NOT_FOUND", 404


class UploadExpired(TusError):
    """This upload has expired."""

    code, status = "ERR_UPLOAD_EXPIRED", 410


class UploadLocked(TusError):
    """This upload is being used by another request; try again."""

    code, status, retry_after = "ERR_UPLOAD_LOCKED", 423, 1


class UploadFinishing(UploadLocked):
    """Every byte of this upload is here, and the application is looking at it; ask again."""


class HookRefusal(TusError):
    """A hook said no."""

    def __init__(self, message: str | None = None, *, reply: HookReply | None = None) -> None:
        super().__init__(message)
        self.reply = reply or HookReply()
        """What the hook wants the client to be told: status, body and headers."""


class UploadRejected(HookRefusal):
    """The application refused this upload."""

    code, status = "ERR_UPLOAD_REJECTED", 400


class TerminationRejected(HookRefusal):
    """The application refused to have this upload removed."""

    code, status = "ERR_UPLOAD_TERMINATION_REJECTED", 400


class UploadStopped(HookRefusal):
    """The application stopped this upload; it was removed."""

    code, status, closes = "ERR_UPLOAD_STOPPED", 400, True


class RejectedBefore(TusError):
    """The application refused this upload when it was complete."""

    code, status = "ERR_UPLOAD_REJECTED", 410


class HookFailed(TusError):
    """The application could not be asked whether this is allowed; try again."""

    code, status, retry_after = "ERR_HOOK_FAILED", 500, 5


class MismatchedOffset(TusError):
    """Upload-Offset is not the current offset of the upload."""

    code, status = "ERR_MISMATCHED_OFFSET", 409


class MaxSizeExceeded(TusError):
    """The upload is larger than this server allows."""

    code, status = "ERR_MAX_SIZE_EXCEEDED", 413


class UploadSizeExceeded(TusError):
    """The body is larger than what is left of the upload."""

    code, status = "ERR_UPLOAD_SIZE_EXCEEDED", 413


class UploadInterrupted(TusError):
    """Another request took over this upload; the bytes received so far are kept."""

    code, status, closes = "ERR_UPLOAD_INTERRUPTED", 400, True


class ReadTimeout(TusError):
    """No byte arrived for too long; the bytes received so far are kept."""

    code, status, closes = "ERR_READ_TIMEOUT", 500, True


class ConnectionReset(TusError):
    """The connection was lost; the bytes received so far are kept."""

    code, status, closes = "ERR_CONNECTION_RESET", 500, True


class ServerShutdown(TusError):
    """The server is shutting down; the bytes received so far are kept."""

    code, status, closes, retry_after = "ERR_SERVER_SHUTDOWN", 503, True, 5


class InternalServerError(TusError):
    """Something went wrong in the server."""


class StoreError(TusError):
    """A store could not do its work."""


class InsufficientStorage(StoreError):
    """There is no space left on the server; the bytes stored so far are kept."""

    code, status, retry_after = "ERR_INSUFFICIENT_STORAGE", 507, 30

    def __init__(self, message: str | None = None, *, written: int = 0) -> None:
        super().__init__(message)
        self.written = written
        """Bytes of the failed write that did reach the store."""


class StaleWriter(StoreError):
    """The upload was changed by another writer; ask for its offset and try again."""

    code, status, retry_after = "ERR_UPLOAD_LOCKED", 423, 1


class StoreBusy(StoreError):
    """The server's disk does not answer; try again."""

    # Not 5xx: after that to a HEAD, some clients begin anew (protocol: section 14).
    code, status, retry_after = "ERR_UPLOAD_LOCKED", 423, 5


class UploadExists(StoreError):
    """An upload with this id exists already."""

    code, status = "ERR_UPLOAD_EXISTS", 409


class DataLost(StoreError):
    """The stored data is shorter than the offset; the upload is damaged and is not served."""

    code, status = "ERR_DATA_LOST", 500


class StartupError(Exception):
    """The server refuses to start; the message is one line that says why and what to do."""
