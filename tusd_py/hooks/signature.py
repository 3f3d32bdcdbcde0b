"""Proof that a hook request comes from this server, for receivers in Python: `verify_signature`.

The header `X-Tus-Signature: t=<seconds>,v1=<hex>` holds when it was made, in seconds since the Unix epoch, and the
HMAC-SHA256 with the shared secret of that number in decimal, a dot, and the body.
"""

from __future__ import annotations

import hashlib
import hmac
import re

HEADER = "X-Tus-Signature"
WINDOW = 300.0
"""Seconds that the clocks of sender and receiver may differ, with the time on the way. Nobody can replay after it."""

_HEADER = re.compile(r"t=([0-9]{1,15}),v1=([0-9a-f]{64})", re.ASCII)


def sign(secret: str | bytes, body: bytes, *, now: float) -> str:
    """Return the header for a body sent at `now` (seconds since the Unix epoch)."""
    return f"t={int(now)},v1={_digest(secret, str(int(now)), body)}"


def verify_signature(
    secret: str | bytes, header: str | None, body: bytes, *, now: float, window: float = WINDOW
) -> bool:
    """Whether a body was signed with the secret, at most `window` seconds before or after `now`.

    Takes the same time wherever a wrong signature differs. A body that was seen within the window may be a replay:
    compare the `Idempotency-Key`, which the payload does not have, only to do work once, never to trust it.

    Args:
        secret: the shared one.
        header: the value of `X-Tus-Signature`; None when the request has none.
        body: the bytes as received, before they are parsed.
        now: seconds since the Unix epoch, as `time.time()` says.
        window: seconds.
    """
    match = _HEADER.fullmatch(header or "")
    if match is None or abs(now - int(match[1])) > window:
        return False
    return hmac.compare_digest(_digest(secret, match[1], body), match[2])


def _digest(secret: str | bytes, seconds: str, body: bytes) -> str:
    key = secret.encode() if isinstance(secret, str) else secret
    return hmac.new(key, seconds.encode() + b"." + body, hashlib.sha256).hexdigest()
