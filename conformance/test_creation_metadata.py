"""Creation: Upload-Metadata."""

from __future__ import annotations

import base64

import pytest

from conformance.rows import DECISION, MUST, expect, row
from conformance.target import Server
from conformance.wire import Answer

SECTION = "creation: metadata"
SPEC = "Creation, Upload-Metadata"
NAME = "Upload-Metadata"


def pairs(answer: Answer) -> dict[str, bytes]:
    """Return the metadata of an answer, decoded."""
    found = {}
    for element in answer.words(NAME):
        key, _, value = element.partition(" ")
        found[key] = base64.b64decode(value.strip() or b"")
    return found


@row("CRE-META-01", MUST, "HEAD has the metadata of the creation", spec="Creation, POST", needs="creation")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("filename d29ybGQucGRm", {"filename": b"world.pdf"}),
        ("filename d29ybGQucGRm,is_confidential", {"filename": b"world.pdf", "is_confidential": b""}),
        ("b Yg==,a YQ==", {"b": b"b", "a": b"a"}),
        ("name c8WCb8WEY2U=", {"name": "s\u0142o\u0144ce".encode()}),
    ],
    ids=["one", "without value", "two", "not ASCII"],
)
def test_echoed(tus: Server, value: str, expected: dict[str, bytes]) -> None:
    answer = tus.head(tus.create(5, {NAME: value}))
    expect(expected.items() <= pairs(answer).items(), f"HEAD answered Upload-Metadata {answer.get(NAME)!r} for {value}")


@row("CORE-HEAD-04", DECISION, "HEAD has the metadata in the very words of the creation", spec=SPEC, needs="creation")
@pytest.mark.parametrize("value", ["filename d29ybGQucGRm,is_confidential", "b Yg==,a YQ=="])
def test_verbatim(tus: Server, value: str) -> None:
    tus.head(tus.create(5, {NAME: value})).is_(NAME, tus.demanded(value)[NAME])


@row("CORE-HEAD-05", DECISION, "HEAD of an upload without metadata has no Upload-Metadata", spec=SPEC, needs="creation")
def test_none(tus: Server) -> None:
    if tus.metadata:
        pytest.skip("this server demands metadata")
    tus.head(tus.create(5)).is_(NAME, None)


@row(
    "CRE-META-02",
    DECISION,
    "An empty Upload-Metadata means no metadata: some clients always send it",
    spec=SPEC,
    needs="creation",
)
def test_empty(tus: Server) -> None:
    tus.post({"Upload-Length": "5", NAME: ""}).one_of(201)


@row("CRE-META-03", DECISION, "Spaces around commas and empty elements are tolerated", spec=SPEC, needs="creation")
@pytest.mark.parametrize("value", ["a YQ==, b Yg==", "a YQ==,", ",a YQ=="])
def test_tolerated(tus: Server, value: str) -> None:
    tus.post({"Upload-Length": "5", NAME: value}).one_of(201)


@row("CRE-META-04", MUST, "A key without a value is accepted, with and without the space", spec=SPEC, needs="creation")
@pytest.mark.parametrize("value", ["key,a YQ==", "key ,a YQ=="])
def test_no_value(tus: Server, value: str) -> None:
    answer = tus.post({"Upload-Length": "5", NAME: value})
    expect(answer.fine, f"POST with Upload-Metadata: {value} answered {answer.status}")


@row("CRE-META-05", DECISION, "A value that is no Base64 does not stop the creation", spec=SPEC, needs="creation")
@pytest.mark.parametrize("value", ["k !!!", "k YQ== YQ=="])
def test_malformed(tus: Server, value: str) -> None:
    tus.post({"Upload-Length": "5", NAME: value}).one_of(201)


@row("CRE-META-06", DECISION, "A repeated key does not stop the creation", spec=SPEC, needs="creation")
def test_repeated(tus: Server) -> None:
    tus.post({"Upload-Length": "5", NAME: "k YQ==,k Yg=="}).one_of(201)


@row("CRE-META-10", DECISION, "Metadata of 14 KiB are accepted, or answered with 431", spec=SPEC, needs="creation")
def test_long(tus: Server) -> None:
    value = "k " + base64.b64encode(b"x" * 10_000).decode()
    tus.post({"Upload-Length": "5", NAME: value}).one_of(201, 431)
