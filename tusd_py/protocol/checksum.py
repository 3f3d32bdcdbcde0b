"""The `Upload-Checksum` header and the digests it can announce (tus 1.0.0, Checksum)."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from tusd_py.errors import InvalidChecksum, UnsupportedChecksumAlgorithm
from tusd_py.protocol.headers import decode_base64
from tusd_py.protocol.intents import Checksum

if TYPE_CHECKING:
    from hashlib import _Hash

ALGORITHMS: tuple[str, ...] = ("sha1", "sha256", "sha512", "md5")
"""Digests offered, in the order of `Tus-Checksum-Algorithm`; `sha1` is mandatory."""

# "The Upload-Checksum request header contains information about the checksum of the current body payload. The
# header MUST consist of the name of the used checksum algorithm and the Base64 encoded checksum separated by
# a space."
_CHECKSUM = re.compile(r"([a-z0-9-]+) ([A-Za-z0-9+/]+={0,2})")


def parse_checksum(value: str) -> Checksum:
    """Return the announced digest. Its size is not checked: a digest of another size never matches (CSUM-06).

    Raises:
        InvalidChecksum: it is not an algorithm and canonical base64, separated by one space.
        UnsupportedChecksumAlgorithm: the algorithm is not one of `ALGORITHMS`.
    """
    parts = _CHECKSUM.fullmatch(value)
    if parts is None:
        raise InvalidChecksum
    algorithm, encoded = parts.groups()
    # "the Server MAY respond with [...] 400 Bad Request if the checksum algorithm is not supported".
    if algorithm not in ALGORITHMS:
        raise UnsupportedChecksumAlgorithm
    digest = decode_base64(encoded)
    if digest is None:
        raise InvalidChecksum
    return Checksum(algorithm, digest)


def new_digest(algorithm: str) -> _Hash:
    """Return a running hash for one of `ALGORITHMS`. It finds damage, it does not prove authorship."""
    return hashlib.new(algorithm, usedforsecurity=False)


def matches(checksum: Checksum, digest: bytes) -> bool:
    """Whether a computed digest is the announced one."""
    # CSUM-18: tusc.sh and tus-php send base64 of the hexadecimal digest.
    return checksum.digest in (digest, digest.hex().encode("ascii"))
