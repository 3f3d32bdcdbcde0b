"""Termination."""

from __future__ import annotations

from conformance.rows import DECISION, MUST, SHOULD, expect, row
from conformance.target import Server, T

SECTION = "termination"
SPEC = "Termination, DELETE"
NEEDS = "termination"


@row("TERM-01", MUST, "DELETE of an unfinished upload answers 204", spec=SPEC, needs=NEEDS)
def test_unfinished(tus: Server) -> None:
    tus.delete(tus.create(10)).one_of(204)


@row("TERM-01", SHOULD, "A terminated upload answers 404 or 410", spec=SPEC, needs=NEEDS)
def test_gone(tus: Server) -> None:
    upload = tus.create(10)
    tus.delete(upload)
    tus.head(upload).one_of(404, 410).is_("Upload-Offset", None)
    tus.patch(upload, 0, b"hello").one_of(404, 410)


@row("TERM-02", MUST, "DELETE of a complete upload answers 204", spec=SPEC, needs=NEEDS)
def test_complete(tus: Server) -> None:
    tus.delete(tus.filled(b"hello")).one_of(204)


@row("TERM-03", SHOULD, "DELETE of a terminated upload answers 404 or 410", spec=SPEC, needs=NEEDS)
def test_twice(tus: Server) -> None:
    upload = tus.create(10)
    tus.delete(upload)
    tus.delete(upload).one_of(404, 410)


@row("TERM-01", DECISION, "A terminated upload answers 404: it is not kept track of", spec=SPEC, needs=NEEDS)
def test_not_found(tus: Server) -> None:
    upload = tus.create(10)
    tus.delete(upload)
    tus.head(upload).one_of(404)


@row("TERM-03", DECISION, "DELETE of an unknown upload answers 404", spec=SPEC, needs=NEEDS)
def test_unknown(tus: Server) -> None:
    tus.delete(tus.unknown()).one_of(404)


@row("TERM-06", DECISION, "DELETE of the creation URL answers 405", spec=SPEC, needs=NEEDS)
def test_creation_url(tus: Server) -> None:
    tus.delete(tus.base).one_of(405)


@row("TERM-09", DECISION, "A body of DELETE is ignored", spec=SPEC, needs=NEEDS)
def test_body(tus: Server) -> None:
    upload = tus.create(10)
    tus.send("DELETE", upload.path, {**T, "Content-Length": "5"}, b"hello").one_of(204)
    expect(not tus.head(upload).fine, "HEAD still finds the upload")
