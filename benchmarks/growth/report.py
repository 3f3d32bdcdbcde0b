"""What came out about many uploads, as Markdown, made from the JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from benchmarks.options import JSON
from benchmarks.report import MIB, NOTHING, about_lines, digits, kind_of, ranged
from benchmarks.verdicts import verdict, within

AT_MOST = 2.0
"""How many times the p99 of the fewest uploads another p99 may be."""
FIRST_HEAD = 2.0
"""Seconds from executing a server to its first answer (reliability: I18) ..."""
FIRST_HEAD_AT = 100_000
"""... with so many uploads."""
MORE_MEMORY = 50 * MIB
"""Bytes that a server with many uploads may have more than one with few, right after it started."""
ASKED = {
    "first": "HEAD, first", "again": "HEAD, again", "disk": "HEAD, from disk", "unknown": "HEAD, unknown",
    "creation": "creation",
}  # fmt: skip


def as_text(results: JSON) -> str:
    """Return all tables."""
    rows = results["rows"]
    lines = [f"{results['count']} rounds in turns, {kind_of(results['quick'])}.", "", *about_lines(results["about"])]
    lines += ["", *_starts(rows), "", *_requests(rows), "", *_sweeps(rows), "", *_targets(rows)]
    return "\n".join(lines).rstrip()


def _starts(rows: Sequence[JSON]) -> Iterator[str]:
    yield (
        "| uploads | database MiB | data files | ready s | first HEAD s | cold s | after kill -9 s "
        "| after a reboot s | RSS MiB |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        cells = [f"{row['count']:,}", digits(row["size"] / MIB), f"{row['files']:,}"]
        cells += [ranged(_of(row, name)) for name in ("ready", "head", "head_cold", "head_killed", "head_reboot")]
        yield f"| {' | '.join([*cells, ranged([each / MIB for each in _of(row, 'resident')])])} |"


def _requests(rows: Sequence[JSON]) -> Iterator[str]:
    yield "| uploads | " + " | ".join(f"{name} p50 ms | p99 ms" for name in ASKED.values()) + " |"
    yield "|---" * (1 + 2 * len(ASKED)) + "|"
    for row in rows:
        cells = [ranged(_times(row, name, rank)) for name in ASKED for rank in ("p50", "p99")]
        yield f"| {row['count']:,} | {' | '.join(cells)} |"


def _sweeps(rows: Sequence[JSON]) -> Iterator[str]:
    yield "| uploads | expired | removed | s | per s | CPU ms each | HEAD p99 ms before | meanwhile |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        swept = row["sweep"]
        if swept is None:
            yield f"| {row['count']:,} |{f' {NOTHING} |' * 7}"
            continue
        cells = [f"{swept[name]:,}" for name in ("expired", "removed")]
        cells += [digits(swept["wall"]), digits(swept["removed"] / swept["wall"]) if swept["wall"] else NOTHING]
        cells.append(digits(swept["cpu"] / swept["removed"] * 1000) if swept["removed"] else NOTHING)
        cells += [digits(swept[name]["p99"]) if swept[name] else NOTHING for name in ("idle", "head")]
        yield f"| {row['count']:,} | {' | '.join(cells)} |"


def _targets(rows: Sequence[JSON]) -> Iterator[str]:
    yield "| uploads | | is | target | verdict |"
    yield "|---|---|---|---|---|"
    few = rows[0]
    for row in rows[1:]:
        for name, title in ASKED.items():
            ours, theirs = _times(row, name, "p99"), _times(few, name, "p99")
            if ours and theirs:
                is_now = f"{statistics.median(ours) / statistics.median(theirs):.2f}x of {few['count']:,}"
                reached = verdict(ours, theirs, "wall", 1 / AT_MOST)
                yield f"| {row['count']:,} | {title} p99 | {is_now} | at most {AT_MOST:g}x | {reached} |"
    for row in rows[1:]:
        base = statistics.median(_of(few, "resident"))
        more = [each - base for each in _of(row, "resident")]
        aim = f"at most {MORE_MEMORY // MIB} MiB"
        said = f"{digits(statistics.median(more) / MIB)} MiB more than {few['count']:,}"
        yield f"| {row['count']:,} | RSS after the start | {said} | {aim} | {within(more, MORE_MEMORY)} |"
    for row in rows:
        times = _of(row, "head_killed")
        # What is promised is promised up to a number of uploads.
        aim, reached = NOTHING, ""
        if row["count"] <= FIRST_HEAD_AT:
            aim, reached = f"at most {FIRST_HEAD:g} s", within(times, FIRST_HEAD)
        yield f"| {row['count']:,} | first HEAD after kill -9 | {ranged(times)} s | {aim} | {reached} |"


def _of(row: JSON, name: str) -> list[float]:
    return [each[name] for each in row["rounds"]]


def _times(row: JSON, name: str, rank: str) -> list[float]:
    return [each[name][rank] for each in row["rounds"] if each[name]]
