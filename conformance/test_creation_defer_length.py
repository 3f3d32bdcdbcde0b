"""Creation: deferred length."""

from __future__ import annotations

import pytest

from conformance.rows import DECISION, MUST, expect, row
from conformance.target import Server

SECTION = "creation-defer-length"
SPEC = "Creation, POST"
HEADER = "Creation, Upload-Defer-Length"
NEEDS = "creation creation-defer-length"


@row("CORE-HEAD-03", MUST, "HEAD has Upload-Defer-Length: 1 as long as the length is not known", spec=SPEC, needs=NEEDS)
def test_head(tus: Server) -> None:
    tus.head(tus.create()).is_("Upload-Defer-Length", "1")


@row("CORE-HEAD-03", DECISION, "HEAD has no Upload-Length as long as the length is not known", spec=SPEC, needs=NEEDS)
def test_head_no_length(tus: Server) -> None:
    tus.head(tus.create()).is_("Upload-Length", None)


@row("CORE-HEAD-03", MUST, "HEAD has no Upload-Defer-Length once the length is known", spec=HEADER, needs=NEEDS)
def test_head_declared(tus: Server) -> None:
    upload = tus.create()
    tus.patch(upload, 0, b"hello", {"Upload-Length": "10"})
    tus.head(upload).is_("Upload-Defer-Length", None)


@row("DEF-01", MUST, "PATCH may declare the length; HEAD has it from then on", spec=SPEC, needs=NEEDS)
def test_declared(tus: Server) -> None:
    upload = tus.create()
    tus.patch(upload, 0, b"hello", {"Upload-Length": "12"}).one_of(204).is_("Upload-Offset", "5")
    tus.head(upload).is_("Upload-Length", "12").is_("Upload-Offset", "5")


@row("DEF-02", MUST, "PATCH may leave the length open", spec=SPEC, needs=NEEDS)
def test_left_open(tus: Server) -> None:
    upload = tus.create()
    tus.patch(upload, 0, b"hello").one_of(204).is_("Upload-Offset", "5")
    tus.head(upload).is_("Upload-Defer-Length", "1").is_("Upload-Offset", "5")


@row("DEF-03", MUST, "PATCH may declare the length and complete the upload", spec=SPEC, needs=NEEDS)
@pytest.mark.parametrize("last", [b"", b"!"], ids=["empty", "with bytes"])
def test_completed(tus: Server, last: bytes) -> None:
    upload = tus.create()
    tus.patch(upload, 0, b"hello")
    length = str(5 + len(last))
    tus.patch(upload, 5, last, {"Upload-Length": length}).one_of(204).is_("Upload-Offset", length)
    tus.head(upload).is_("Upload-Length", length).is_("Upload-Offset", length)


@row("DEF-04", MUST, "A known length is never changed", spec=SPEC, needs=NEEDS)
@pytest.mark.parametrize("deferred", [True, False], ids=["declared later", "declared at creation"])
def test_never_changed(tus: Server, *, deferred: bool) -> None:
    upload = tus.create(None if deferred else 10)
    tus.patch(upload, 0, b"hello", {"Upload-Length": "10"} if deferred else {})
    tus.patch(upload, 5, b"wor", {"Upload-Length": "20"})
    tus.head(upload).is_("Upload-Length", "10")


@row("DEF-04", DECISION, "Another length for an upload of known length answers 400", spec=SPEC, needs=NEEDS)
def test_other_length(tus: Server) -> None:
    upload = tus.create(10)
    with tus.unchanged(upload):
        tus.patch(upload, 0, b"hello", {"Upload-Length": "20"}).one_of(400)


@row(
    "DEF-05",
    DECISION,
    "The same length again is accepted: clients repeat it after a lost answer",
    spec=SPEC,
    needs=NEEDS,
)
def test_same_length(tus: Server) -> None:
    upload = tus.create()
    tus.patch(upload, 0, b"hello", {"Upload-Length": "10"})
    tus.patch(upload, 5, b"world", {"Upload-Length": "10"}).one_of(204)


@row("DEF-06", DECISION, "A length below the offset answers 400 and changes nothing", spec=SPEC, needs=NEEDS)
def test_below_offset(tus: Server) -> None:
    upload = tus.create()
    tus.patch(upload, 0, b"hello")
    with tus.unchanged(upload):
        tus.patch(upload, 5, b"", {"Upload-Length": "3"}).one_of(400)


@row("DEF-07", MUST, "A length above the maximum answers 413", spec=SPEC, needs=f"{NEEDS} max-size")
def test_above_maximum(tus: Server) -> None:
    tus.patch(tus.create(), 0, b"hello", {"Upload-Length": str((tus.max_size or 0) + 1)}).one_of(413)


@row("DEF-08", DECISION, "A length below offset plus body answers 413 and changes nothing", spec=SPEC, needs=NEEDS)
def test_below_body(tus: Server) -> None:
    upload = tus.create()
    with tus.unchanged(upload):
        tus.patch(upload, 0, b"hello", {"Upload-Length": "3"}).one_of(413)


@row("DEF-09", MUST, "A declared length that is no non-negative integer is not accepted", spec=SPEC, needs=NEEDS)
@pytest.mark.parametrize("length", ["-5", "abc", "1.5"])
def test_bad_length(tus: Server, length: str) -> None:
    upload = tus.create()
    with tus.unchanged(upload):
        answer = tus.patch(upload, 0, b"hello", {"Upload-Length": length})
        expect(not answer.fine, f"Upload-Length {length!r} was accepted with {answer.status}")


@row(
    "DEF-13",
    MUST,
    "A length together with a wrong offset answers 409 and changes nothing",
    spec="Core Protocol, PATCH",
    needs=NEEDS,
)
def test_wrong_offset(tus: Server) -> None:
    upload = tus.create()
    with tus.unchanged(upload):
        tus.patch(upload, 3, b"hello", {"Upload-Length": "8"}).one_of(409)
