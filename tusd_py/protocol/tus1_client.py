"""tus 1.0.0 as its clients speak it: heads of requests out, what answers mean in.

Every head is a new dictionary, which the caller may add to. Every reader takes an answer that came, returns what it
says, and raises the `Verdict` that it is when it is no success.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias
from urllib.parse import urljoin, urlsplit

import msgspec

from tusd_py.errors import InvalidRequest
from tusd_py.protocol.headers import encode_base64, list_members, parse_integer, single_value, uri_value
from tusd_py.protocol.intents import Checksum
from tusd_py.protocol.messages import HeaderMap
from tusd_py.protocol.metadata import format_metadata
from tusd_py.protocol.tus1_requests import MEDIA_TYPE, VERSION
from tusd_py.protocol.tus1_verdicts import (
    Answer,
    Denied,
    Gone,
    Mismatch,
    NotTus,
    TryAgain,
    Unauthorized,
    Verdict,
    WrongOffset,
    one_line,
    verdict_on,
)

__all__ = [
    "NOTHING_KNOWN",
    "Answer",
    "Checksum",
    "Created",
    "Denied",
    "Gone",
    "Mismatch",
    "NotTus",
    "Offer",
    "Standing",
    "TryAgain",
    "Unauthorized",
    "Verdict",
    "WrongOffset",
    "append_head",
    "concat_head",
    "create_head",
    "discover_head",
    "inspect_head",
    "read_appended",
    "read_created",
    "read_offer",
    "read_standing",
    "read_terminated",
    "terminate_head",
]

Head: TypeAlias = dict[str, str]

_PREFERRED = ("sha256", "sha1")


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says that it can do."""

    extensions: frozenset[str] = frozenset()
    """In lower case."""
    max_size: int | None = None
    """Most bytes of one upload; None = it does not say."""
    algorithms: tuple[str, ...] = ()
    """Of checksums, in lower case, in the order of the server."""

    def offers(self, extension: str) -> bool:
        """Whether an extension of tus is offered."""
        return extension in self.extensions

    @property
    def algorithm(self) -> str | None:
        """The checksum to send: sha256, else sha1; None = the server cannot check either."""
        if not self.offers("checksum"):
            return None
        return next((algorithm for algorithm in _PREFERRED if algorithm in self.algorithms), None)


NOTHING_KNOWN = Offer()
"""Of a server, or a proxy before it, that does not answer the question. It may be able to do everything."""


class Created(msgspec.Struct, frozen=True):
    """A new upload."""

    url: str
    """Absolute."""
    offset: int | None
    """How many bytes it has: of those that came with the creation, or since an earlier one with the same key.

    None = the answer does not say.
    """


class Standing(msgspec.Struct, frozen=True):
    """How far an upload is."""

    offset: int
    length: int | None
    """None = not declared yet."""


def discover_head() -> Head:
    """Return the head of an OPTIONS."""
    # "Tus-Resumable [...] MUST be included in every request and response except for OPTIONS requests."
    return {}


def inspect_head() -> Head:
    """Return the head of a HEAD."""
    return {"Tus-Resumable": VERSION}


def terminate_head() -> Head:
    """Return the head of a DELETE."""
    return {"Tus-Resumable": VERSION}


def create_head(
    *,
    length: int | None,
    metadata: Mapping[str, str],
    partial: bool = False,
    with_data: bool = False,
    checksum: Checksum | None = None,
    key: str | None = None,
) -> Head:
    """Return the head of a POST that makes an upload.

    Args:
        length: bytes; None = declared later.
        metadata: what of it is not Unicode, as in a file name that is not, is sent as question marks.
        partial: whether it will be a part of another one.
        with_data: whether the body has the first bytes.
        checksum: of this body.
        key: 16 to 128 letters, digits, `-` and `_`, which nobody can guess; the same again for the same creation. A
            server that knows it answers with the upload that it made the first time.

    Raises:
        InvalidMetadata: a key that is empty, not printable ASCII, or has a space or comma in it.
    """
    head = {"Tus-Resumable": VERSION}
    if length is None:
        head["Upload-Defer-Length"] = "1"
    else:
        head["Upload-Length"] = str(length)
    if partial:
        head["Upload-Concat"] = "partial"
    if with_data:
        head["Content-Type"] = MEDIA_TYPE
    if checksum is not None:
        head["Upload-Checksum"] = _checksum_value(checksum)
    return head | _naming(metadata, key)


def concat_head(parts: Sequence[str], metadata: Mapping[str, str], key: str | None = None) -> Head:
    """Return the head of a POST that makes one upload of finished parts, given by their URLs in order.

    `metadata`, `key` and `InvalidMetadata` are as of `create_head`.
    """
    # "The Client MUST NOT include the Upload-Length header in the final upload creation."
    head = {"Tus-Resumable": VERSION, "Upload-Concat": f"final;{' '.join(map(uri_value, parts))}"}
    return head | _naming(metadata, key)


def append_head(offset: int, *, length: int | None = None, checksum: Checksum | None = None) -> Head:
    """Return the head of a PATCH with bytes from `offset` on.

    `length` declares the total of an upload that was created without one, `checksum` is that of this body.
    """
    head = {"Tus-Resumable": VERSION, "Content-Type": MEDIA_TYPE, "Upload-Offset": str(offset)}
    if length is not None:
        head["Upload-Length"] = str(length)
    if checksum is not None:
        head["Upload-Checksum"] = _checksum_value(checksum)
    return head


def read_offer(answer: Answer) -> Offer:
    """Return what the answer to an OPTIONS offers: `NOTHING_KNOWN` where nobody is used to the question.

    Raises:
        TryAgain, Unauthorized: as everywhere.
        NotTus: another version, or a redirection.
    """
    versions = list_members(answer.headers.getall("Tus-Version", ()))
    if versions and VERSION not in versions:
        raise NotTus(f"the server speaks tus {one_line(', '.join(versions))}, not {VERSION}", status=answer.status)
    if not _succeeded(answer):
        verdict = verdict_on(answer)
        if isinstance(verdict, TryAgain | Unauthorized | NotTus):
            raise verdict
        return NOTHING_KNOWN
    return Offer(
        extensions=_names(answer.headers, "Tus-Extension"),
        max_size=_number(answer.headers, "Tus-Max-Size"),
        algorithms=tuple(map(str.lower, list_members(answer.headers.getall("Tus-Checksum-Algorithm", ())))),
    )


def read_created(answer: Answer, endpoint: str) -> Created:
    """Return the upload that the answer to a POST to `endpoint` tells of.

    Raises:
        Verdict: but never `WrongOffset`.
    """
    # A hook of the server may have chosen another status of success than 201.
    if not _succeeded(answer):
        raise verdict_on(answer)
    location = answer.headers.get("Location")
    if not location:
        raise NotTus("the server made an upload without saying where (no Location)", status=answer.status)
    return Created(_resolved(location, endpoint, answer.status), _number(answer.headers, "Upload-Offset"))


def read_standing(answer: Answer) -> Standing:
    """Return where the upload stands of which the answer to a HEAD tells.

    Raises:
        Verdict: but never `WrongOffset`.
    """
    if not _succeeded(answer):
        raise verdict_on(answer)
    offset = _number(answer.headers, "Upload-Offset")
    if offset is None:
        # "The response to a HEAD request for a final upload SHOULD NOT contain the Upload-Offset header unless the
        # concatenation has been successfully finished."
        if (answer.headers.get("Upload-Concat") or "").startswith("final"):
            raise TryAgain("the server is still putting the parts together", status=answer.status)
        raise NotTus("the server does not say how far the upload is (no Upload-Offset)", status=answer.status)
    return Standing(offset, _number(answer.headers, "Upload-Length"))


def read_appended(answer: Answer) -> int | None:
    """Return the offset after a PATCH; None = the bytes were taken, but the answer does not say how many.

    Raises:
        Verdict: any.
    """
    if _succeeded(answer):
        return _number(answer.headers, "Upload-Offset")
    verdict = verdict_on(answer)
    if answer.status == 409 and verdict.error in (None, "ERR_MISMATCHED_OFFSET"):
        offset = _number(answer.headers, "Upload-Offset")
        raise WrongOffset(verdict.reason, status=answer.status, error=verdict.error, offset=offset)
    raise verdict


def read_terminated(answer: Answer) -> None:
    """Return when there is no such upload after a DELETE, whoever removed it.

    Raises:
        Verdict: but never `Gone` or `WrongOffset`.
    """
    if not _succeeded(answer) and answer.status not in (404, 410):
        raise verdict_on(answer)


def _succeeded(answer: Answer) -> bool:
    return 200 <= answer.status < 300


def _names(headers: HeaderMap, field: str) -> frozenset[str]:
    return frozenset(map(str.lower, list_members(headers.getall(field, ()))))


def _number(headers: HeaderMap, field: str) -> int | None:
    """Return the number in a field; None = there is none, or nothing that could be one."""
    try:
        value = single_value(headers, field, InvalidRequest)
        return None if value is None else parse_integer(value.strip(" \t"), InvalidRequest)
    except InvalidRequest:
        return None


def _checksum_value(checksum: Checksum) -> str:
    return f"{checksum.algorithm} {encode_base64(checksum.digest)}"


def _naming(metadata: Mapping[str, str], key: str | None) -> Head:
    head = {}
    if metadata:
        # Python reads a file name that is not UTF-8 with surrogates in it, which cannot be sent.
        readable = {name: value.encode(errors="replace").decode() for name, value in metadata.items()}
        head["Upload-Metadata"] = format_metadata(readable)
    if key is not None:
        head["Idempotency-Key"] = f'"{key}"'
    return head


def _resolved(location: str, endpoint: str, status: int) -> str:
    """Return the absolute URL of a `Location`. Raises `NotTus` when it is none of HTTP."""
    try:
        base, found = urlsplit(endpoint), urlsplit(urljoin(endpoint, uri_value(location)))
        usable = found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
        # RFC 3986 3.2 has no backslash there; some take it for a slash, and would ask another host.
        usable = usable and "\\" not in found.netloc
    except ValueError:
        usable = False
    if not usable:
        raise NotTus(f"the server names {one_line(location)} as the URL of the upload", status=status)
    # A server behind a proxy often does not know that its clients come by https, nor by which port.
    if (base.scheme, found.scheme) == ("https", "http") and base.hostname == found.hostname:
        found = found._replace(scheme=base.scheme, netloc=base.netloc)
    return found.geturl()
