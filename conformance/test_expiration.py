"""Expiration."""

from __future__ import annotations

import re
import time
from email.utils import mktime_tz, parsedate_tz

import pytest

from conformance.rows import DECISION, MUST, expect, row
from conformance.target import OCTETS, Server
from conformance.wire import Answer

SECTION = "expiration"
SPEC = "Expiration, Upload-Expires"
NEEDS = "creation expiration"
DAYS, MONTHS = "Mon|Tue|Wed|Thu|Fri|Sat|Sun", "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
DATE = re.compile(rf"({DAYS}), \d\d ({MONTHS}) \d{{4}} \d\d:\d\d:\d\d GMT")


def expires(answer: Answer) -> float:
    """Return when an upload expires; an answer that does not say so in the right form lets the row fail."""
    value = answer.get("Upload-Expires")
    expect(value is not None, f"{answer.asked} answered {answer.status} without Upload-Expires")
    expect(DATE.fullmatch(value or ""), f"{answer.asked} answered Upload-Expires: {value}")
    parsed = parsedate_tz(value or "")
    assert parsed is not None
    return mktime_tz(parsed)


@row("EXP-01", MUST, "Upload-Expires of a creation, where there is one, is an HTTP date", spec=SPEC, needs=NEEDS)
def test_format(tus: Server) -> None:
    upload = tus.create(10)
    if upload.answer.get("Upload-Expires") is None:
        pytest.skip("the creation does not say when the upload expires")
    when = expires(upload.answer)
    now = parsedate_tz(upload.answer.get("Date") or "")
    expect(when > (mktime_tz(now) if now else time.time()) - 5, "Upload-Expires is in the past")


@row("EXP-02", MUST, "PATCH of an upload that is going to expire has Upload-Expires", spec=SPEC, needs=NEEDS)
def test_patch(tus: Server) -> None:
    upload = tus.create(10)
    if all(each.get("Upload-Expires") is None for each in (upload.answer, tus.head(upload))):
        pytest.skip("nothing says that uploads expire")
    expires(tus.patch(upload, 0, b"hello"))


@row("EXP-01", DECISION, "The creation has Upload-Expires", spec=SPEC, needs=NEEDS)
def test_creation(tus: Server) -> None:
    expires(tus.create(10).answer)


@row("CORE-HEAD-09", DECISION, "HEAD of an unfinished upload has Upload-Expires", spec=SPEC, needs=NEEDS)
def test_head(tus: Server) -> None:
    expires(tus.head(tus.create(10)))


@row("EXP-02", DECISION, "A PATCH that is refused with 409 has Upload-Expires", spec=SPEC, needs=NEEDS)
def test_refused(tus: Server) -> None:
    expires(tus.patch(tus.create(10), 5, b"hello"))


@row("EXP-03", DECISION, "A complete upload has no Upload-Expires", spec=SPEC, needs=NEEDS)
def test_complete(tus: Server) -> None:
    upload = tus.create(5)
    tus.patch(upload, 0, b"hello").is_("Upload-Expires", None)
    tus.head(upload).is_("Upload-Expires", None)


@row(
    "EXP-03",
    DECISION,
    "A creation that completes the upload has no Upload-Expires",
    spec=SPEC,
    needs=f"{NEEDS} creation-with-upload",
)
def test_complete_creation(tus: Server) -> None:
    tus.post({"Upload-Length": "5", **OCTETS}, b"hello").is_("Upload-Expires", None)


@row("EXP-07", DECISION, "Bytes never bring the expiry nearer", spec=SPEC, needs=NEEDS)
def test_sliding(tus: Server) -> None:
    upload = tus.create(10)
    expect(expires(tus.patch(upload, 0, b"hello")) >= expires(upload.answer), "PATCH brought the expiry nearer")
