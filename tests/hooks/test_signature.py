"""Proof that a request comes from this server (row 59)."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from tusd_py.hooks.signature import sign, verify_signature

BODY = b'{"Type":"post-finish"}'
NOW = 1_700_000_000.0
SIGNED = sign("secret", BODY, now=NOW)


def test_signature_is_the_documented_one() -> None:
    """HMAC-SHA256 of time, dot and body: a receiver in any language can compute it."""
    digest = hmac.new(b"secret", b"1700000000." + BODY, hashlib.sha256).hexdigest()
    assert f"t=1700000000,v1={digest}" == SIGNED


@pytest.mark.parametrize("now", [NOW, NOW - 300, NOW + 300])
def test_signature_holds_within_the_window(now: float) -> None:
    """Five minutes to both sides, for a text or bytes as the secret."""
    assert verify_signature("secret", SIGNED, BODY, now=now)
    assert verify_signature(b"secret", SIGNED, BODY, now=now)


@pytest.mark.parametrize("now", [NOW - 301, NOW + 301])
def test_signature_does_not_hold_for_ever(now: float) -> None:
    """What somebody kept cannot be sent again later."""
    assert not verify_signature("secret", SIGNED, BODY, now=now)
    assert verify_signature("secret", SIGNED, BODY, now=now, window=400)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "t=1700000000",
        SIGNED.upper(),
        SIGNED + "0",
        SIGNED[:-1],
        SIGNED.replace("t=17", "t=\u06617"),
        SIGNED.replace("t=1700000000", "t=1700000001"),
        SIGNED.replace("t=", "t=-"),
        f" {SIGNED}",
        f"{SIGNED}\n",
        "t=1700000000,v1=" + "é" * 64,
        "t=" + "9" * 5000 + ",v1=" + "0" * 64,
    ],
)
def test_any_other_header_is_wrong(header: str | None) -> None:
    """None, garbage and another time; nothing raises."""
    assert not verify_signature("secret", header, BODY, now=NOW)


def test_any_other_body_or_secret_is_wrong() -> None:
    """One bit is enough."""
    assert not verify_signature("secret", SIGNED, BODY + b" ", now=NOW)
    assert not verify_signature("Secret", SIGNED, BODY, now=NOW)
