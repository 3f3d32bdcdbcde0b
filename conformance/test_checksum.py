"""Checksum."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable

import pytest

from conformance.rows import DECISION, MUST, expect, row
from conformance.target import OCTETS, Server, T, Upload
from conformance.wire import Answer

SECTION = "checksum"
SPEC = "Checksum"
NAME = "Upload-Checksum"
DATA = b"hello world"
ALGORITHMS: dict[str, Callable[[bytes], bytes]] = {
    "sha1": lambda data: hashlib.sha1(data).digest(),  # noqa: S324 (the protocol demands it)
    "md5": lambda data: hashlib.md5(data).digest(),  # noqa: S324 (many servers offer it)
    "sha256": lambda data: hashlib.sha256(data).digest(),
    "sha512": lambda data: hashlib.sha512(data).digest(),
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
}


def checksum(data: bytes, algorithm: str = "sha1") -> dict[str, str]:
    """Return the header for these bytes."""
    return {NAME: f"{algorithm} {base64.b64encode(ALGORITHMS[algorithm](data)).decode()}"}


WRONG = checksum(b"something else")


def patch(tus: Server, upload: Upload, headers: dict[str, str], data: bytes = DATA, offset: int = 0) -> Answer:
    """Send bytes with a checksum."""
    return tus.patch(upload, offset, data, headers)


@row("CSUM-01", MUST, "PATCH with the right checksum answers 204", spec=SPEC, needs="checksum")
@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "crc32"])
def test_right(tus: Server, algorithm: str) -> None:
    if algorithm != "sha1" and algorithm not in tus.algorithms:
        pytest.skip(f"{algorithm} is not advertised")
    upload = tus.create(len(DATA))
    patch(tus, upload, checksum(DATA, algorithm)).one_of(204).is_("Upload-Offset", "11")


@row("CSUM-02", MUST, "PATCH with a wrong checksum discards the bytes", spec=SPEC, needs="checksum")
@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "crc32"])
def test_discarded(tus: Server, algorithm: str) -> None:
    if algorithm != "sha1" and algorithm not in tus.algorithms:
        pytest.skip(f"{algorithm} is not advertised")
    upload = tus.create(len(DATA))
    with tus.unchanged(upload):
        answer = patch(tus, upload, checksum(b"something else", algorithm))
    expect(not answer.fine, f"the wrong checksum was answered with {answer.status}")


@row("CSUM-02", DECISION, "PATCH with a wrong checksum answers 460", spec=SPEC, needs="checksum")
def test_mismatch(tus: Server) -> None:
    patch(tus, tus.create(len(DATA)), WRONG).one_of(460)


@row("CSUM-03", MUST, "The same bytes with the right checksum are accepted afterwards", spec=SPEC, needs="checksum")
def test_again(tus: Server) -> None:
    upload = tus.create(len(DATA))
    patch(tus, upload, WRONG, b"HELLO WORLD")
    patch(tus, upload, checksum(DATA)).one_of(204).is_("Upload-Offset", "11")
    tus.holds(upload, DATA)


@row("CSUM-04", MUST, "PATCH with an unknown algorithm changes nothing", spec=SPEC, needs="checksum")
def test_unknown(tus: Server) -> None:
    upload = tus.create(len(DATA))
    with tus.unchanged(upload):
        answer = patch(tus, upload, {NAME: "unknownalgo AAAA"})
    expect(not answer.fine, f"an unknown algorithm was answered with {answer.status}")


@row("CSUM-04", DECISION, "PATCH with an unknown algorithm answers 400", spec=SPEC, needs="checksum")
def test_unknown_status(tus: Server) -> None:
    patch(tus, tus.create(len(DATA)), {NAME: "unknownalgo AAAA"}).one_of(400)


@row("CSUM-05", DECISION, "A malformed Upload-Checksum answers 400 and changes nothing", spec=SPEC, needs="checksum")
@pytest.mark.parametrize("value", ["sha1", "sha1 !!!", "", "sha1  AAAA"])
def test_malformed(tus: Server, value: str) -> None:
    upload = tus.create(len(DATA))
    with tus.unchanged(upload):
        patch(tus, upload, {NAME: value}).one_of(400)


@row("CSUM-06", DECISION, "Base64 of another length than the digest's is a mismatch: 460", spec=SPEC, needs="checksum")
def test_other_length(tus: Server) -> None:
    patch(tus, tus.create(len(DATA)), {NAME: "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAAA"}).one_of(460)


@row("CSUM-07", DECISION, "The checksum of a chunked body is verified", spec=SPEC, needs="checksum")
@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_chunked(tus: Server, *, right: bool) -> None:
    upload = tus.create(len(DATA))
    headers = {**T, **OCTETS, "Upload-Offset": "0", **(checksum(DATA) if right else WRONG)}
    tus.send_chunked("PATCH", upload.path, headers, DATA[:4], DATA[4:]).one_of(204 if right else 460)


@row("CSUM-08", DECISION, "The checksum of an empty body is verified", spec=SPEC, needs="checksum")
@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_empty(tus: Server, *, right: bool) -> None:
    headers = checksum(b"") if right else WRONG
    patch(tus, tus.create(5), headers, b"").one_of(204 if right else 460)


@row("CSUM-09", MUST, "Of a body with a checksum that was cut off nothing is kept", spec=SPEC, needs="checksum")
def test_cut(tus: Server) -> None:
    upload = tus.create(len(DATA))
    with tus.connect() as connection:
        headers = {**T, **OCTETS, "Upload-Offset": "0", "Content-Length": str(len(DATA)), **checksum(DATA)}
        connection.start("PATCH", upload.path, headers)
        connection.send(DATA[:5])
        tus.round_trips()
    tus.round_trips()
    tus.head(upload).is_("Upload-Offset", "0")


@row("CSUM-11", MUST, "A wrong checksum of the last bytes does not complete the upload", spec=SPEC, needs="checksum")
def test_last(tus: Server) -> None:
    upload = tus.create(len(DATA))
    patch(tus, upload, checksum(DATA[:5]), DATA[:5])
    patch(tus, upload, WRONG, DATA[5:], 5)
    tus.head(upload).is_("Upload-Offset", "5")


@row("CSUM-12", DECISION, "The checksum of a first part is verified", spec=SPEC, needs="checksum creation-with-upload")
@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_creation(tus: Server, *, right: bool) -> None:
    headers = {"Upload-Length": str(len(DATA)), **OCTETS, **(checksum(DATA) if right else WRONG)}
    tus.post(headers, DATA).one_of(201 if right else 460)


@row("CSUM-13", DECISION, "The checksum of a creation without a body is ignored", spec=SPEC, needs="checksum creation")
def test_creation_without_body(tus: Server) -> None:
    tus.post({"Upload-Length": str(len(DATA)), **WRONG}).one_of(201)


@row("CSUM-14", MUST, "A wrong offset answers 409 whatever the checksum", spec="Core Protocol, PATCH", needs="checksum")
def test_wrong_offset(tus: Server) -> None:
    patch(tus, tus.create(len(DATA)), checksum(DATA[:5]), DATA[:5], 3).one_of(409)
