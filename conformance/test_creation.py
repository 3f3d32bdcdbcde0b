"""Creation."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from conformance.rows import DECISION, MUST, SHOULD, expect, row
from conformance.target import Server

SECTION = "creation"
SPEC = "Creation, POST"
LENGTH = "Core Protocol, Headers, Upload-Length"
DEFER = "Creation, Upload-Defer-Length"


@row("CRE-POST-01", MUST, "POST with Upload-Length answers 201", spec=SPEC, needs="creation")
def test_created(tus: Server) -> None:
    tus.post({"Upload-Length": "100"}).one_of(201)


@row("CRE-POST-01", MUST, "The answer to a creation has Location", spec=SPEC, needs="creation")
def test_location(tus: Server) -> None:
    expect(tus.post({"Upload-Length": "100"}).get("Location"), "POST answered without Location")


@row("CRE-POST-02", MUST, "Location is the URL of the upload, absolute or relative", spec=SPEC, needs="creation")
def test_location_works(tus: Server) -> None:
    answer = tus.head(tus.create(100))
    expect(answer.fine, f"HEAD of Location answered {answer.status}")


@row("CRE-POST-02", DECISION, "Location is absolute, with the Host of the request", spec=SPEC, needs="creation")
def test_location_absolute(tus: Server) -> None:
    location = tus.create(100).location
    expect(urlsplit(location).netloc == tus.authority, f"Location was {location[:200]}")


@row("CRE-POST-06", MUST, "Each creation makes an upload of its own", spec=SPEC, needs="creation")
def test_two(tus: Server) -> None:
    first, second = tus.create(1), tus.create(1)
    expect(first.path != second.path, "two creations answered the same Location")


@row("CRE-POST-07", MUST, "An upload of length 0 is complete after its creation", spec=SPEC, needs="creation")
def test_empty(tus: Server) -> None:
    tus.head(tus.created(tus.post({"Upload-Length": "0"}).one_of(201))).is_("Upload-Offset", "0").is_(
        "Upload-Length", "0"
    )


@row(
    "CRE-POST-08",
    MUST,
    "An Upload-Length that is no non-negative integer is not accepted",
    spec=LENGTH,
    needs="creation",
)
@pytest.mark.parametrize("length", ["-5", "abc", "1.5", ""])
def test_bad_length(tus: Server, length: str) -> None:
    answer = tus.post({"Upload-Length": length})
    expect(not answer.fine, f"Upload-Length {length!r} was accepted with {answer.status}")


@row(
    "CRE-POST-08",
    DECISION,
    "An Upload-Length that is no number of plain digits answers 400",
    spec=LENGTH,
    needs="creation",
)
@pytest.mark.parametrize("length", ["-5", "abc", "1.0", "1e3", "+5", "0x10", "1_000", ""])
def test_bad_length_status(tus: Server, length: str) -> None:
    tus.post({"Upload-Length": length}).one_of(400)


@row("CRE-POST-09", DECISION, "An Upload-Length beyond 63 bits answers 400 or 413", spec=LENGTH, needs="creation")
def test_huge_length(tus: Server) -> None:
    tus.post({"Upload-Length": "9223372036854775808"}).one_of(400, 413)


@row("CRE-POST-11", MUST, "An Upload-Length above the maximum answers 413", spec=SPEC, needs="creation max-size")
def test_above_maximum(tus: Server) -> None:
    tus.post({"Upload-Length": str((tus.max_size or 0) + 1)}).one_of(413)


@row(
    "CRE-POST-13", SHOULD, "POST without Upload-Length and Upload-Defer-Length is refused", spec=SPEC, needs="creation"
)
def test_no_length(tus: Server) -> None:
    tus.post({}).refused()


@row(
    "CRE-POST-13",
    DECISION,
    "POST without Upload-Length and Upload-Defer-Length answers 400",
    spec=SPEC,
    needs="creation",
)
def test_no_length_status(tus: Server) -> None:
    tus.post({}).one_of(400)


@row("CRE-POST-12", SHOULD, "POST with Upload-Length and Upload-Defer-Length is refused", spec=DEFER, needs="creation")
def test_both(tus: Server) -> None:
    tus.post({"Upload-Length": "5", "Upload-Defer-Length": "1"}).refused()


@row("CRE-POST-14", SHOULD, "An Upload-Defer-Length other than 1 answers 400", spec=SPEC, needs="creation-defer-length")
@pytest.mark.parametrize("value", ["0", "2", "true"])
def test_defer_value(tus: Server, value: str) -> None:
    tus.post({"Upload-Defer-Length": value}).one_of(400)


@row("CRE-POST-16", DECISION, "Upload-Offset of a creation is ignored", spec=SPEC, needs="creation")
def test_offset_ignored(tus: Server) -> None:
    tus.post({"Upload-Length": "5", "Upload-Offset": "0"}).one_of(201)


@row("CRE-POST-17", DECISION, "The media type of an empty body is ignored", spec=SPEC, needs="creation")
def test_media_type_ignored(tus: Server) -> None:
    tus.post({"Upload-Length": "5", "Content-Type": "application/x-www-form-urlencoded"}).one_of(201)
