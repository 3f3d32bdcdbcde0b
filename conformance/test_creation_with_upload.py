"""Creation With Upload."""

from __future__ import annotations

from conformance.rows import DECISION, MUST, SHOULD, expect, row
from conformance.target import OCTETS, Server, T

SECTION = "creation-with-upload"
SPEC = "Creation With Upload"
NEEDS = "creation-with-upload"


@row("CWU-01", MUST, "POST with a first part answers 201 and the Upload-Offset after it", spec=SPEC, needs=NEEDS)
def test_part(tus: Server) -> None:
    answer = tus.post({"Upload-Length": "100", **OCTETS}, b"hello").one_of(201)
    upload = tus.created(answer)
    expect(answer.number("Upload-Offset") == tus.offset(upload), "POST and HEAD do not have the same Upload-Offset")


@row("CWU-01", SHOULD, "As many bytes as possible of the first part are kept", spec=SPEC, needs=NEEDS)
def test_part_kept(tus: Server) -> None:
    answer = tus.post({"Upload-Length": "100", **OCTETS}, b"hello")
    answer.is_("Upload-Offset", "5")


@row("CWU-01", MUST, "An upload that was begun by its creation goes on with PATCH", spec=SPEC, needs=NEEDS)
def test_goes_on(tus: Server) -> None:
    upload = tus.create(11, OCTETS, b"hello")
    offset = tus.offset(upload)
    tus.patch(upload, offset, b"hello world"[offset:]).one_of(204).is_("Upload-Offset", "11")
    tus.holds(upload, b"hello world")


@row("CWU-02", SHOULD, "POST with all of the upload completes it", spec=SPEC, needs=NEEDS)
def test_all(tus: Server) -> None:
    answer = tus.post({"Upload-Length": "5", **OCTETS}, b"hello").one_of(201).is_("Upload-Offset", "5")
    upload = tus.created(answer)
    tus.head(upload).is_("Upload-Offset", "5").is_("Upload-Length", "5")
    tus.holds(upload, b"hello")


@row(
    "CWU-03",
    DECISION,
    "A creation with the media type of an upload and no bytes has Upload-Offset 0",
    spec=SPEC,
    needs=NEEDS,
)
def test_nothing(tus: Server) -> None:
    tus.post({"Upload-Length": "0", **OCTETS}).one_of(201).is_("Upload-Offset", "0")


@row("CWU-04", DECISION, "A body longer than Upload-Length answers 413 and creates nothing", spec=SPEC, needs=NEEDS)
def test_too_long(tus: Server) -> None:
    tus.post({"Upload-Length": "5", **OCTETS}, b"hello world!").one_of(413).is_("Location", None)


@row("CWU-05", DECISION, "A body of another media type answers 415: it would be lost silently", spec=SPEC, needs=NEEDS)
def test_media_type(tus: Server) -> None:
    tus.post({"Upload-Length": "300", "Content-Type": "application/false"}, b"hello").one_of(415)


@row("CWU-06", DECISION, "The length may be deferred", spec=SPEC, needs=f"{NEEDS} creation-defer-length")
def test_deferred(tus: Server) -> None:
    upload = tus.created(tus.post({"Upload-Defer-Length": "1", **OCTETS}, b"hello").one_of(201))
    tus.head(upload).is_("Upload-Offset", "5").is_("Upload-Defer-Length", "1")


@row("CWU-08", DECISION, "A partial upload may bring its bytes", spec=SPEC, needs=f"{NEEDS} concatenation")
def test_partial(tus: Server) -> None:
    headers = {"Upload-Length": "5", "Upload-Concat": "partial", **OCTETS}
    tus.post(headers, b"hello").one_of(201).is_("Upload-Offset", "5")


@row("CWU-09", DECISION, "The body may be chunked", spec=SPEC, needs=NEEDS)
def test_chunked(tus: Server) -> None:
    answer = tus.send_chunked(
        "POST", tus.base, {**T, "Upload-Length": "5", **OCTETS, **tus.demanded(None)}, b"he", b"llo"
    )
    tus.made.append(tus.created(answer.one_of(201)).path)
    answer.is_("Upload-Offset", "5")


@row(
    "CWU-11",
    DECISION,
    "Expect: 100-continue gets early feedback where the upload is too large",
    spec=SPEC,
    needs=f"{NEEDS} max-size",
)
def test_early_feedback(tus: Server) -> None:
    length = str((tus.max_size or 0) + 1)
    with tus.connect() as connection:
        headers = {**T, "Upload-Length": length, **OCTETS, "Content-Length": "5", "Expect": "100-continue"}
        connection.start("POST", tus.base, headers)
        connection.interim().one_of(413)
