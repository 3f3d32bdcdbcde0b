"""What came out about jobs and hooks, as Markdown, made from the JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.jobs import cost, hooks
from benchmarks.jobs.queue import PLACES, ROUNDS
from benchmarks.options import JSON
from benchmarks.report import BETTER, about_lines, digits, kind_of, ranged, sizes_of
from benchmarks.verdicts import figures, ratio, verdict

WAYS = {"posts": "POST", "patches": "PATCH"}
RATIOS = "| durability | | against | in | times better | verdict |"
HEAD = "|---|---|---|---|---|---|"


def as_text(results: JSON) -> str:
    """Return all tables."""
    lines = [f"{results['count']} rounds in turns, {kind_of(results['quick'])}.", "", *about_lines(results["about"])]
    for name, table in (("cost", _cost), ("queue", _queue), ("hooks", _hooks)):
        if name in results:
            lines += ["", *table(results[name])]
    return "\n".join(lines).rstrip()


def _cost(part: JSON) -> Iterator[str]:
    sizes = {"count": part["sizes"]["uploads"], "size": cost.SIZE, "connections": part["sizes"]["connections"]}
    yield f"Finishing uploads. {sizes_of(sizes)} *alone*: {part['sizes']['alone']:,} times, one connection."
    yield ""
    each_way = " | ".join(f"{way} per s | CPU ms each | jobs done after s" for way in WAYS.values())
    yield f"| durability | | alone p50 ms | p99 ms | {each_way} |"
    yield "|---" * 10 + "|"
    for row in part["rows"]:
        cells = [row["level"], row["subject"], *(ranged(_times(row, rank)) for rank in ("p50", "p99"))]
        for name in WAYS:
            rounds = _rounds(row, name)
            cells += [ranged(figures(rounds, "rate")), ranged(figures(rounds, "cpu"))]
            cells.append(ranged([each["after"] for each in rounds]))
        yield f"| {' | '.join(cells)} |"
    yield from ("", RATIOS, HEAD)
    for row, base in _pairs(part["rows"], cost.NONE):
        for rank in ("p50", "p99"):
            yield _ratio((row, base), f"alone {rank} ms", _times(row, rank), _times(base, rank), "wall")
        for name, way in WAYS.items():
            for metric, unit in (("rate", "per s"), ("cpu", "CPU ms each")):
                ours, theirs = (figures(_rounds(each, name), metric) for each in (row, base))
                yield _ratio((row, base), f"{way} {unit}", ours, theirs, metric)


def _queue(part: JSON) -> Iterator[str]:
    said = f"worked off once at durability `{part['level']}`; a range is that of {ROUNDS} parts of a queue"
    yield f"Jobs that were waiting when the server started, {said}."
    yield ""
    yield "| | jobs | job_concurrency | jobs per s |"
    yield "|---|---|---|---|"
    for row in part["rows"]:
        rate = ranged(figures(row["rounds"], "rate"))
        yield f"| {row['subject']} | {row['count']:,} | {row['places']} | {rate} |"
    yield from ("", f"| job_concurrency {PLACES[-1]} against {PLACES[0]} | times better | verdict |", "|---|---|---|")
    for few, many in zip(part["rows"][::2], part["rows"][1::2], strict=True):
        ours, theirs = (figures(each["rounds"], "rate") for each in (many, few))
        yield f"| {many['subject']} | {_compared(ours, theirs, 'rate')} |"


def _hooks(part: JSON) -> Iterator[str]:
    yield f"POST without body, {part['sizes']['connections']} at a time, with a `pre-create` hook."
    yield ""
    yield "| durability | | times | per s | p50 ms | p99 ms |"
    yield "|---|---|---|---|---|---|"
    for row in part["rows"]:
        cells = [row["level"], row["subject"], digits(row["count"]), ranged(figures(row["rounds"], "rate"))]
        cells += [ranged([each["latency"][rank] for each in row["rounds"]]) for rank in ("p50", "p99")]
        yield f"| {' | '.join(cells)} |"
    yield from ("", RATIOS, HEAD)
    for row, base in _pairs(part["rows"], hooks.NONE):
        ours, theirs = (figures(each["rounds"], "rate") for each in (row, base))
        yield _ratio((row, base), "per s", ours, theirs, "rate")


def _pairs(rows: Sequence[JSON], name: str) -> Iterator[tuple[JSON, JSON]]:
    """Yield each row and the one without anything at the same level."""
    bases = {row["level"]: row for row in rows if row["subject"] == name}
    return ((row, bases[row["level"]]) for row in rows if row["subject"] != name)


def _ratio(rows: tuple[JSON, JSON], what: str, ours: Sequence[float], theirs: Sequence[float], metric: str) -> str:
    row, base = rows
    compared = _compared(ours, theirs, metric)
    return f"| {row['level']} | {row['subject']} | {base['subject']} | {what} | {compared} |"


def _compared(ours: Sequence[float], theirs: Sequence[float], metric: str) -> str:
    reached = verdict(ours, theirs, metric, 1)
    return f"{ratio(ours, theirs, metric):.2f}x | {BETTER.get(reached, reached)}"


def _rounds(row: JSON, name: str) -> list[JSON]:
    return [each[name] for each in row["rounds"]]


def _times(row: JSON, rank: str) -> list[float]:
    return [each["alone"]["latency"][rank] for each in row["rounds"]]
