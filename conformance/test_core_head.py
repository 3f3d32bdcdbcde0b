"""Core: HEAD."""

from __future__ import annotations

from conformance.rows import DECISION, MUST, SHOULD, expect, row
from conformance.target import Server, T

SECTION = "core: HEAD"
SPEC = "Core Protocol, HEAD"


@row("CORE-HEAD-01", MUST, "HEAD of a new upload has Upload-Offset 0", spec=SPEC)
def test_offset(tus: Server) -> None:
    tus.head(tus.create(100)).is_("Upload-Offset", "0")


@row("CORE-HEAD-01", MUST, "HEAD has Upload-Length where the length is known", spec=SPEC)
def test_length(tus: Server) -> None:
    tus.head(tus.create(100)).is_("Upload-Length", "100")


@row("CORE-HEAD-01", MUST, "HEAD has Cache-Control: no-store", spec=SPEC)
def test_no_store(tus: Server) -> None:
    answer = tus.head(tus.create(100))
    words = [word.lower() for word in answer.words("Cache-Control")]
    expect("no-store" in words, f"Cache-Control was {answer.get('Cache-Control') or 'absent'}")


@row("CORE-HEAD-01", SHOULD, "HEAD answers 200 or 204", spec=SPEC)
def test_status(tus: Server) -> None:
    tus.head(tus.create(100)).one_of(200, 204)


@row("CORE-HEAD-01", DECISION, "HEAD answers 200: some clients know no other", spec=SPEC)
def test_ok(tus: Server) -> None:
    tus.head(tus.create(100)).one_of(200)


@row("CORE-HEAD-02", MUST, "HEAD shows how far an upload is", spec=SPEC)
def test_partly(tus: Server) -> None:
    upload = tus.create(10)
    tus.patch(upload, 0, b"hello")
    tus.head(upload).is_("Upload-Offset", "5").is_("Upload-Length", "10")


@row("CORE-HEAD-02", MUST, "HEAD of a complete upload has Upload-Offset equal to Upload-Length", spec=SPEC)
def test_complete(tus: Server) -> None:
    tus.head(tus.filled(b"x" * 100)).is_("Upload-Offset", "100").is_("Upload-Length", "100")


@row("CORE-HEAD-07", SHOULD, "HEAD of an unknown upload answers 404, 410 or 403", spec=SPEC)
def test_unknown(tus: Server) -> None:
    tus.head(tus.unknown()).one_of(404, 410, 403)


@row("CORE-HEAD-07", SHOULD, "HEAD of an unknown upload has no Upload-Offset", spec=SPEC)
def test_unknown_offset(tus: Server) -> None:
    tus.head(tus.unknown()).is_("Upload-Offset", None)


@row("CORE-HEAD-07", DECISION, "HEAD of an unknown upload answers 404", spec=SPEC)
def test_not_found(tus: Server) -> None:
    tus.head(tus.unknown()).one_of(404)


@row("CORE-HEAD-11", DECISION, "HEAD works with a slash at the end, without a redirect", spec=SPEC)
def test_slash(tus: Server) -> None:
    upload = tus.create(5)
    tus.send("HEAD", upload.path + "/", T).one_of(200, 204)


@row("CORE-HEAD-12", DECISION, "HEAD announces no chunked body: some clients would wait for it", spec=SPEC)
def test_not_chunked(tus: Server) -> None:
    tus.head(tus.create(5)).is_("Transfer-Encoding", None)
