"""Ratios are right, and nothing is claimed that the rounds do not show."""

from __future__ import annotations

import pytest

from benchmarks.verdicts import NO, ONCE, SPREAD, YES, figures, ratio, verdict


def round_of(wall: float, cpu: float | None = None, size: int = 0, operations: int = 0) -> dict[str, float | None]:
    return {"wall": wall, "cpu": cpu, "bytes": size, "operations": operations}


def test_figures() -> None:
    """CPU time is per GiB where bytes count, else per 1,000 operations; a rate is per second."""
    assert [4.0, 6.0] == figures([round_of(1, 2, 2**29), round_of(1, 3, 2**29)], "cpu")
    assert [20.0] == figures([round_of(1, 2, 0, 100)], "cpu")
    assert [50.0] == figures([round_of(2, 2, 0, 100)], "rate")
    assert [2] == figures([round_of(2)], "wall")
    assert [] == figures([round_of(2)], "cpu") + figures([round_of(2)], "rate")


def test_ratio_is_of_medians_and_more_is_better() -> None:
    """Less time and more requests are both written as a number above one."""
    assert 3 == ratio([1, 2, 9], [6, 6, 1], "cpu")
    assert 3 == ratio([30, 30], [10, 10], "rate")


@pytest.mark.parametrize(
    ("ours", "theirs", "metric", "target", "said"),
    [
        ([1.0, 1.1], [3.4, 3.5], "wall", 3, YES),
        ([1.0, 1.1], [2.8, 2.9], "wall", 3, NO),
        ([1.0, 1.1], [3.0, 3.5], "wall", 3, SPREAD),
        ([1.0, 1.3], [1.2, 1.5], "cpu", 1, SPREAD),
        ([1.0, 2.0], [1.2, 1.3], "cpu", 1, SPREAD),
        ([310, 320], [100, 102], "rate", 3, YES),
        ([290, 295], [100, 102], "rate", 3, NO),
        ([290, 320], [100, 102], "rate", 3, SPREAD),
        ([60, 62], [100, 102], "rate", 0.6, SPREAD),
        ([64, 65], [100, 102], "rate", 0.6, YES),
        ([1.0], [5.0], "wall", 3, ONCE),
    ],
)
def test_verdict(ours: list[float], theirs: list[float], metric: str, target: float, said: str) -> None:
    """Where the ranges overlap, one of them scaled by the target, there is no verdict."""
    assert said == verdict(ours, theirs, metric, target)
