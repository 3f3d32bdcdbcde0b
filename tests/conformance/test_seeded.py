"""The suite finds faults: our server with one thing broken is caught by the row that is about it."""

from __future__ import annotations

import re

import pytest

from tests.conformance.asking import ask, failing
from tests.conformance.broken import Break, answers, broken, drops, ignores, says

ORIGIN = "Access-Control-Allow-Origin"


def off_by_one(value: str) -> str:
    """Return a number that is one too much."""
    return str(int(value) + 1)


SEEDED = [
    ("core_options", "CORE-OPT-01", "MUST", drops("Tus-Version", methods="OPTIONS")),
    ("core_options", "CORE-OPT-07", "MUST", drops("Tus-Extension")),
    ("core_options", "CORE-OPT-05", "MUST", says("Tus-Checksum-Algorithm", lambda _: "md5")),
    ("core_options", "CORE-OPT-02", "MUST", answers("OPTIONS", 200, 412)),
    ("core_version", "CORE-VER-01", "MUST", ignores("Tus-Resumable", instead="1.0.0")),
    ("core_version", "CORE-VER-01", "MUST", drops("Tus-Version", methods="POST")),
    ("core_version", "CORE-VER-06", "MUST", drops("Tus-Resumable", methods="PATCH")),
    ("core_head", "CORE-HEAD-01", "MUST", drops("Cache-Control")),
    ("core_head", "CORE-HEAD-01", "MUST", drops("Upload-Offset", methods="HEAD")),
    ("core_head", "CORE-HEAD-02", "MUST", says("Upload-Offset", off_by_one, "HEAD")),
    ("core_head", "CORE-HEAD-07", "SHOULD", answers("HEAD", 404, 200)),
    ("core_patch", "CORE-PATCH-01", "MUST", answers("PATCH", 204, 200)),
    ("core_patch", "CORE-PATCH-02", "MUST", says("Upload-Offset", off_by_one, "PATCH")),
    ("core_patch", "CORE-PATCH-03", "SHOULD", ignores("Content-Type", "PATCH", "application/offset+octet-stream")),
    ("core_patch", "CORE-PATCH-06", "MUST", answers("PATCH", 409, 400)),
    ("core_override", "CORE-OVR-01", "MUST", ignores("X-HTTP-Method-Override")),
    ("creation", "CRE-POST-01", "MUST", answers("POST", 201, 200)),
    ("creation", "CRE-POST-02", "MUST", says("Location", lambda value: re.sub(r"\w+$", "elsewhere", value))),
    ("creation", "CRE-POST-08", "MUST", ignores("Upload-Length", "POST", "7")),
    ("creation_metadata", "CRE-META-01", "MUST", drops("Upload-Metadata")),
    ("creation_with_upload", "CWU-01", "MUST", drops("Upload-Offset", methods="POST")),
    ("creation_defer_length", "CORE-HEAD-03", "MUST", drops("Upload-Defer-Length")),
    ("creation_defer_length", "DEF-01", "MUST", ignores("Upload-Length", "PATCH")),
    ("checksum", "CSUM-02", "MUST", ignores("Upload-Checksum")),
    ("termination", "TERM-01", "MUST", answers("DELETE", 204, 200)),
    ("expiration", "EXP-01", "MUST", says("Upload-Expires", lambda _: "2027-01-01T00:00:00Z")),
    ("expiration", "EXP-02", "MUST", drops("Upload-Expires", methods="PATCH")),
    ("concatenation", "CAT-02", "MUST", says("Upload-Length", off_by_one, "HEAD")),
    ("concatenation", "CAT-15", "MUST", answers("PATCH", 403, 409)),
    ("cors", "CORS-04", "DECISION", drops(ORIGIN, methods="HEAD PATCH")),
    ("download", "GET-03", "DECISION", answers("GET", 404, 200)),
]


@pytest.mark.parametrize(
    ("section", "row", "level", "fault"), SEEDED, ids=[f"{e[1]}-{i}" for i, e in enumerate(SEEDED)]
)
async def test_caught(section: str, row: str, level: str, fault: Break) -> None:
    """A broken reply is caught by the row that is about it, at its level; only a MUST costs the exit code."""
    async with broken(fault) as url:
        code, report = await ask(url, "--section", section)
    assert row in failing(report, level)
    assert (1 if failing(report, "MUST") else 0) == code


async def test_front_breaks_nothing() -> None:
    """What fails behind the front fails because of the fault: without one nothing does."""
    sections = sorted({each[0] for each in SEEDED})
    async with broken() as url:
        code, report = await ask(url, *(word for section in sections for word in ("--section", section)))
    assert set() == failing(report)
    assert 0 == code


async def test_location_elsewhere_is_not_followed() -> None:
    """A Location that points to another host is said so; all requests go where the user said."""
    async with broken(says("Location", lambda value: re.sub(r"//[^/]+", "//192.0.2.1:9", value))) as url:
        code, report = await ask(url, "--section", "creation", "--section", "core_patch")
    assert {"CRE-POST-02"} == failing(report)
    assert 0 == code
    assert len(report["notes"]) == 1
    assert "http://192.0.2.1:9" in report["notes"][0]
