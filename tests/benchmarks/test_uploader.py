"""Uploaders side by side: a small run from end to end, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import options
from benchmarks.client import Failed
from benchmarks.uploader import command, report, runs

SIZE = 3 * 2**20 + 1


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run with a small file says, and that it leaves nothing behind."""
    place, file = tmp_path_factory.mktemp("place"), tmp_path_factory.mktemp("results") / "uploader.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "QUICK", SIZE)
        patch.setattr(options.signal, "signal", lambda *_: None)
        assert 0 == command.main(["--quick", "--place", str(place), "--json", str(file)])
    assert [] == list(place.iterdir())
    return dict(json.loads(file.read_text()))


def test_each_uploader_is_measured(results: dict[str, Any]) -> None:
    """Ours in both ways and tuspy at both levels, in each round; who is missing is named."""
    measured = {(row["level"], row["subject"]): row["rounds"] for row in results["rows"]}
    for level in ("none", "patch"):
        for subject in (runs.OURS, runs.PARALLEL, runs.TUSPY):
            rounds = measured[level, subject]
            assert 2 == len(rounds)
            assert all(each["bytes"] >= SIZE and each["wall"] > 0 < each["cpu"] for each in rounds)
            assert all(each["peak"] > 2**20 for each in rounds)
    assert (runs.CURL in results["missing"]) != (("none", runs.CURL) in measured)
    assert ("patch", runs.CURL) not in measured


def test_report_compares_with_the_others(results: dict[str, Any]) -> None:
    """Ratios to tuspy at each level; versions and what was missing are said."""
    text = report.as_text(results)
    assert 2 == text.count(f"| {runs.OURS} | {runs.TUSPY} | wall s |")
    assert 2 == text.count(f"| {runs.PARALLEL} | {runs.OURS} | wall s |")
    assert f"| {runs.TUSPY} | 1.1.0 |" in text
    assert "chunks of 64 MiB" in text


def test_upload_that_does_not_arrive_is_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that ends well without having sent anything ends the run."""
    liar = runs.Uploader("liar", ("true",), "1")
    monkeypatch.setattr(runs, "uploaders", lambda: iter([liar]))
    with options.room(tmp_path) as place, command.source_of(place, SIZE) as source, pytest.raises(Failed, match="liar"):
        runs.measure(SIZE, 1, place, source)
