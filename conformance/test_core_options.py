"""Core: OPTIONS."""

from __future__ import annotations

import re

import pytest

from conformance.rows import DECISION, MUST, SHOULD, expect, row
from conformance.target import Server

SECTION = "core: OPTIONS"
SPEC = "Core Protocol, OPTIONS"
HEADERS = "Core Protocol, Headers"


@row("CORE-OPT-01", MUST, "OPTIONS answers 200 or 204 with Tus-Version", spec=SPEC)
def test_version(tus: Server) -> None:
    answer = tus.greeting.one_of(200, 204)
    expect("1.0.0" in answer.words("Tus-Version"), f"Tus-Version was {answer.get('Tus-Version') or 'absent'}")


@row("CORE-OPT-01", MUST, "The answer to OPTIONS has Tus-Resumable", spec=f"{HEADERS}, Tus-Resumable")
def test_resumable(tus: Server) -> None:
    tus.greeting.is_("Tus-Resumable", "1.0.0")


@row("CORE-OPT-01", DECISION, "OPTIONS answers 200 with an empty body", spec=SPEC)
def test_ok(tus: Server) -> None:
    tus.greeting.one_of(200)
    expect(tus.greeting.body == b"", f"OPTIONS answered a body of {len(tus.greeting.body)} bytes")


@row("CORE-OPT-02", MUST, "OPTIONS ignores Tus-Resumable", spec=SPEC)
def test_ignores_version(tus: Server) -> None:
    answer = tus.send("OPTIONS", tus.base, {"Tus-Resumable": "0.0.1"}).one_of(200, 204)
    expect("1.0.0" in answer.words("Tus-Version"), f"Tus-Version was {answer.get('Tus-Version') or 'absent'}")


@row("CORE-OPT-03", MUST, "Tus-Extension is a list of names, or absent", spec=f"{HEADERS}, Tus-Extension")
def test_extension(tus: Server) -> None:
    value = tus.greeting.get("Tus-Extension")
    if value is not None:
        expect(re.fullmatch(r"[a-z0-9-]+([ \t]*,[ \t]*[a-z0-9-]+)*", value), f"Tus-Extension was {value[:100]!r}")


@row("CORE-OPT-03", DECISION, "Tus-Extension has no spaces: some clients do not trim", spec=f"{HEADERS}, Tus-Extension")
def test_extension_spaces(tus: Server) -> None:
    value = tus.greeting.get("Tus-Extension") or ""
    expect(" " not in value, f"Tus-Extension was {value!r}")


@row("CORE-OPT-03", SHOULD, "A server implements the Creation extension and says so", spec="Creation")
def test_creation(tus: Server) -> None:
    expect("creation" in tus.extensions, f"Tus-Extension was {tus.greeting.get('Tus-Extension') or 'absent'}")


@row("CORE-OPT-04", MUST, "Tus-Max-Size is a non-negative integer, or absent", spec=f"{HEADERS}, Tus-Max-Size")
def test_max_size(tus: Server) -> None:
    value = tus.greeting.get("Tus-Max-Size")
    expect(value is None or re.fullmatch(r"\d+", value, re.ASCII), f"Tus-Max-Size was {value!r}")


@row("CORE-OPT-05", MUST, "Tus-Checksum-Algorithm lists lower-case names", spec="Checksum", needs="checksum")
def test_algorithms(tus: Server) -> None:
    value = tus.greeting.get("Tus-Checksum-Algorithm") or ""
    shape = re.fullmatch(r"[\x21-\x2b\x2d-\x40\x5b-\x7e]+([ \t]*,[ \t]*[\x21-\x2b\x2d-\x40\x5b-\x7e]+)*", value)
    expect(shape, f"Tus-Checksum-Algorithm was {value!r}")


@row("CORE-OPT-05", MUST, "The checksum algorithm sha1 is supported", spec="Checksum", needs="checksum")
def test_sha1(tus: Server) -> None:
    expect(
        "sha1" in tus.algorithms, f"Tus-Checksum-Algorithm was {tus.greeting.get('Tus-Checksum-Algorithm') or 'absent'}"
    )


@row("CORE-OPT-07", MUST, "A server that creates uploads advertises creation", spec="Creation")
def test_advertised(tus: Server) -> None:
    if "creation" not in tus.extensions:
        answer = tus.post({"Upload-Length": "1"})
        expect(answer.status != 201, "POST with Upload-Length answered 201, and Tus-Extension does not have creation")


@row("CORE-OPT-07", MUST, "What builds on creation is not offered without it", spec="Creation With Upload")
@pytest.mark.parametrize("name", ["creation-with-upload"])
def test_depends(tus: Server, name: str) -> None:
    expect(name not in tus.extensions or "creation" in tus.extensions, f"{name} is advertised and creation is not")


@row(
    "CORE-OPT-06",
    DECISION,
    "OPTIONS of an upload answers as OPTIONS of the creation URL: preflights go there",
    spec=SPEC,
)
def test_upload(tus: Server) -> None:
    upload = tus.create(1)
    answer = tus.send("OPTIONS", upload.path).one_of(200, 204)
    expect(answer.get("Tus-Version"), "OPTIONS of an upload answered without Tus-Version")


@row("CORE-OPT-06", DECISION, "The creation URL works with and without a slash at its end, unredirected", spec=SPEC)
def test_slash(tus: Server) -> None:
    path = tus.base.partition("?")[0]
    other = path.rstrip("/") if path.endswith("/") and path != "/" else path + "/"
    tus.send("OPTIONS", other or "/").one_of(200, 204)
