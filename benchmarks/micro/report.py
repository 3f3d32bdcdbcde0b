"""What single requests and calls cost, as Markdown, beside an earlier run."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from benchmarks.options import JSON
from benchmarks.report import NOTHING, about_lines, kind_of, ranged

WITHIN = "within the spread"
MORE, LESS = "costs more", "costs less"


def as_text(results: JSON, against: JSON | None = None) -> str:
    """Return the table, with the difference to an earlier run."""
    lines = [f"{results['count']} rounds in turns, {kind_of(results['quick'])}.", "", *about_lines(results["about"])]
    lines += ["", *_table(results, against)]
    return "\n".join(lines)


def _table(results: JSON, against: JSON | None) -> Iterator[str]:
    more = ("", "") if against is None else (" before | difference | |", "---|---|---|")
    yield f"| for each | {results['unit']} |{more[0]}"
    yield f"|---|---|{more[1]}"
    for name, values in results["cases"].items():
        line = f"| {name} | {ranged(values)} |"
        if against is not None:
            line += f" {' | '.join(_difference(values, against['cases'].get(name, [])))} |"
        yield line


def _difference(ours: Sequence[float], before: Sequence[float]) -> tuple[str, str, str]:
    if not before:
        return NOTHING, NOTHING, ""
    now, then = statistics.median(ours), statistics.median(before)
    told = MORE if now > then else LESS
    # Two runs meet two states of the machine: more than the rounds of one differ must lie between them.
    if abs(now - then) <= max(max(each) - min(each) for each in (ours, before)):
        told = WITHIN
    return ranged(before), f"{now / then - 1:+.1%}", told
