"""Reads a request as strictly as the standards are written, and says why a server must not have accepted it.

Shares nothing with the server: what both accept, they accept for the same reasons.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from urllib.parse import unquote

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_LINE = re.compile(rb"([A-Z]+(?:-[A-Z]+)*) +([\x21-\x7e\x80-\xff]+) +HTTP/(1\.[01])")
_FIELD = re.compile(rb"(" + TOKEN + rb"):[\t ]*([\t\x20-\x7e\x80-\xff]*?)[\t ]*")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[\t ]*;[^\r\n]*)?\r\n")
_TARGET = re.compile(r"(?:[A-Za-z]+://[^/]*)?(?:/users/[^/]+)?/files(?:/([^/]*)/?)?")
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_COUNT = re.compile(r"[0-9]{1,19}")
_CHECKSUM = re.compile(r"(sha1|sha256|sha512|md5) ([A-Za-z0-9+/]+={0,2})")
_VISIBLE = re.compile(r"[\t\x20-\x7e]*")
_MOST = 2**63 - 1
MEDIA_TYPE = "application/offset+octet-stream"


@dataclass(frozen=True)
class Request:
    """A head, and the body if all of it is there."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None = b""

    def all_of(self, name: str) -> list[str]:
        """Return every value of a field."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def members(self, name: str) -> list[str]:
        """Return the members of a list field, in lower case."""
        parts = ",".join(self.all_of(name)).split(",")
        return [part.strip(" \t").lower() for part in parts if part.strip(" \t")]

    @property
    def effective(self) -> str:
        """The method that counts."""
        overrides = {value.upper() for value in self.all_of("X-HTTP-Method-Override") if value}
        return overrides.pop() if len(overrides) == 1 and self.method != "OPTIONS" else self.method

    @property
    def offset(self) -> int:
        """`Upload-Offset` of a request that `breaches` nothing."""
        return int(self.all_of("Upload-Offset")[0])


def parse(raw: bytes) -> Request | None:
    """Return the first request of some bytes, or None when its head is not one by RFC 9112."""
    # RFC 9112 2.2 and 3: empty lines in front and more than one space are let through.
    head, end, rest = raw.lstrip(b"\r\n").partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    line = _LINE.fullmatch(first)
    fields = [_FIELD.fullmatch(each) for each in lines]
    if not end or line is None or None in fields:
        return None
    pairs = tuple((_text(field[1]), _text(field[2])) for field in fields if field is not None)
    request = Request(_text(line[1]), _text(line[2]), pairs)
    lengths, codings = request.all_of("Content-Length"), request.members("Transfer-Encoding")
    if len(request.all_of("Host")) > 1 or (line[3] == b"1.1" and not request.all_of("Host")):
        return None
    if codings:
        known = codings == ["chunked"] and not lengths and line[3] == b"1.1"
        return Request(request.method, request.target, pairs, _unchunked(rest)) if known else None
    if len(lengths) > 1 or any(not re.fullmatch("[0-9]+", length) for length in lengths):
        return None
    size = int(lengths[0][-19:]) if lengths else 0
    return Request(request.method, request.target, pairs, rest[:size] if len(rest) >= size else None)


def _unchunked(rest: bytes) -> bytes | None:
    body = b""
    while chunk := _CHUNK.match(rest):
        size, rest = int(chunk[1], 16), rest[chunk.end() :]
        if not size:
            return body if b"\r\n\r\n" in b"\r\n" + rest else None
        body += rest[:size]
        if rest[size : size + 2] != b"\r\n":
            return None
        rest = rest[size + 2 :]
    return None


def breaches(request: Request, method: str) -> list[str]:
    """Return why a request must not be accepted as this method. Empty = it may be."""
    rules = {"PATCH": _of_patch, "POST": _of_post, "HEAD": _of_one, "DELETE": _of_one, "GET": _of_one}
    if method == "OPTIONS":
        return [] if request.effective == "OPTIONS" else ["method"]
    found = [] if request.effective == method else ["method"]
    versions = request.members("Tus-Resumable")
    if any(version != "1.0.0" for version in versions) or (not versions and method != "GET"):
        found.append("Tus-Resumable")
    if any(member != "100-continue" for member in request.members("Expect")) and method != "GET":
        found.append("Expect")
    return found + rules[method](request)


def _of_one(request: Request) -> list[str]:
    target = _TARGET.fullmatch(_path(request.target))
    return [] if target and _ID.fullmatch(target[1] or "") else ["target"]


def _of_patch(request: Request) -> list[str]:
    found = _of_one(request) + _of_body(request)
    if not _is_count(request.all_of("Upload-Offset")):
        found.append("Upload-Offset")
    lengths = request.all_of("Upload-Length")
    if lengths and not request.all_of("Upload-Draft-Interop-Version") and not _is_count(lengths):
        found.append("Upload-Length")
    return found


def _of_post(request: Request) -> list[str]:
    target = _TARGET.fullmatch(_path(request.target))
    found = [] if target and not target[1] else ["target"]
    if request.body is None or request.body:
        found += _of_body(request)
    concat, length = set(request.all_of("Upload-Concat")), request.all_of("Upload-Length")
    defer = set(request.all_of("Upload-Defer-Length"))
    if len(concat) > 1 or any(each not in ("", "partial") and not each.startswith("final;") for each in concat):
        found.append("Upload-Concat")
    if any(each.startswith("final;") for each in concat):
        if length or defer or request.body:
            found.append("length of a final upload")
    elif not (_is_count(length) and not defer) and not (defer == {"1"} and not length):
        found.append("length")
    metadata = ",".join(value for value in request.all_of("Upload-Metadata") if value)
    if len(metadata) > 65536 or not _VISIBLE.fullmatch(metadata):
        found.append("Upload-Metadata")
    return found


def _of_body(request: Request) -> list[str]:
    types = request.all_of("Content-Type")
    found = [] if types and all(_is_upload_type(each) for each in types) else ["Content-Type"]
    if any(member != "identity" for member in request.members("Content-Encoding")):
        found.append("Content-Encoding")
    sums = set(request.all_of("Upload-Checksum"))
    if len(sums) > 1 or any(not _is_checksum(each) for each in sums):
        found.append("Upload-Checksum")
    if "upload-checksum" in request.members("Trailer"):
        found.append("Trailer")
    return found


def _path(target: str) -> str:
    return unquote(re.split("[?#]", target)[0])


def _is_upload_type(value: str) -> bool:
    return value.partition(";")[0].strip(" \t").lower() == MEDIA_TYPE


def _is_checksum(value: str) -> bool:
    match = _CHECKSUM.fullmatch(value)
    try:
        return match is not None and base64.b64encode(binascii.a2b_base64(match[2])).decode() == match[2]
    except ValueError:
        return False


def _is_count(values: list[str]) -> bool:
    return len(set(values)) == 1 and _COUNT.fullmatch(values[0]) is not None and int(values[0]) <= _MOST


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
