"""Our own server passes every row of the suite, what we decided included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conformance.asking import ask
from tests.conftest import StartServer
from tests.support.servers import Target, process

EXTENSIONS = ["creation-with-upload", "creation-defer-length", "termination", "concatenation", "checksum", "expiration"]


def faults(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what failed, and why."""
    return [(row["id"], row["observed"]) for row in report["rows"] if row["result"] == "failed"]


async def test_every_row(server: Target) -> None:
    """With default settings nothing fails, and only rows about a maximum and about trailers are not asked."""
    code, report = await ask(server.url)
    assert [] == faults(report)
    assert 0 == code
    assert len(report["rows"]) > 250
    left_out = {row["observed"] for row in report["rows"] if row["result"] == "not applicable"}
    assert left_out <= {"max-size is not advertised", "concatenation-unfinished is not advertised"}


@pytest.mark.parametrize(
    "settings",
    [{"max_size": 100_000}, {"relative_location": True}, {"disable_extension": EXTENSIONS}],
    ids=["maximum", "relative Location", "bare"],
)
async def test_other_settings(start_server: StartServer, settings: dict[str, Any]) -> None:
    """No MUST and no SHOULD fails with other settings: what is switched off is not asked."""
    target = await start_server(**settings)
    code, report = await ask(
        target.url, "--section", "core_options", "--section", "creation", "--section", "checksum", "--section",
        "concatenation", "--section", "creation_defer_length", "--section", "termination",
    )  # fmt: skip
    assert [] == [each for each in faults(report) if each[0] != "CRE-POST-02"]
    assert 0 == code


async def test_on_uvloop(tmp_path: Path) -> None:
    """On the other event loop every row is the same, and the server leaves as it should."""
    async with process(tmp_path / "data", event_loop="uvloop", data_plane_from=1) as target:
        assert target.process is not None
        assert "uvloop" in Path(f"/proc/{target.process.pid}/maps").read_text(encoding="utf-8")
        code, report = await ask(target.url)
    assert [] == faults(report)
    assert 0 == code


async def test_leaves_nothing(server: Target) -> None:
    """Uploads that the suite makes are terminated."""
    before = {path for path in server.data_dir.rglob("*") if path.is_file() and path.parent.parent.name == "uploads"}
    await ask(server.url, "--section", "core_patch", "--section", "creation_with_upload")
    after = {path for path in server.data_dir.rglob("*") if path.is_file() and path.parent.parent.name == "uploads"}
    assert before == after
