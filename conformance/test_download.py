"""Downloads: GET of an upload is not in the protocol."""

from __future__ import annotations

import pytest

from conformance.rows import DECISION, expect, row
from conformance.target import Server, Upload

SECTION = "downloads"
SPEC = "not in the protocol"
DATA = b"hello world"


def served(tus: Server) -> Upload:
    """Make a complete upload; skip the check where uploads are not served."""
    upload = tus.filled(DATA)
    if tus.get(upload).status != 200:
        pytest.skip("uploads are not served by GET")
    return upload


@row("GET-01", DECISION, "GET serves a complete upload, byte for byte", spec=SPEC)
def test_content(tus: Server) -> None:
    answer = tus.get(tus.filled(DATA)).one_of(200)
    expect(answer.body == DATA, f"GET served {answer.body[:40]!r}")


@row("GET-01", DECISION, "GET says how long the upload is and that ranges work", spec=SPEC)
def test_headers(tus: Server) -> None:
    tus.get(served(tus)).is_("Content-Length", "11").is_("Accept-Ranges", "bytes")


@row("GET-02", DECISION, "GET serves ranges", spec=SPEC)
@pytest.mark.parametrize(("wanted", "data"), [("2-4", b"llo"), ("-3", b"rld"), ("6-", b"world")])
def test_ranges(tus: Server, wanted: str, data: bytes) -> None:
    answer = tus.get(served(tus), {"Range": f"bytes={wanted}"}).one_of(206)
    expect(answer.body == data, f"GET served {answer.body[:40]!r}")


@row("GET-02", DECISION, "A range behind the end answers 416", spec=SPEC)
def test_range_behind(tus: Server) -> None:
    tus.get(served(tus), {"Range": "bytes=100-"}).one_of(416)


@row("GET-03", DECISION, "GET of an incomplete upload answers 404: half a file is no file", spec=SPEC)
def test_incomplete(tus: Server) -> None:
    served(tus)
    upload = tus.create(10)
    tus.patch(upload, 0, b"hello")
    tus.get(upload).one_of(404)


@row("GET-04", DECISION, "GET serves an empty upload", spec=SPEC)
def test_empty(tus: Server) -> None:
    served(tus)
    tus.get(tus.create(0)).one_of(200).is_("Content-Length", "0")


@row("GET-05", DECISION, "What has no type is served as application/octet-stream, to be saved", spec=SPEC)
def test_type(tus: Server) -> None:
    answer = tus.get(served(tus)).is_("Content-Type", "application/octet-stream")
    expect((answer.get("Content-Disposition") or "").startswith("attachment"), "it is not served as an attachment")


@row("GET-13", DECISION, "GET of the creation URL answers 405", spec=SPEC)
def test_creation_url(tus: Server) -> None:
    tus.send("GET", tus.base).one_of(405)


@row("GET-14", DECISION, "GET of what the client has answers 304", spec=SPEC)
def test_conditional(tus: Server) -> None:
    upload = served(tus)
    tag = tus.get(upload).get("ETag")
    expect(tag, "GET answered without ETag")
    tus.get(upload, {"If-None-Match": tag or ""}).one_of(304)
