"""The `Upload-Metadata` header: opaque to the server, readable for applications.

tus 1.0.0, Upload-Metadata: "one or more comma-separated key-value pairs. The key and value MUST be separated
by a space. The key MUST NOT contain spaces and commas and MUST NOT be empty. The key SHOULD be ASCII encoded
and the value MUST be Base64 encoded. All keys MUST be unique. The value MAY be empty."

What is stored and echoed is the header as it came; the pairs are only for applications. An empty key cannot
be written: whitespace before a pair belongs to the comma.
"""

from __future__ import annotations

from collections.abc import Mapping

from tusd_py.errors import InvalidMetadata
from tusd_py.protocol.headers import decode_base64, encode_base64, is_field_value, list_members

MAX_PAIRS = 64
"""Most pairs in one header (reliability 5.2 row 24)."""
MAX_KEY_SIZE = 1024
"""Longest key in characters (reliability 5.2 row 24)."""


def parse_metadata(header: str) -> dict[str, bytes]:
    """Return the pairs that can be read. Malformed ones are left out, and the last of equal keys wins."""
    # CRE-META-05 and -06: tusd does the same; strictness is the business of `check_metadata`.
    pairs = {}
    for member in list_members((header,)):
        key, value = _parse_pair(member)
        if value is not None:
            pairs[key] = value
    return pairs


def decode_text(metadata: Mapping[str, bytes]) -> dict[str, str]:
    """Return the values as text; bytes that are not UTF-8 become U+FFFD."""
    return {key: value.decode("utf-8", "replace") for key, value in metadata.items()}


def read_metadata(header: str) -> dict[str, str]:
    """Return the readable pairs of an `Upload-Metadata` header as text. Not trustworthy: a client wrote it."""
    return decode_text(parse_metadata(header))


def format_metadata(values: Mapping[str, str]) -> str:
    """Return the header of some pairs. Raises `InvalidMetadata` for a key that cannot be written."""
    for key in values:
        if not key or not key.isascii() or not key.isprintable() or " " in key or "," in key:
            raise InvalidMetadata("Upload-Metadata has a key that is empty or has a space or comma in it")
    return ",".join(f"{key} {encode_base64(value.encode())}".rstrip() for key, value in values.items())


def check_metadata(header: str, *, strict: bool, max_size: int) -> None:
    """Check that a header can be stored and echoed; with `strict` also that applications can read every pair.

    Args:
        header: all header lines, joined with commas. Empty is legal (CRE-META-02).
        strict: refuse malformed pairs and equal keys, too.
        max_size: longest header in characters.

    Raises:
        InvalidMetadata: it cannot.
    """
    if len(header) > max_size:
        raise InvalidMetadata(f"Upload-Metadata is longer than {max_size} characters")
    # CRE-META-07: aiohttp decodes with surrogateescape; what is echoed later must be what came.
    if not is_field_value(header):
        raise InvalidMetadata("Upload-Metadata has characters that are not printable ASCII")
    members = list_members((header,))
    if len(members) > MAX_PAIRS:
        raise InvalidMetadata(f"Upload-Metadata has more than {MAX_PAIRS} pairs")
    pairs = [_parse_pair(member) for member in members]
    for key, _ in pairs:
        _check_key(key)
    if strict:
        _check_strictly(pairs)


def _parse_pair(member: str) -> tuple[str, bytes | None]:
    """Return key and value; the value is None when it is malformed."""
    key, *values = member.split(" ")
    if not values:
        # CRE-META-01 and -04: `key` and `key ` both have an empty value.
        return key, b""
    return key, decode_base64(values[0]) if len(values) == 1 else None


def _check_key(key: str) -> None:
    if len(key) > MAX_KEY_SIZE:
        raise InvalidMetadata(f"Upload-Metadata has a key longer than {MAX_KEY_SIZE} characters")
    # The only control character left by then is a tab, which is whitespace around a pair, not in a key.
    if "\t" in key:
        raise InvalidMetadata("Upload-Metadata has a key with control characters")


def _check_strictly(pairs: list[tuple[str, bytes | None]]) -> None:
    if any(value is None for _, value in pairs):
        raise InvalidMetadata
    # "All keys MUST be unique."
    if len({key for key, _ in pairs}) < len(pairs):
        raise InvalidMetadata("Upload-Metadata has the same key twice")
