"""CORS: nothing of it is in the protocol; browsers need it."""

from __future__ import annotations

import pytest

from conformance.rows import DECISION, expect, row
from conformance.target import Server, T
from conformance.wire import Answer

SECTION = "CORS"
SPEC = "not in the protocol"
ORIGIN = {"Origin": "https://a.example"}
SENT = (
    "Content-Type,Upload-Length,Upload-Offset,Tus-Resumable,Upload-Metadata,Upload-Defer-Length,Upload-Concat,"
    "X-HTTP-Method-Override,X-Requested-With,X-Request-ID,Authorization"
)
READ = (
    "Location,Upload-Offset,Upload-Length,Upload-Metadata,Upload-Defer-Length,Upload-Concat,Tus-Version,Tus-Resumable,"
    "Tus-Max-Size,Tus-Extension"
)


def includes(answer: Answer, header: str, names: str) -> None:
    """Let the row fail unless a list of names has all of these."""
    seen = {word.lower() for word in answer.words(header)}
    missing = [name for name in names.split(",") if name.lower() not in seen]
    expect(not missing or "*" in seen, f"{header} lacks {', '.join(missing)}")


def allowed(tus: Server, answer: Answer) -> None:
    """Let the row fail unless a page of the origin may read the answer."""
    seen = answer.get("Access-Control-Allow-Origin")
    expect(seen in (ORIGIN["Origin"], "*"), f"{answer.asked} answered {answer.status} with Allow-Origin: {seen}")


def preflight(tus: Server, path: str, method: str = "PATCH") -> Answer:
    """Ask as a browser asks before it sends."""
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "tus-resumable,upload-offset"}
    return tus.send("OPTIONS", path, {**ORIGIN, **asked})


@row("CORS-01", DECISION, "A preflight of the creation URL is allowed", spec=SPEC)
def test_preflight(tus: Server) -> None:
    answer = preflight(tus, tus.base, "POST").one_of(200, 204)
    allowed(tus, answer)
    includes(answer, "Access-Control-Allow-Methods", "POST,HEAD,PATCH,DELETE")


@row("CORS-01", DECISION, "A preflight of an upload is allowed", spec=SPEC)
def test_preflight_upload(tus: Server) -> None:
    answer = preflight(tus, tus.create(5).path).one_of(200, 204)
    allowed(tus, answer)


@row("CORS-02", DECISION, "A preflight allows what tus clients send", spec=SPEC)
def test_sent(tus: Server) -> None:
    includes(preflight(tus, tus.base, "POST"), "Access-Control-Allow-Headers", SENT)


@row("CORS-02", DECISION, "A preflight allows Upload-Checksum", spec=SPEC, needs="checksum")
def test_sent_checksum(tus: Server) -> None:
    includes(preflight(tus, tus.base), "Access-Control-Allow-Headers", "Upload-Checksum")


@row("CORS-03", DECISION, "Pages may read what tus clients need", spec=SPEC, needs="creation")
def test_read(tus: Server) -> None:
    answer = tus.post({"Upload-Length": "5", **ORIGIN})
    allowed(tus, answer)
    includes(answer, "Access-Control-Expose-Headers", READ)


@row("CORS-03", DECISION, "Pages may read Upload-Expires", spec=SPEC, needs="creation expiration")
def test_read_expiry(tus: Server) -> None:
    includes(tus.post({"Upload-Length": "5", **ORIGIN}), "Access-Control-Expose-Headers", "Upload-Expires")


@row("CORS-04", DECISION, "Pages may read errors, so that their client can react", spec=SPEC)
@pytest.mark.parametrize("what", ["404", "409", "412", "415"])
def test_errors(tus: Server, what: str) -> None:
    upload = tus.create(5)
    answers = {
        "404": lambda: tus.send("HEAD", tus.unknown(), {**T, **ORIGIN}),
        "409": lambda: tus.patch(upload, 3, b"x", ORIGIN),
        "412": lambda: tus.patch(upload, 0, b"x", {**ORIGIN, "Tus-Resumable": "0.2.2"}),
        "415": lambda: tus.patch(upload, 0, b"x", {**ORIGIN, "Content-Type": "text/plain"}),
    }
    allowed(tus, answers[what]())


@row("CORS-11", DECISION, "Answers that depend on Origin say so in Vary", spec=SPEC)
def test_vary(tus: Server) -> None:
    answer = preflight(tus, tus.base)
    words = [word.lower() for word in answer.words("Vary")]
    constant = answer.get("Access-Control-Allow-Origin") == "*"
    expect(constant or "origin" in words or "*" in words, f"Vary was {answer.get('Vary') or 'absent'}")
