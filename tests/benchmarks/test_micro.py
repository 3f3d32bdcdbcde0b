"""What single requests cost: a small run, the comparison with an earlier one, and what perf says."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks import options
from benchmarks.client import Failed
from benchmarks.micro import command, counting, report
from benchmarks.micro.cases import Sizes

CASES = 14


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny sizes, CPU time, and the signals of pytest."""
    monkeypatch.setattr(command, "QUICK", Sizes(3, 2, 5))
    monkeypatch.setattr(command, "unit", lambda: counting.CPU)
    monkeypatch.setattr(options.signal, "signal", lambda *_: None)


def test_run_and_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every case has a figure in every round; a later run stands beside it."""
    place, file = tmp_path / "place", tmp_path / "micro.json"
    place.mkdir()
    arguments = ["--quick", "--rounds", "1", "--place", str(place)]
    assert 0 == command.main([*arguments, "--json", str(file)])
    assert [] == list(place.iterdir())
    found = json.loads(file.read_text())
    assert CASES == len(found["cases"])
    assert all(1 == len(each) and each[0] > 0 for each in found["cases"].values())
    found["cases"]["HEAD"] = [1.0]
    assert "| HEAD | 2 | 1 | +100.0% | costs more |" in report.as_text(found | {"cases": {"HEAD": [2.0]}}, found)


def shown(ours: list[float], before: list[float]) -> str:
    results: dict[str, Any] = {"count": 1, "quick": False, "about": {}, "unit": "x"}
    said = report.as_text(results | {"cases": {"a": ours}}, {"cases": {"a": before}} if before else {"cases": {}})
    return said.splitlines()[-1].rpartition(" | ")[2]


def test_difference_within_the_spread_is_none() -> None:
    """A regression is claimed when it is larger than what rounds differ."""
    assert "costs more |" == shown([110, 111], [100, 101])
    assert "costs less |" == shown([100, 101], [110, 111])
    assert "within the spread |" == shown([105, 125], [95, 105])
    assert "|" == shown([1.0], []).strip()


def test_perf_is_read() -> None:
    """The line of the event counts; a machine that cannot count says so."""
    assert 1234 == counting.parse("Events enabled\n1234,,instructions:u,5,100.00,,\n", "instructions:u")
    with pytest.raises(Failed, match="perf counted nothing"):
        counting.parse("<not supported>,,instructions:u,0,100.00,,\n", "instructions:u")


def test_perf_is_told_when() -> None:
    """It counts during the block only. Any event will do."""
    if shutil.which("perf") is None:
        pytest.skip("NOT RUN: perf is not there")
    with counting.counting(os.getpid(), counting.INSTRUCTIONS, "task-clock:u") as figure:
        sum(range(1_000_000))
    assert 0 < figure[0] < 10_000


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is no file of results"),
        ("[]", "is no file of results"),
        ('{"unit": "instructions", "cases": {}}', "counts instructions, here is counted CPU us"),
    ],
)
def test_bad_earlier_run(text: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence on stderr, exit code 2, nothing measured."""
    file = tmp_path / "earlier.json"
    file.write_text(text)
    with pytest.raises(SystemExit) as ended:
        command.main(["--against", str(file)])
    assert 2 == ended.value.code
    assert sentence in (errors := capsys.readouterr().err)
    assert 1 == errors.count("\n")
