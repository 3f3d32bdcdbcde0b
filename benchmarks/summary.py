"""The first figures that people ask for: how many times as fast as the reference server, each of them on one core."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.report import NOTHING
from benchmarks.subjects import SYNCED
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
    (NONE, "tusd", "`--durability none` : tusd"),
    (PATCH, SYNCED, "`--durability patch` : tusd, every write synced"),
    (PATCH, "tusd", "`--durability patch` : tusd, which syncs nothing"),
)
"""Who is compared with whom; the second promises the same as the first, where it can be had."""


def as_text(results: Mapping[str, Any]) -> str:
    """Return a table of ratios of wall time, from what `python -m benchmarks --json` wrote."""
    return "\n".join(_lines(results))


def _lines(results: Mapping[str, Any]) -> Iterator[str]:
    yield f"| times as fast | {' | '.join(title for _, _, title in COLUMNS)} |"
    yield "|---|" + "---|" * len(COLUMNS)
    for each in results["workloads"]:
        if each["name"] in ROWS:
            rows = {row["subject"]: row["rounds"] for row in each["rows"] if row["rounds"]}
            cells = (_times(each["metric"], rows, ours, theirs) for ours, theirs, _ in COLUMNS)
            yield f"| {ROWS[each['name']]} | {' | '.join(cells)} |"


def _times(metric: str, rows: Mapping[str, Any], ours: str, theirs: str) -> str:
    if ours not in rows or theirs not in rows:
        return NOTHING
    metric = "rate" if metric == "rate" else "wall"
    return f"{ratio(figures(rows[ours], metric), figures(rows[theirs], metric), metric):.2g}"
