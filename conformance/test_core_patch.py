"""Core: PATCH."""

from __future__ import annotations

import pytest

from conformance.rows import DECISION, MUST, SHOULD, expect, row
from conformance.target import OCTETS, Server, T

SECTION = "core: PATCH"
SPEC = "Core Protocol, PATCH"
OFFSET = "Core Protocol, Headers, Upload-Offset"


@row("CORE-PATCH-01", MUST, "A successful PATCH answers 204", spec=SPEC)
def test_status(tus: Server) -> None:
    tus.patch(tus.create(11), 0, b"hello world").one_of(204)


@row("CORE-PATCH-01", MUST, "A successful PATCH answers the new Upload-Offset", spec=SPEC)
def test_offset(tus: Server) -> None:
    tus.patch(tus.create(11), 0, b"hello world").is_("Upload-Offset", "11")


@row("CORE-PATCH-02", MUST, "The new offset is the old one plus the bytes received", spec=SPEC)
def test_two(tus: Server) -> None:
    upload = tus.create(11)
    tus.patch(upload, 0, b"hello").is_("Upload-Offset", "5")
    tus.patch(upload, 5, b" world").is_("Upload-Offset", "11")
    tus.head(upload).is_("Upload-Offset", "11")
    tus.holds(upload, b"hello world")


@row("CORE-PATCH-03", SHOULD, "PATCH with another media type answers 415", spec=SPEC)
@pytest.mark.parametrize("media_type", ["text/plain", "application/octet-stream", None])
def test_media_type(tus: Server, media_type: str | None) -> None:
    upload = tus.create(5)
    given = {} if media_type is None else {"Content-Type": media_type}
    with tus.unchanged(upload):
        tus.send("PATCH", upload.path, {**T, "Upload-Offset": "0", **given}, b"hello").one_of(415)


@row("CORE-PATCH-04", DECISION, "Media types are compared without case and parameters", spec=SPEC)
@pytest.mark.parametrize("media_type", ["Application/Offset+Octet-Stream", f"{OCTETS['Content-Type']}; charset=utf-8"])
def test_media_type_written_otherwise(tus: Server, media_type: str) -> None:
    tus.patch(tus.create(5), 0, b"hello", {"Content-Type": media_type}).one_of(204)


@row("CORE-PATCH-05", SHOULD, "PATCH of an unknown upload answers 404", spec=SPEC)
def test_unknown(tus: Server) -> None:
    tus.patch(tus.unknown(), 0, b"hello").one_of(404)


@row("CORE-PATCH-06", MUST, "PATCH at another offset answers 409", spec=SPEC)
@pytest.mark.parametrize("offset", [0, 4, 6])
def test_other_offset(tus: Server, offset: int) -> None:
    upload = tus.create(10)
    tus.patch(upload, 0, b"hello")
    tus.patch(upload, offset, b"hello"[: 10 - offset]).one_of(409)


@row("CORE-PATCH-06", MUST, "PATCH at another offset leaves the upload as it is", spec=SPEC)
@pytest.mark.parametrize("offset", [0, 4, 6])
def test_other_offset_unchanged(tus: Server, offset: int) -> None:
    upload = tus.create(10)
    tus.patch(upload, 0, b"hello")
    with tus.unchanged(upload):
        tus.patch(upload, offset, b"HELLO"[: 10 - offset])
    tus.patch(upload, 5, b"world").is_("Upload-Offset", "10")
    tus.holds(upload, b"helloworld")


@row("CORE-PATCH-06", DECISION, "The 409 has the current Upload-Offset", spec=SPEC)
def test_conflict_says_offset(tus: Server) -> None:
    upload = tus.create(10)
    tus.patch(upload, 0, b"hello")
    tus.patch(upload, 3, b"lo").is_("Upload-Offset", "5")


@row("CORE-PATCH-07", MUST, "PATCH without Upload-Offset changes nothing", spec=SPEC)
def test_no_offset(tus: Server) -> None:
    upload = tus.create(5)
    with tus.unchanged(upload):
        answer = tus.send("PATCH", upload.path, {**T, **OCTETS}, b"hello")
        expect(not answer.fine, f"it was accepted with {answer.status}")


@row("CORE-PATCH-07", DECISION, "PATCH without Upload-Offset answers 400", spec=SPEC)
def test_no_offset_status(tus: Server) -> None:
    tus.send("PATCH", tus.create(5).path, {**T, **OCTETS}, b"hello").one_of(400)


@row("CORE-PATCH-08", MUST, "An Upload-Offset that is no non-negative integer is not accepted", spec=OFFSET)
@pytest.mark.parametrize("offset", ["-1", "abc", "0.5", "1e1", ""])
def test_bad_offset(tus: Server, offset: str) -> None:
    upload = tus.create(5)
    with tus.unchanged(upload):
        answer = tus.patch(upload, offset, b"hello")
        expect(not answer.fine, f"Upload-Offset {offset!r} was accepted with {answer.status}")


@row("CORE-PATCH-08", DECISION, "An Upload-Offset that is no number of plain digits answers 400", spec=OFFSET)
@pytest.mark.parametrize("offset", ["-1", "abc", "0.5", "+0", "0x0", "0_0", "0, 0", "9223372036854775808", ""])
def test_bad_offset_status(tus: Server, offset: str) -> None:
    tus.patch(tus.create(5), offset, b"hello").one_of(400)


@row("CORE-PATCH-09", DECISION, "Leading zeros of an Upload-Offset mean nothing", spec=OFFSET)
def test_leading_zeros(tus: Server) -> None:
    upload = tus.create(10)
    tus.patch(upload, 0, b"hello")
    tus.patch(upload, "0005", b"world").one_of(204)


@row("CORE-PATCH-10", SHOULD, "A PATCH never takes the offset beyond Upload-Length", spec="Core Protocol, Headers")
def test_beyond(tus: Server) -> None:
    upload = tus.create(5)
    tus.patch(upload, 0, b"hello world!")
    expect(tus.offset(upload) <= 5, f"the offset is {tus.offset(upload)} and the length 5")


@row("CORE-PATCH-10", DECISION, "A PATCH announced longer than the upload answers 413 and changes nothing", spec=SPEC)
def test_too_long(tus: Server) -> None:
    upload = tus.create(5)
    with tus.unchanged(upload):
        tus.patch(upload, 0, b"hello world!").one_of(413)


@row("CORE-PATCH-12", DECISION, "An empty PATCH at the end of a complete upload answers 204", spec=SPEC)
def test_complete_again(tus: Server) -> None:
    tus.patch(tus.filled(b"hello"), 5).one_of(204).is_("Upload-Offset", "5")


@row("CORE-PATCH-13", DECISION, "More bytes for a complete upload answer 413 and change nothing", spec=SPEC)
def test_complete_more(tus: Server) -> None:
    upload = tus.filled(b"hello")
    with tus.unchanged(upload):
        tus.patch(upload, 5, b"!").one_of(413)


@row("CORE-PATCH-14", DECISION, "An empty PATCH at the current offset answers 204", spec=SPEC)
def test_empty(tus: Server) -> None:
    tus.patch(tus.create(5), 0).one_of(204).is_("Upload-Offset", "0")


@row("CORE-PATCH-17", DECISION, "PATCH of the creation URL answers 405 with Allow", spec=SPEC)
def test_creation_url(tus: Server) -> None:
    answer = tus.patch(tus.base, 0, b"hello").one_of(405)
    expect("POST" in answer.words("Allow"), f"Allow was {answer.get('Allow') or 'absent'}")


@row("CORE-PATCH-18", DECISION, "PUT and POST of an upload answer 405 with Allow", spec=SPEC)
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_other_methods(tus: Server, method: str) -> None:
    answer = tus.send(method, tus.create(5).path, {**T, "Upload-Length": "5"}).one_of(405)
    expect("PATCH" in answer.words("Allow"), f"Allow was {answer.get('Allow') or 'absent'}")


@row("CORE-PATCH-19", DECISION, "PATCH works with a slash at the end", spec=SPEC)
def test_slash(tus: Server) -> None:
    tus.patch(tus.create(5).path + "/", 0, b"hello").one_of(204)
