"""The first figures that people ask for: how many times as fast as the reference server, each of them on one core."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.report import NOTHING
from benchmarks.subjects import FSYNCED, SYNCED
from benchmarks.verdicts import figures, ratio
from benchmarks.workloads import NONE, PATCH

ROWS = {
    "one-big-body": "1 GiB in one PATCH",
    "many-100": "100 uploads of 20 MiB at a time",
    "chunks": "PATCHes of 1 MiB, one client",
    "chunks-8": "PATCHes of 1 MiB, eight clients",
    "small-files": "files of 10 KiB, 16 clients",
    "tiny-chunks": "PATCHes of 1 KiB, one client",
    "heads-64": "HEAD, 64 clients",
    "creations-64": "POST without body, 64 clients",
}
"""Workloads, and what they are called here."""
COLUMNS = (
    *((NONE, name) for name in SYNCED),
    *((PATCH, synced) for synced in SYNCED.values()),
    *((PATCH, name) for name in (FSYNCED, "tusd")),
)
"""Who is compared with whom: those that promise alike, and at last two that promise less."""


def as_text(results: Mapping[str, Any]) -> str:
    """Return a table of ratios of wall time, from what `python -m benchmarks --json` wrote."""
    return "\n".join(_lines(results))


def _lines(results: Mapping[str, Any]) -> Iterator[str]:
    titles = (f"`{ours.removeprefix('tusd-py ')}` : {theirs}" for ours, theirs in COLUMNS)
    yield f"| times as fast | {' | '.join(titles)} |"
    yield "|---|" + "---|" * len(COLUMNS)
    for each in results["workloads"]:
        if each["name"] in ROWS:
            rows = {row["subject"]: row["rounds"] for row in each["rows"] if row["rounds"]}
            cells = (_times(each["metric"], rows, ours, theirs) for ours, theirs in COLUMNS)
            yield f"| {ROWS[each['name']]} | {' | '.join(cells)} |"


def _times(metric: str, rows: Mapping[str, Any], ours: str, theirs: str) -> str:
    if ours not in rows or theirs not in rows:
        return NOTHING
    metric = "rate" if metric == "rate" else "wall"
    return f"{ratio(figures(rows[ours], metric), figures(rows[theirs], metric), metric):.2g}"
