"""Core: how the body of a PATCH travels."""

from __future__ import annotations

import pytest

from conformance.rows import DECISION, SHOULD, expect, row
from conformance.target import OCTETS, Server, T
from conformance.wire import Connection

SECTION = "core: body transport"
SPEC = "Core Protocol, PATCH"
HALF = b"x" * 5120
WHOLE = 2 * len(HALF)
PATCH = {**T, **OCTETS, "Upload-Offset": "0"}


def cut(connection: Connection, how: str) -> None:
    """End a connection in the middle of a request."""
    if how == "reset":
        connection.reset()
    else:
        connection.finish()


@row("CORE-BODY-03", SHOULD, "What arrived before the client closed is kept", spec=SPEC)
def test_closed(tus: Server) -> None:
    upload = tus.create(WHOLE)
    with tus.connect() as connection:
        connection.start("PATCH", upload.path, {**PATCH, "Content-Length": str(WHOLE)})
        connection.send(HALF)
        tus.round_trips()
        cut(connection, "close")
        tus.settles(upload, len(HALF))


@row("CORE-BODY-04", SHOULD, "What arrived before a reset of the connection is kept", spec=SPEC)
def test_reset(tus: Server) -> None:
    upload = tus.create(WHOLE)
    with tus.connect() as connection:
        connection.start("PATCH", upload.path, {**PATCH, "Content-Length": str(WHOLE)})
        connection.send(HALF)
        tus.round_trips()
        cut(connection, "reset")
    tus.settles(upload, len(HALF))


@row("CORE-BODY-06", SHOULD, "What arrived of a chunked body that was cut off is kept", spec=SPEC)
def test_chunked_cut(tus: Server) -> None:
    upload = tus.create(WHOLE)
    with tus.connect() as connection:
        connection.start("PATCH", upload.path, {**PATCH, "Transfer-Encoding": "chunked"})
        connection.send_chunk(HALF)
        tus.round_trips()
        cut(connection, "close")
        tus.settles(upload, len(HALF))


@row("CORE-BODY-03", SHOULD, "An upload that was cut off goes on where HEAD says", spec=SPEC)
def test_goes_on(tus: Server) -> None:
    upload = tus.create(WHOLE)
    with tus.connect() as connection:
        connection.start("PATCH", upload.path, {**PATCH, "Content-Length": str(WHOLE)})
        connection.send(HALF)
        tus.round_trips()
    offset = tus.offset(upload)
    tus.patch(upload, offset, b"x" * (WHOLE - offset)).is_("Upload-Offset", str(WHOLE))


@row("CORE-BODY-01", DECISION, "A chunked body is as good as one with a Content-Length", spec=SPEC)
def test_chunked(tus: Server) -> None:
    upload = tus.create(11)
    tus.send_chunked("PATCH", upload.path, PATCH, b"hello", b" world").one_of(204).is_("Upload-Offset", "11")
    tus.holds(upload, b"hello world")


@row(
    "CORE-BODY-02", SHOULD, "A chunked body never takes the offset beyond Upload-Length", spec="Core Protocol, Headers"
)
def test_chunked_beyond(tus: Server) -> None:
    upload = tus.create(10)
    tus.send_chunked("PATCH", upload.path, PATCH, b"hello", b"world", b"again")
    expect(tus.offset(upload) <= 10, f"the offset is {tus.offset(upload)} and the length 10")


@row("CORE-BODY-02", DECISION, "A chunked body beyond Upload-Length answers 413; bytes up to it are kept", spec=SPEC)
def test_chunked_too_long(tus: Server) -> None:
    upload = tus.create(10)
    tus.send_chunked("PATCH", upload.path, PATCH, b"hello", b"world", b"again").one_of(413)
    tus.head(upload).is_("Upload-Offset", "10")


@row("CORE-BODY-09", DECISION, "Expect: 100-continue is answered with 100 where the body is wanted", spec=SPEC)
def test_continue(tus: Server) -> None:
    upload = tus.create(5)
    with tus.connect() as connection:
        connection.start("PATCH", upload.path, {**PATCH, "Content-Length": "5", "Expect": "100-continue"})
        connection.interim().one_of(100)
        connection.send(b"hello")
        connection.answer().one_of(204).is_("Upload-Offset", "5")


@row("CORE-BODY-10", DECISION, "Expect: 100-continue is answered with the refusal where there is one", spec=SPEC)
@pytest.mark.parametrize("what", ["offset", "media type", "unknown", "length"])
def test_no_continue(tus: Server, what: str) -> None:
    upload = tus.create(5)
    path = tus.unknown() if what == "unknown" else upload.path
    wrong = {"offset": {"Upload-Offset": "3"}, "media type": {"Content-Type": "a/b"}, "length": {"Content-Length": "9"}}
    headers = {**PATCH, "Content-Length": "2", "Expect": "100-continue", **wrong.get(what, {})}
    with tus.connect() as connection:
        connection.start("PATCH", path, headers)
        connection.interim().refused()


@row("CORE-BODY-11", DECISION, "Another Expect answers 417", spec=SPEC)
def test_other_expectation(tus: Server) -> None:
    tus.patch(tus.create(5), 0, b"hello", {"Expect": "something-else"}).one_of(417)


@row("CORE-BODY-12", DECISION, "A refusal can be read although a large body is on its way", spec=SPEC)
def test_refusal_of_large_body(tus: Server) -> None:
    upload = tus.create(4 * 2**20)
    tus.patch(upload, 7, b"x" * 2**20).one_of(409)


@row("CORE-BODY-13", DECISION, "After a refused body the connection goes on in step, or is closed", spec=SPEC)
def test_in_step(tus: Server) -> None:
    upload = tus.create(2000)
    with tus.connect() as connection:
        connection.start("PATCH", upload.path, {**PATCH, "Upload-Offset": "7", "Content-Length": "1000"})
        connection.send(b"x" * 1000)
        first = connection.answer().one_of(409)
        if (first.get("Connection") or "").lower() != "close":
            connection.start("HEAD", upload.path, T)
            connection.answer().is_("Upload-Offset", "0")


@row("CORE-BODY-13", DECISION, "Requests that follow each other at once are answered in order", spec=SPEC)
def test_pipelined(tus: Server) -> None:
    upload = tus.create(10)
    with tus.connect() as connection:
        connection.start("PATCH", upload.path, {**PATCH, "Content-Length": "5"})
        connection.send(b"hello")
        connection.start("PATCH", upload.path, {**PATCH, "Upload-Offset": "5", "Content-Length": "5"})
        connection.send(b"world")
        connection.answer().is_("Upload-Offset", "5")
        connection.answer().is_("Upload-Offset", "10")


@row("CORE-BODY-14", DECISION, "A body with a Content-Encoding is stored as it is, or refused with 415", spec=SPEC)
def test_content_encoding(tus: Server) -> None:
    upload = tus.create(5)
    answer = tus.patch(upload, 0, b"hello", {"Content-Encoding": "gzip"}).one_of(204, 415)
    expect(tus.offset(upload) == (5 if answer.fine else 0), "the offset does not fit the answer")
