"""What came out about memory, as Markdown, made from the JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.options import JSON
from benchmarks.report import KIB, MIB, NOTHING, about_lines, amount, digits, kind_of, ranged
from benchmarks.verdicts import within

EACH = 300 * KIB
"""Most bytes for each request that is open (reliability: I19)."""
UNTOUCHED = KIB // 4
"""Most bytes for an upload that nobody asks for: nothing, as far as an allocator lets that be seen."""
GROWN = MIB
"""Bytes by which peaks with bodies of different size may differ."""


def as_text(results: JSON) -> str:
    """Return all tables."""
    rows = results["rows"]
    lines = [f"{results['count']} rounds, {kind_of(results['quick'])}.", "", *about_lines(results["about"]), ""]
    for name, table in (("rest", _rest), ("crowd", _crowds), ("body", _bodies)):
        if any(_measured(rows, name)):
            lines += [*table(rows), ""]
    missing = [f"- {name_of(row)}: NOT RUN: {row['reason']}" for row in rows if row["reason"]]
    if missing:
        lines += ["Not measured:", "", *missing]
    return "\n".join(lines).rstrip()


def _rest(rows: Sequence[JSON]) -> Iterator[str]:
    yield "| for each | there were | RSS before MiB | RSS with them MiB | KiB each | target | verdict |"
    yield "|---|---|---|---|---|---|---|"
    for row in _measured(rows, "rest"):
        bound = EACH if row["what"].startswith("connection") else UNTOUCHED
        cells = [row["what"], f"{row['count']:,}", *_base_and_peak(row)]
        yield f"| {' | '.join([*cells, *_against(_added(row), bound)])} |"


def _crowds(rows: Sequence[JSON]) -> Iterator[str]:
    yield (
        "| clients | at once | upload | received by | durability | base RSS MiB | peak RSS MiB | HEAD p99 ms "
        "| KiB per upload | target | verdict |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for row in _measured(rows, "crowd"):
        cells = [row["what"], f"{row['count']:,}", amount(row["size"]), row["way"], row["level"], *_base_and_peak(row)]
        heads = [each["head"]["p99"] for each in row["rounds"] if each["head"]]
        yield f"| {' | '.join([*cells, ranged(heads), *_against(_added(row), EACH)])} |"


def _bodies(rows: Sequence[JSON]) -> Iterator[str]:
    yield "| upload | received by | base RSS MiB | peak RSS MiB | more KiB | target | verdict |"
    yield "|---|---|---|---|---|---|---|"
    smallest: dict[str, JSON] = {}
    for row in _measured(rows, "body"):
        few = smallest.setdefault(row["way"], row)
        cells = [amount(row["size"]), row["way"], *_base_and_peak(row), ranged([each / KIB for each in _added(row)])]
        aim, reached = NOTHING, ""
        if few is not row:
            aim = f"at most {GROWN // KIB:,} KiB more than {amount(few['size'])}"
            more = [ours - theirs for ours, theirs in zip(_added(row), _added(few), strict=True)]
            reached = within(more, GROWN)
        yield f"| {' | '.join([*cells, aim, reached])} |"


def _measured(rows: Sequence[JSON], table: str) -> Iterator[JSON]:
    return (row for row in rows if row["table"] == table and row["rounds"])


def _added(row: JSON) -> list[float]:
    return [(each["peak"] - each["base"]) / row["count"] for each in row["rounds"]]


def _base_and_peak(row: JSON) -> tuple[str, str]:
    base, peak = ([each[name] / MIB for each in row["rounds"]] for name in ("base", "peak"))
    return ranged(base), ranged(peak)


def _against(added: Sequence[float], bound: int) -> tuple[str, str, str]:
    return ranged([each / KIB for each in added]), f"at most {digits(bound / KIB)}", within(added, bound)


def name_of(row: JSON) -> str:
    """Return how a case is called."""
    said = [row["what"], f"{row['count']:,}", row["way"], row["level"]]
    return ", ".join(each for each in said if each)
