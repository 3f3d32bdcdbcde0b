"""Many uploads: what is filled in, a small run from end to end, and what is claimed of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import options
from benchmarks.growth import command, report, sweep
from benchmarks.growth.fill import fill, left
from benchmarks.growth.rounds import Sizes
from tusd_py.models.limits import Durability
from tusd_py.models.upload import UploadState
from tusd_py.stores.sqlite import SqliteInfoStore

COUNT = 200


def test_fill_has_the_mix(tmp_path: Path) -> None:
    """Mostly finished uploads, some open, some expired with their file, and files without a row."""
    filled = fill(tmp_path / "data", COUNT)
    assert COUNT == len(filled.known) + len(filled.expired)
    assert 0 < len(filled.expired) < COUNT / 5
    assert len(filled.expired) == left(filled)
    assert all((filled.path / "uploads" / each[:2] / each).exists() for each in filled.expired)
    assert COUNT == filled.files
    assert filled.size() > COUNT


async def test_filled_rows_are_what_a_server_makes(tmp_path: Path) -> None:
    """Finished uploads are whole and never expire; the others wait for bytes."""
    import asyncio

    filled = await asyncio.to_thread(fill, tmp_path / "data", COUNT)
    store = SqliteInfoStore(filled.database, durability=Durability.NONE, read_only=True)
    await store.open()
    try:
        uploads = await store.list_uploads()
    finally:
        await store.close()
    finished = [each for each in uploads if each.state is UploadState.FINISHED]
    assert all(each.offset == each.length and each.expires_at is None for each in finished)
    assert 0.7 < len(finished) / len(uploads) < 0.9
    assert all(each.offset == each.synced_offset for each in uploads)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run with tiny sizes says, and that it leaves nothing behind."""
    place, file = tmp_path_factory.mktemp("place"), tmp_path_factory.mktemp("results") / "growth.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "QUICK", Sizes(10, 5))
        patch.setattr(sweep, "INTERVAL", 0.6)
        patch.setattr(options.signal, "signal", lambda *_: None)
        arguments = ["--quick", "--counts", "60", "--rounds", "1", "--place", str(place), "--json", str(file)]
        assert 0 == command.main(arguments)
    assert [] == list(place.iterdir())
    return dict(json.loads(file.read_text()))


def test_round_has_everything(results: dict[str, Any]) -> None:
    """Starts of four kinds, memory, requests of five kinds."""
    [row] = results["rows"]
    [one] = row["rounds"]
    assert 0 < one["ready"] < one["head"]
    assert all(one[name] > 0 for name in ("head_cold", "head_killed", "head_reboot", "resident"))
    assert 9 == one["first"]["count"] == one["again"]["count"] == one["disk"]["count"]
    assert 10 == one["unknown"]["count"]
    assert 5 == one["creation"]["count"]


def test_sweep_removes_all(results: dict[str, Any]) -> None:
    """What is expired is gone."""
    swept = results["rows"][0]["sweep"]
    assert 0 < swept["expired"] == swept["removed"]
    assert swept["cpu"] >= 0 < swept["head"]["count"]


def test_report_compares_with_the_fewest(results: dict[str, Any]) -> None:
    """Every p99 beside that of the fewest uploads; a sweep that failed is no figure."""
    few = results["rows"][0]
    twice = [few["rounds"][0] | {"again": few["rounds"][0]["again"] | {"p99": value}} for value in (1.0, 1.1)]
    thrice = [one | {"again": one["again"] | {"p99": one["again"]["p99"] * 3}} for one in twice]
    rows = [few | {"rounds": twice}, few | {"count": 1_000_000, "rounds": thrice, "sweep": None}]
    text = report.as_text(results | {"rows": rows})
    assert "| 1,000,000 | HEAD, again p99 | 3.00x of 60 | at most 2x | no |" in text
    assert "| 1,000,000 | HEAD, unknown p99 | 1.00x of 60 | at most 2x | yes |" in text
    assert "| 1,000,000 | – | – |" in text  # noqa: RUF001
    assert text.count("at most 2 s | yes |") == 1
