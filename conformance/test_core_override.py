"""Core: X-HTTP-Method-Override."""

from __future__ import annotations

import pytest

from conformance.rows import DECISION, MUST, expect, row
from conformance.target import OCTETS, Server, T

SECTION = "core: method override"
SPEC = "Core Protocol, Headers, X-HTTP-Method-Override"
NAME = "X-HTTP-Method-Override"
PATCH = {**T, **OCTETS, "Upload-Offset": "0", NAME: "PATCH"}


@row("CORE-OVR-01", MUST, "POST with X-HTTP-Method-Override: PATCH is a PATCH", spec=SPEC)
def test_patch(tus: Server) -> None:
    upload = tus.create(5)
    tus.send("POST", upload.path, PATCH, b"hello").one_of(204).is_("Upload-Offset", "5")
    tus.head(upload).is_("Upload-Offset", "5")


@row("CORE-OVR-02", MUST, "POST with X-HTTP-Method-Override: DELETE is a DELETE", spec=SPEC, needs="termination")
def test_delete(tus: Server) -> None:
    upload = tus.create(5)
    tus.send("POST", upload.path, {**T, NAME: "DELETE"}).one_of(204)
    expect(not tus.head(upload).fine, "HEAD still finds the upload")


@row("CORE-OVR-03", MUST, "The actual method is ignored where an override is given", spec=SPEC)
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_actual_method(tus: Server, method: str) -> None:
    upload = tus.create(5)
    if method == "PUT":
        tus.send("PUT", upload.path, PATCH, b"hello").one_of(204)
        return
    with tus.connect() as connection:
        connection.start("GET", upload.path, {**T, NAME: "HEAD"})
        # Whether a body follows is another question; this one is about the method.
        connection.interim().is_("Upload-Offset", "0")


@row("CORE-OVR-04", DECISION, "POST with an override to HEAD answers the headers of HEAD and no body", spec=SPEC)
def test_head(tus: Server) -> None:
    answer = tus.send("POST", tus.create(5).path, {**T, NAME: "HEAD"}).is_("Upload-Offset", "0")
    expect(answer.body == b"", f"the body has {len(answer.body)} bytes")


@row("CORE-OVR-05", DECISION, "The override is compared without case", spec=SPEC)
def test_case(tus: Server) -> None:
    tus.send("POST", tus.create(5).path, {**PATCH, NAME: "patch"}, b"hello").one_of(204)


@row("CORE-OVR-05", DECISION, "An unknown method in the override answers 405", spec=SPEC)
def test_unknown(tus: Server) -> None:
    tus.send("POST", tus.create(5).path, {**T, NAME: "FOO"}).one_of(405)


@row("CORE-OVR-06", MUST, "The version is checked for an overridden method too", spec=SPEC)
def test_version(tus: Server) -> None:
    upload = tus.create(5)
    tus.send("POST", upload.path, {**PATCH, "Tus-Resumable": "0.2.2"}, b"hello").one_of(412)
