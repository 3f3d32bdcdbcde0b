"""Servers and load generator may have processors of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.processors import on, shared_out
from benchmarks.rounds import Stage, play
from benchmarks.site import Outcome, Site
from benchmarks.subjects import NAIVE, Choice, find
from benchmarks.workloads import KIB, WORKLOADS, Sizes


def test_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers have the last ones, the load generator the others; it has to share when there are none."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 2, 3})
    assert ({4}, {2, 3}) == shared_out(1)
    assert ({2, 3, 4}, {2, 3, 4}) == shared_out(3) == shared_out(None)


def test_only_until_the_end() -> None:
    """What is bound to some processors is free again afterwards."""
    before = os.sched_getaffinity(0)
    one = {min(before)}
    with on(one):
        assert one == os.sched_getaffinity(0)
    assert before == os.sched_getaffinity(0)


def test_servers_run_there(tmp_path: Path) -> None:
    """A server has only those it is given, and nobody else has fewer for it."""
    before = os.sched_getaffinity(0)
    one = {max(before)}
    seen: list[set[int]] = []

    def look(site: Site, _: Sizes) -> Outcome:
        seen.append(os.sched_getaffinity(site.server.pid))
        return Outcome(1.0)

    workload = next(each for each in WORKLOADS if each.name == "chunks")
    workload = workload.__class__(
        workload.name, workload.sentence, look, Sizes(KIB), None, "wall", (NAIVE,)
    )  # fmt: skip
    stage = Stage(1, {NAIVE: find(NAIVE, Choice(tmp_path, {}))}, (), tmp_path, lambda _: None, processors=one)
    (row,) = play(workload, workload.full, stage)
    assert "" == row.reason
    assert [one] == seen
    assert before == os.sched_getaffinity(0)
