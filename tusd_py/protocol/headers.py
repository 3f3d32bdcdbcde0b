"""Header values, strictly: what a number, a date, a list, a media type and base64 look like on the wire.

Python's own parsers are too kind for this: `int` takes '+1', '1_000' and '٣', `$` matches before a newline,
and `b64decode` skips what it does not know. Everything here is a full match of an ASCII grammar.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import quote

from tusd_py.errors import TusError
from tusd_py.protocol.messages import HeaderMap

MAX_INTEGER = 2**63 - 1
"""Largest number of bytes that a header can name, and an offset that SQLite and `pwrite` can hold."""

_LAST_SECOND = 253402300799
"""9999-12-31 23:59:59: IMF-fixdate has four digits for the year."""

_INTEGER = re.compile(r"[0-9]{1,19}")
_DIGITS = re.compile(r"[0-9]+")
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
# RFC 9110 5.5: field-content is VCHAR, SP and HTAB; obs-text (above 0x7f) is never produced or accepted here.
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e]*")
_URI = re.compile(r"[\x21-\x7e]+")
# RFC 3986: reserved characters and "%" keep their meaning, everything else outside of unreserved is encoded.
_URI_SAFE = "%:/?#[]@!$&'()*+,;=~"


def single_value(headers: HeaderMap, name: str, error: type[TusError]) -> str | None:
    """Return the only value of a field, or None when it is absent.

    Raises:
        TusError: of the class `error`, when the field is given several times with different values.
    """
    values = headers.getall(name, ())
    if not values:
        return None
    first = values[0]
    # reliability 5.2 row 7: repeated by a middlebox is fine, contradicting itself is not.
    if len(values) > 1 and any(value != first for value in values):
        raise error
    return first


def joined_value(headers: HeaderMap, name: str) -> str:
    """Return the lines of a list field that are not empty, joined with commas (RFC 9110 5.3)."""
    return ",".join(value for value in headers.getall(name, ()) if value)


def list_members(values: Sequence[str]) -> list[str]:
    """Return the members of a list field (RFC 9110 5.6.1) without whitespace around and empty elements."""
    return [member for value in values for part in value.split(",") if (member := part.strip(" \t"))]


def parse_integer(value: str, error: type[TusError]) -> int:
    """Return an integer from 0 to 2**63 - 1, at most 19 digits. Leading zeros are fine (CORE-PATCH-09).

    Raises:
        TusError: of the class `error`, when it is anything else.
    """
    if not _INTEGER.fullmatch(value):
        raise error
    number = int(value)
    if number > MAX_INTEGER:
        raise error
    return number


def is_beyond_integer(value: str) -> bool:
    """Whether this is a well-formed number that is just too large for `parse_integer`."""
    if not _DIGITS.fullmatch(value):
        return False
    # `int` raises on more than 4300 digits, so the count comes first.
    significant = value.lstrip("0")
    return len(significant) > len(str(MAX_INTEGER)) or int(significant or "0") > MAX_INTEGER


def is_plain_id(value: str) -> bool:
    """Whether this can be the id of an upload: never a path, never a file name with a suffix."""
    return _PLAIN_ID.fullmatch(value) is not None


def is_field_value(value: str) -> bool:
    """Whether this can stand in a header field as it is: printable ASCII, spaces and tabs."""
    return _FIELD_VALUE.fullmatch(value) is not None


def is_media_type(value: str, expected: str) -> bool:
    """Whether a `Content-Type` names a lower-case type; case and parameters do not count (CORE-PATCH-04)."""
    return value == expected or value.partition(";")[0].strip(" \t").lower() == expected


def imf_fixdate(seconds: float) -> str:
    """Return seconds since the Unix epoch as IMF-fixdate (RFC 9110 5.6.7), in English in every locale."""
    return _fixdate(int(min(max(seconds, 0.0), _LAST_SECOND)))


@lru_cache(maxsize=64)
def _fixdate(second: int) -> str:
    """Return it for a whole second: many answers have the same."""
    return formatdate(second, usegmt=True)


def uri_value(uri: str) -> str:
    """Return a URI reference fit for a header field: what may not stand in a URI is percent-encoded."""
    return uri if _URI.fullmatch(uri) else quote(uri, safe=_URI_SAFE, errors="replace")


def decode_base64(value: str) -> bytes | None:
    """Return the bytes of canonical, padded base64 (RFC 4648 section 4), or None when it is anything else."""
    try:
        decoded = base64.b64decode(value, validate=True)
    except ValueError:
        return None
    # Even with validate=True, b64decode takes 'YR==', whose unused bits are not zero (RFC 4648 3.5).
    return decoded if base64.b64encode(decoded).decode("ascii") == value else None


def encode_base64(data: bytes) -> str:
    """Return canonical, padded base64 (RFC 4648 section 4)."""
    return base64.b64encode(data).decode("ascii")
