"""Keys by which a creation is found again whose answer was lost (IETF draft: the Idempotency-Key header field)."""

from __future__ import annotations

import hashlib
import re

import msgspec

from tusd_py.protocol.intents import Create
from tusd_py.protocol.messages import HeaderMap

# The draft has a structured string (RFC 8941, 3.3.3), in quotes; many send it bare.
_KEY = re.compile(r'[A-Za-z0-9_-]{16,128}|"[A-Za-z0-9_-]{16,128}"')


def read_key(headers: HeaderMap) -> str | None:
    """Return the key of a creation; None when there is none, or one that is not for us.

    Other software uses the header for purposes of its own, and what it sends must break nothing. A short key counts as
    little: it could be guessed, and would hand out somebody else's URL.
    """
    values = headers.getall("Idempotency-Key", ())
    if len(set(values)) != 1 or not _KEY.fullmatch(values[0]):
        return None
    return values[0].strip('"')


def digest_of(intent: Create) -> str:
    """Return a name for all that a creation asks for, its bytes aside: what must be the same where the key is."""
    asked = (intent.kind, intent.length, intent.metadata, intent.parts)
    return hashlib.sha256(msgspec.json.encode(asked)).hexdigest()
