"""Requests of tus 1.0.0: from a head to an intent. The first failing check answers (protocol.md 1.2)."""

from __future__ import annotations

from collections.abc import Collection

from tusd_py.errors import (
    AmbiguousUploadLength,
    ChecksumTrailerUnsupported,
    ConcatenationUnsupported,
    ExpectationFailed,
    InvalidChecksum,
    InvalidConcat,
    InvalidContentType,
    InvalidOffset,
    InvalidRequest,
    InvalidUploadLength,
    InvalidUploadLengthDefer,
    MaxSizeExceeded,
    MethodNotAllowed,
    MissingVersion,
    ModifyFinal,
    NotImplementedExtension,
    UnsupportedContentEncoding,
    UnsupportedVersion,
    UploadNotFound,
)
from tusd_py.models.limits import Limits
from tusd_py.models.upload import UploadKind
from tusd_py.protocol.checksum import parse_checksum
from tusd_py.protocol.concat import Concat, parse_concat
from tusd_py.protocol.creation_key import read_key
from tusd_py.protocol.headers import (
    is_beyond_integer,
    is_media_type,
    is_plain_id,
    joined_value,
    list_members,
    parse_integer,
    single_value,
)
from tusd_py.protocol.intents import (
    Append,
    Checksum,
    Create,
    Describe,
    Discover,
    Download,
    Inspect,
    Intent,
    Terminate,
)
from tusd_py.protocol.messages import HeaderMap, RequestHead
from tusd_py.protocol.metadata import check_metadata

VERSION = "1.0.0"
"""The one version spoken."""
RESULT = "/result"
"""Behind the URL of an upload: what became of it."""
MEDIA_TYPE = "application/offset+octet-stream"
"""The type of every body with bytes of an upload."""

_METHODS = {name.lower(): name for name in ("OPTIONS", "POST", "HEAD", "PATCH", "DELETE", "GET", "PUT")}
_WITHOUT_BODY: dict[str, type[Inspect | Terminate | Download]] = {
    "HEAD": Inspect,
    "DELETE": Terminate,
    "GET": Download,
}
_SINGLE = Concat(UploadKind.SINGLE)


class RequestReader:
    """Reads the requests of one mount. Keeps no state between them."""

    def __init__(self, limits: Limits, extensions: Collection[str]) -> None:
        """`extensions` are those that are really on (`rules.enabled_extensions`)."""
        self._limits = limits
        self._with_upload = "creation-with-upload" in extensions
        self._defer_length = "creation-defer-length" in extensions
        self._concatenation = "concatenation" in extensions
        self._checksum = "checksum" in extensions
        self._base_methods = ("OPTIONS", "POST") if "creation" in extensions else ("OPTIONS",)
        enabled = {"DELETE": "termination" in extensions, "GET": limits.download}
        self._upload_methods = tuple(
            method for method in ("OPTIONS", "HEAD", "PATCH", "DELETE", "GET") if enabled.get(method, True)
        )

    def read(self, head: RequestHead) -> Intent:
        """Parse a request.

        Raises:
            TusError: of the first check that fails. `MissingVersion` is only raised where the URL and the
            method are right, so that the caller can answer 404 for an unknown upload instead (CORE-VER-04).
        """
        method = self.effective_method(head)
        # "The Tus-Resumable header MUST be included in every request [...] except for OPTIONS requests."
        if method == "OPTIONS":
            return Discover()
        has_version = _check_version(head.headers)
        if head.upload_id is not None and head.upload_id.endswith(RESULT):
            return _describe(method, head.upload_id.removesuffix(RESULT))
        self._check_route(method, head.upload_id)
        # CORE-VER-05: GET is not part of the protocol, browsers send it.
        if not has_version and method != "GET":
            raise MissingVersion
        if head.upload_id is None:
            return self._create(head)
        if method == "PATCH":
            return self._append(head, head.upload_id)
        _check_expectation(head.headers)
        return _WITHOUT_BODY[method](upload_id=head.upload_id)

    def effective_method(self, head: RequestHead) -> str:
        """Return the method that counts, an override considered.

        Raises:
            InvalidRequest: overrides that contradict each other.
        """
        # "The X-HTTP-Method-Override request header MUST be a string which MUST be interpreted as the
        # request's method by the Server, if the header is presented. The actual method of the request MUST be
        # ignored." Except for OPTIONS: a browser's preflight has no business with it.
        if not self._limits.method_override or head.method == "OPTIONS":
            return head.method
        values = head.headers.getall("X-HTTP-Method-Override", ())
        if not values:
            return head.method
        # CORE-OVR-05: lower case is fine, empty is absent; an unknown one finds no route.
        overrides = {_METHODS.get(value.lower(), value) for value in values if value}
        if len(overrides) > 1:
            raise InvalidRequest("X-HTTP-Method-Override is given twice with different values")
        return overrides.pop() if overrides else head.method

    def _check_route(self, method: str, upload_id: str | None) -> None:
        allow = self._base_methods if upload_id is None else self._upload_methods
        if method not in allow:
            raise MethodNotAllowed(allow=allow)
        # Reliability 5.2 row 16, GET-15: what cannot be an id is answered like an unknown one.
        if upload_id is not None and not is_plain_id(upload_id):
            raise UploadNotFound

    def _append(self, head: RequestHead, upload_id: str) -> Append:
        headers = head.headers
        # "All PATCH requests MUST use Content-Type: application/offset+octet-stream, otherwise the server
        # SHOULD return a 415 Unsupported Media Type status."
        if not _has_upload_type(headers):
            raise InvalidContentType
        _check_content_encoding(headers)
        _check_expectation(headers)
        offset = single_value(headers, "Upload-Offset", InvalidOffset)
        if offset is None:
            raise InvalidOffset
        return Append(
            upload_id=upload_id,
            offset=parse_integer(offset, InvalidOffset),
            checksum=self._announced_checksum(headers),
            length=None if _has_draft_length(headers) else self._declared_length(headers),
            has_body=head.has_body,
            body_length=head.body_length,
        )

    def _create(self, head: RequestHead) -> Create:
        headers = head.headers
        if head.has_body:
            self._check_first_bytes(headers)
        _check_expectation(headers)
        # CSUM-13: tusc.sh and tus-php send the checksum of the whole file here, on an empty body.
        checksum = self._announced_checksum(headers) if head.has_body else None
        value, concat = self._concat(head)
        length = self._total(headers, concat.kind)
        metadata = joined_value(headers, "Upload-Metadata")
        check_metadata(metadata, strict=self._limits.strict_metadata, max_size=self._limits.max_metadata_size)
        return Create(
            kind=concat.kind,
            length=length,
            metadata=metadata,
            concat=value,
            parts=concat.parts,
            checksum=checksum,
            has_body=head.has_body,
            with_upload=self._with_upload and concat.kind is not UploadKind.FINAL and _has_upload_type(headers),
            body_length=head.body_length,
            key=read_key(headers),
        )

    def _check_first_bytes(self, headers: HeaderMap) -> None:
        """Check a creation's body. What comes with an empty one is ignored (CRE-POST-17)."""
        if not self._with_upload:
            raise NotImplementedExtension("Sending data with a POST needs creation-with-upload, which is not enabled")
        # CWU-05: dropping the body silently, as tusd does, would lose data.
        if not _has_upload_type(headers):
            raise InvalidContentType
        _check_content_encoding(headers)

    def _announced_checksum(self, headers: HeaderMap) -> Checksum | None:
        # CSUM-17: as without the extension, so without a trailer of it.
        if not self._checksum:
            return None
        # CSUM-15: aiohttp drops trailers silently; taking the body unverified would be worse.
        if any(name.lower() == "upload-checksum" for name in list_members(headers.getall("Trailer", ()))):
            raise ChecksumTrailerUnsupported
        value = single_value(headers, "Upload-Checksum", InvalidChecksum)
        return None if value is None else parse_checksum(value)

    def _concat(self, head: RequestHead) -> tuple[str | None, Concat]:
        """Return `Upload-Concat` verbatim and parsed. An empty one is absent (CAT-11)."""
        value = single_value(head.headers, "Upload-Concat", InvalidConcat)
        if not value:
            return None, _SINGLE
        # CAT-21.
        if not self._concatenation:
            raise ConcatenationUnsupported
        concat = parse_concat(value, base_paths=head.base_paths, max_parts=self._limits.max_parts)
        # CWU-07: as for a PATCH, "The Server MUST respond with the 403 Forbidden status".
        if concat.kind is UploadKind.FINAL and head.has_body:
            raise ModifyFinal
        return value, concat

    def _total(self, headers: HeaderMap, kind: UploadKind) -> int | None:
        """Return the declared total of a new upload; None = deferred, or a final upload."""
        defer = single_value(headers, "Upload-Defer-Length", InvalidUploadLengthDefer)
        has_length = headers.get("Upload-Length") is not None
        if kind is UploadKind.FINAL:
            # CAT-12: "The Client MUST NOT include the Upload-Length header in the final upload creation."
            if has_length or defer is not None:
                raise InvalidConcat("A final upload must not have Upload-Length or Upload-Defer-Length")
            return None
        if defer is None:
            # CRE-POST-13: "The request MUST include one of the following headers: a) Upload-Length [...] b)
            # Upload-Defer-Length: 1".
            if not has_length:
                raise InvalidUploadLength("Send either Upload-Length or Upload-Defer-Length: 1")
            return self._declared_length(headers)
        # CRE-POST-12.
        if has_length:
            raise AmbiguousUploadLength
        # "If the Upload-Defer-Length header contains any other value than 1 the server should return a 400
        # Bad Request".
        if defer != "1":
            raise InvalidUploadLengthDefer
        if not self._defer_length:
            raise NotImplementedExtension("Upload-Defer-Length needs creation-defer-length, which is not enabled")
        return None

    def _declared_length(self, headers: HeaderMap) -> int | None:
        value = single_value(headers, "Upload-Length", InvalidUploadLength)
        if value is None:
            return None
        # CRE-POST-09: larger than any number is also larger than a limit.
        if self._limits.max_size is not None and is_beyond_integer(value):
            raise MaxSizeExceeded
        return parse_integer(value, InvalidUploadLength)


def _describe(method: str, upload_id: str) -> Describe:
    if method != "GET":
        raise MethodNotAllowed(allow=("OPTIONS", "GET"))
    if not is_plain_id(upload_id):
        raise UploadNotFound
    return Describe(upload_id=upload_id)


def _check_version(headers: HeaderMap) -> bool:
    """Return whether a version is named, and check that it is ours."""
    versions = headers.getall("Tus-Resumable", ())
    if len(versions) == 1 and versions[0] == VERSION:
        return True
    # CORE-VER-07: clients that add the header twice send `1.0.0, 1.0.0` or two lines.
    named = list_members(versions)
    # "If the version specified by the Client is not supported by the Server, it MUST respond with the 412
    # Precondition Failed status [...]. In addition, the Server MUST NOT process the request."
    if any(version != VERSION for version in named):
        raise UnsupportedVersion
    return bool(named)


def _has_draft_length(headers: HeaderMap) -> bool:
    # SEL-01: beside Tus-Resumable everything of the IETF draft is ignored. URLSession adds its headers to a tus
    # PATCH by itself; its Upload-Length would be the length of the request, not of the upload.
    return headers.get("Upload-Draft-Interop-Version") is not None


def _has_upload_type(headers: HeaderMap) -> bool:
    values = headers.getall("Content-Type", ())
    return bool(values) and all(is_media_type(value, MEDIA_TYPE) for value in values)


def _check_content_encoding(headers: HeaderMap) -> None:
    # CORE-BODY-14, reliability 5.2 row 12: an offset counts the bytes of the file, as they are.
    values = headers.getall("Content-Encoding", ())
    if values and any(coding.lower() != "identity" for coding in list_members(values)):
        raise UnsupportedContentEncoding


def _check_expectation(headers: HeaderMap) -> None:
    # RFC 9110 10.1.1: "A server that receives an Expect field value containing a member other than
    # 100-continue MAY respond with a 417 (Expectation Failed) status code".
    values = headers.getall("Expect", ())
    if values and any(member.lower() != "100-continue" for member in list_members(values)):
        raise ExpectationFailed
