"""tus 1.0.0 on the wire: the dialect that the engine is seen through."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from tusd_py.errors import (
    ChecksumMismatch,
    HookRefusal,
    InvalidRequest,
    MaxSizeExceeded,
    MethodNotAllowed,
    MismatchedOffset,
    TusError,
    UnsupportedVersion,
    UploadStopped,
)
from tusd_py.models.job import Job
from tusd_py.models.limits import Limits
from tusd_py.models.upload import UploadInfo, UploadKind
from tusd_py.protocol.checksum import ALGORITHMS
from tusd_py.protocol.headers import imf_fixdate, is_field_value, uri_value
from tusd_py.protocol.intents import Create, Intent
from tusd_py.protocol.messages import Reply, RequestHead
from tusd_py.protocol.result import describe
from tusd_py.protocol.rules import enabled_extensions
from tusd_py.protocol.shaping import shaped
from tusd_py.protocol.tus1_requests import RESULT, VERSION, RequestReader

Headers: TypeAlias = list[tuple[str, str]]

# "The Tus-Resumable header MUST be included in every request and response."
_COMMON: Headers = [("Tus-Resumable", VERSION), ("X-Content-Type-Options", "nosniff")]
_NO_STORE = ("Cache-Control", "no-store")
_TEXT = ("Content-Type", "text/plain; charset=utf-8")


class Tus1:
    """The tus 1.0.0 dialect of one mount. Pure: the same input always has the same output."""

    def __init__(self, limits: Limits) -> None:
        """Work out once what `limits` make of the protocol."""
        extensions = enabled_extensions(limits)
        self._requests = RequestReader(limits, extensions)
        self._expires = "expiration" in extensions
        # "The Tus-Max-Size response header MUST be a non-negative integer indicating the maximum allowed size
        # of an entire upload in bytes."
        self._max_size: Headers = [] if limits.max_size is None else [("Tus-Max-Size", str(limits.max_size))]
        self._discovered: Headers = [*_COMMON, ("Tus-Version", VERSION)]
        # CORE-OPT-03: without spaces, TUSKit does not trim; absent when there is none.
        if extensions:
            self._discovered.append(("Tus-Extension", ",".join(extensions)))
        self._discovered += self._max_size
        if "checksum" in extensions:
            self._discovered.append(("Tus-Checksum-Algorithm", ",".join(ALGORITHMS)))

    def read(self, head: RequestHead) -> Intent:
        """Parse a request.

        Raises:
            TusError: of the first check that fails. `MissingVersion` is only raised where the URL and the
            method are right, so that the caller can answer 404 for an unknown upload instead (CORE-VER-04).
        """
        return self._requests.read(head)

    def effective_method(self, head: RequestHead) -> str:
        """Return the method that counts: the override, or the actual one where there is not exactly one."""
        try:
            return self._requests.effective_method(head)
        except InvalidRequest:
            return head.method

    def discovered(self) -> Reply:
        """Answer a `Discover`."""
        # CORE-OPT-01: "A successful response indicated by the 204 No Content or 200 OK status MUST contain
        # the Tus-Version header."
        return Reply(status=200, headers=self._discovered.copy())

    def created(self, intent: Create, upload: UploadInfo, location: str) -> Reply:
        """Answer a `Create`; `location` is the URL of the upload as the client shall see it."""
        headers = _COMMON.copy()
        # "The Server MUST set the Location header to the URL of the created resource."
        headers.append(("Location", uri_value(location)))
        # Creation With Upload: "MUST include the Upload-Offset header" (not in others: CRE-POST-01). An upload that an
        # earlier request with the same key has made may have bytes, too.
        has_bytes = upload.offset > 0 and upload.kind is not UploadKind.FINAL
        if intent.with_upload or intent.has_body or has_bytes:
            headers.append(("Upload-Offset", str(upload.offset)))
        self._add_expiry(headers, upload)
        _add_result(headers, upload, location)
        return Reply(status=201, headers=headers)

    def inspected(self, upload: UploadInfo, location: str) -> Reply:
        """Answer an `Inspect`."""
        headers = _COMMON.copy()
        # "The Server MUST prevent the client and/or proxies from caching the response".
        headers.append(_NO_STORE)
        headers.append(("Upload-Offset", str(upload.offset)))
        # "As long as the length of the upload is not known, the Server MUST set Upload-Defer-Length: 1".
        if upload.length is None:
            headers.append(("Upload-Defer-Length", "1"))
        else:
            headers.append(("Upload-Length", str(upload.length)))
        # CORE-HEAD-04 and -06: verbatim. A hook or a damaged store must not split a header.
        if upload.metadata and is_field_value(upload.metadata):
            headers.append(("Upload-Metadata", upload.metadata))
        if upload.concat and is_field_value(upload.concat):
            headers.append(("Upload-Concat", upload.concat))
        self._add_expiry(headers, upload)
        _add_result(headers, upload, location)
        # 200, not 204: tusgo takes nothing else (CORE-HEAD-01).
        return Reply(status=200, headers=headers)

    def appended(self, upload: UploadInfo, location: str) -> Reply:
        """Answer an `Append`; `upload` is as it stands after the append."""
        headers = _COMMON.copy()
        # "The Server MUST acknowledge successful PATCH requests with the 204 No Content status. It MUST
        # include the Upload-Offset header containing the new offset."
        headers.append(("Upload-Offset", str(upload.offset)))
        self._add_expiry(headers, upload)
        _add_result(headers, upload, location)
        return Reply(status=204, headers=headers)

    def terminated(self) -> Reply:
        """Answer a `Terminate`."""
        # "the Server [...] MUST respond with the 204 No Content status confirming that the upload was
        # terminated."
        return Reply(status=204, headers=_COMMON.copy())

    def described(self, upload: UploadInfo, jobs: Iterable[Job]) -> Reply:
        """Answer a `Describe`."""
        headers = [*_COMMON, _NO_STORE, ("Content-Type", "application/json")]
        return Reply(status=200, headers=headers, body=describe(upload, jobs))

    def refused(self, error: TusError, head: RequestHead) -> Reply:
        """Answer a request that failed. No body where the (effective) method is HEAD."""
        method = self.effective_method(head)
        headers = _COMMON.copy()
        self._add_facts(headers, error)
        # EXP-02: "This header MUST be included in every PATCH response if the upload is going to expire."
        if method == "PATCH" and error.upload is not None and not isinstance(error, UploadStopped):
            self._add_expiry(headers, error.upload)
        if method == "HEAD":
            headers.append(_NO_STORE)
            body = b""
        else:
            headers.append(_TEXT)
            body = f"{error.code}: {error.message}\n".encode(errors="replace")
        reply = Reply(
            status=error.status,
            headers=headers,
            body=body,
            reason="Checksum Mismatch" if isinstance(error, ChecksumMismatch) else None,
            closes=error.closes,
        )
        return shaped(reply, error.reply) if isinstance(error, HookRefusal) else reply

    def _add_facts(self, headers: Headers, error: TusError) -> None:
        """Add what a client needs to know to do better next time."""
        # "the Server [...] MUST respond with the 412 Precondition Failed status and MUST include the
        # Tus-Version header into the response."
        if isinstance(error, UnsupportedVersion):
            headers.append(("Tus-Version", VERSION))
        elif isinstance(error, MethodNotAllowed):
            headers.append(("Allow", ", ".join(error.allow)))
        # CORE-PATCH-06: only here; elsewhere an error with an offset would look like a success to tuspy.
        elif isinstance(error, MismatchedOffset) and error.upload is not None:
            headers.append(("Upload-Offset", str(error.upload.offset)))
        # Reliability 5.2 row 3.
        elif isinstance(error, MaxSizeExceeded):
            headers += self._max_size
        if error.retry_after is not None:
            headers.append(("Retry-After", str(error.retry_after)))

    def _add_expiry(self, headers: Headers, upload: UploadInfo) -> None:
        # EXP-03, EXP-09: "the time after which the unfinished upload expires", so never for a finished one.
        if self._expires and upload.expires_at is not None and not upload.is_finished:
            headers.append(("Upload-Expires", imf_fixdate(upload.expires_at)))


def _add_result(headers: Headers, upload: UploadInfo, location: str) -> None:
    # RFC 8288: where the client learns what becomes of an upload that is finished. Nothing does of a part.
    if upload.is_finished and upload.kind is not UploadKind.PARTIAL:
        headers.append(("Link", f'<{uri_value(location)}{RESULT}>; rel="describedby"'))
