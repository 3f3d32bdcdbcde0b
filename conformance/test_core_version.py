"""Core: Tus-Resumable and versions."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from conformance.rows import DECISION, MUST, expect, row
from conformance.target import OCTETS, Server, T, Upload
from conformance.wire import Answer

SECTION = "core: version"
SPEC = "Core Protocol, Headers, Tus-Resumable"
WRONG = {"Tus-Resumable": "0.2.2"}
METHODS = ("HEAD", "PATCH", "DELETE")


def ask(tus: Server, method: str, upload: Upload, headers: Mapping[str, str]) -> Answer:
    """Send a request that would work, but for its version."""
    if method == "DELETE" and "termination" not in tus.extensions:
        pytest.skip("termination is not advertised")
    if method == "PATCH":
        return tus.send("PATCH", upload.path, {**OCTETS, "Upload-Offset": "0", **headers}, b"hello")
    return tus.send(method, upload.path, headers)


@row("CORE-VER-01", MUST, "POST with a version that is not spoken answers 412", spec=SPEC, needs="creation")
def test_post(tus: Server) -> None:
    tus.post({"Upload-Length": "10", **WRONG}).one_of(412)


@row("CORE-VER-01", MUST, "The 412 to a POST has Tus-Version", spec=SPEC, needs="creation")
def test_post_says_version(tus: Server) -> None:
    answer = tus.post({"Upload-Length": "10", **WRONG})
    expect(answer.get("Tus-Version"), f"POST with version 0.2.2 answered {answer.status} without Tus-Version")


@row("CORE-VER-02", MUST, "A request with a version that is not spoken answers 412", spec=SPEC)
@pytest.mark.parametrize("method", METHODS)
def test_upload(tus: Server, method: str) -> None:
    ask(tus, method, tus.create(5), WRONG).one_of(412)


@row("CORE-VER-02", MUST, "The 412 has Tus-Version", spec=SPEC)
@pytest.mark.parametrize("method", METHODS)
def test_upload_says_version(tus: Server, method: str) -> None:
    answer = ask(tus, method, tus.create(5), WRONG)
    expect(answer.get("Tus-Version"), f"{method} with version 0.2.2 answered {answer.status} without Tus-Version")


@row("CORE-VER-02", MUST, "A request with a version that is not spoken is not processed", spec=SPEC)
@pytest.mark.parametrize("method", METHODS[1:])
def test_not_processed(tus: Server, method: str) -> None:
    upload = tus.create(5)
    with tus.unchanged(upload):
        ask(tus, method, upload, WRONG)


@row("CORE-VER-03", DECISION, "A request for an upload without Tus-Resumable answers 412", spec=SPEC)
@pytest.mark.parametrize("method", METHODS)
def test_missing(tus: Server, method: str) -> None:
    upload = tus.create(5)
    with tus.unchanged(upload):
        ask(tus, method, upload, {}).one_of(412)


@row("CORE-VER-03", DECISION, "POST without Tus-Resumable answers 412", spec=SPEC, needs="creation")
def test_missing_post(tus: Server) -> None:
    answer = tus.send("POST", tus.base, {"Upload-Length": "1"})
    if answer.get("Location"):
        tus.made.append(tus.path_of(answer.get("Location") or ""))
    answer.one_of(412)


@row("CORE-VER-04", DECISION, "HEAD of an unknown upload without Tus-Resumable answers 404", spec=SPEC)
def test_missing_unknown(tus: Server) -> None:
    tus.send("HEAD", tus.unknown()).one_of(404)


@row("CORE-VER-06", MUST, "Every answer has Tus-Resumable", spec=SPEC)
@pytest.mark.parametrize("what", ["POST", "HEAD", "PATCH", "DELETE", "unknown", "offset", "media type", "version"])
def test_every_answer(tus: Server, what: str) -> None:
    if what == "DELETE" and "termination" not in tus.extensions:
        pytest.skip("termination is not advertised")
    upload = tus.create(5)
    answers = {
        "POST": lambda: upload.answer,
        "HEAD": lambda: tus.head(upload),
        "PATCH": lambda: tus.patch(upload, 0, b"hello"),
        "DELETE": lambda: tus.delete(upload),
        "unknown": lambda: tus.head(tus.unknown()),
        "offset": lambda: tus.patch(upload, 3, b"lo"),
        "media type": lambda: tus.patch(upload, 0, b"hello", {"Content-Type": "text/plain"}),
        "version": lambda: tus.send("HEAD", upload.path, WRONG),
    }
    answers[what]().is_("Tus-Resumable", "1.0.0")


@row("CORE-VER-07", DECISION, "A version that two merged header lines repeat is one version", spec=SPEC)
def test_repeated(tus: Server) -> None:
    upload = tus.create(5)
    expect(tus.send("HEAD", upload.path, {"Tus-Resumable": f"{T['Tus-Resumable']}, 1.0.0"}).fine, "HEAD was refused")
