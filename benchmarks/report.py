"""What came out, as JSON and as Markdown. Markdown is made from the JSON, so a file tells as much as a run."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.rounds import Row
from benchmarks.subjects import BEFORE, OURS, UVLOOP
from benchmarks.verdicts import NO, UNITS, YES, figures, ratio, verdict
from benchmarks.workloads import DURABLE, NONE, Sizes, Workload

KIB, MIB = 2**10, 2**20
BUSY = 0.9
NOTHING = "\u2013"
BETTER = {YES: "better", NO: "worse"}

JSON = Mapping[str, Any]


def workload_as_json(workload: Workload, sizes: Sizes, rows: Sequence[Row]) -> dict[str, Any]:
    """Return everything about one workload."""
    return {
        "name": workload.name,
        "sentence": workload.sentence,
        "sizes": asdict(sizes),
        "metric": workload.metric,
        "memory": workload.memory,
        "targets": [asdict(each) | {"metric": each.metric or workload.metric} for each in workload.targets],
        "rows": [each.as_json() for each in rows],
    }


def as_text(results: JSON, deepest: int = 2) -> str:
    """Return all tables, under headings of this depth."""
    lines = [*_about(results), ""]
    for each in results["workloads"]:
        lines += [f"{'#' * deepest} {each['name']}", "", f"{each['sentence']} {sizes_of(each['sizes'])}", ""]
        lines += [*_figures(each), "", *_ratios(each), ""]
    if results["missing"]:
        lines += ["Not measured:", "", *(f"- {name}: missing: {why}" for name, why in results["missing"].items()), ""]
    return "\n".join(lines).rstrip()


def _about(results: JSON) -> Iterator[str]:
    yield f"{results['rounds']} rounds in turns, {kind_of(results['quick'])}."
    yield ""
    yield from about_lines(results["about"])
    seen = {row["subject"]: row for each in results["workloads"] for row in each["rows"] if row["version"]}
    for name, row in seen.items():
        yield f"| {name} | {row['version']}{'; ' if row['note'] else ''}{row['note']} |"
    share = _steal(results)
    if share is not None:
        yield f"| taken by the host | {share:.1%} of the CPU time |"


def kind_of(quick: bool) -> str:
    """Return how much was measured."""
    return "`--quick`: small sizes, for a first look" if quick else "full sizes"


def about_lines(where: Mapping[str, str]) -> Iterator[str]:
    """Return where a run took place, as a table."""
    yield "| | |"
    yield "|---|---|"
    for name, value in where.items():
        yield f"| {name} | {value} |"


def _steal(results: JSON) -> float | None:
    rounds = [one for each in results["workloads"] for row in each["rows"] for one in row["rounds"]]
    cores = int(results["about"]["cores"])
    wall = sum(one["wall"] for one in rounds)
    return sum(one["steal"] for one in rounds) / (wall * cores) if wall else None


def sizes_of(sizes: Mapping[str, int]) -> str:
    """Return sizes as people write them."""
    said = []
    if sizes["count"] > 1:
        said.append(f"{sizes['count']:,} times")
    if sizes["size"]:
        said.append(amount(sizes["size"]))
    if sizes["connections"] > 1:
        said.append(f"{sizes['connections']} connections")
    return "Here: " + ", ".join(said) + "."


def amount(size: int) -> str:
    """Return a number of bytes as people write it."""
    for unit, factor in (("GiB", 2**30), ("MiB", MIB), ("KiB", KIB)):
        if size >= factor:
            return f"{size / factor:.4g} {unit}"
    return f"{size} B"


def digits(value: float) -> str:
    """Return a figure with three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ranged(values: Sequence[float]) -> str:
    """Return the median with its range."""
    if not values:
        return NOTHING
    middle = digits(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} [{digits(min(values))}..{digits(max(values))}]"


def _figures(workload: JSON) -> Iterator[str]:
    rate = workload["metric"] == "rate"
    wall, cpu = ("per s", "CPU ms each") if rate else ("wall s", "CPU-s/GiB")
    # Small files have bytes, but what they cost is cost per file.
    yield f"| server | {wall} | {cpu} | p50 ms | peak RSS MiB | HEAD p99 ms | |"
    yield "|---|---|---|---|---|---|---|"
    for row in workload["rows"]:
        rounds = row["rounds"]
        if not rounds:
            yield f"| {row['subject']} |{f' {NOTHING} |' * 5} {row['reason']} |"
            continue
        counted = [{**each, "bytes": 0} for each in rounds] if rate else rounds
        peaks = [each["peak"] / MIB for each in rounds if each["peak"]]
        cells = [
            ranged(figures(rounds, "rate" if rate else "wall")),
            ranged(figures(counted, "cpu")),
            ranged([each["latency"]["p50"] for each in rounds if each["latency"]]),
            digits(max(peaks)) if peaks else NOTHING,
            ranged([each["head"]["p99"] for each in rounds if each["head"]]),
            "; ".join(_remarks(workload, row)),
        ]
        yield f"| {row['subject']} | {' | '.join(cells)} |"


def _remarks(workload: JSON, row: JSON) -> Iterator[str]:
    rounds = row["rounds"]
    shares = [each["client"] / each["wall"] for each in rounds if each["client"] is not None]
    if shares and statistics.median(shares) > BUSY:
        yield "the load generator was the limit"
    yield from row["remarks"]
    if workload["memory"]:
        added = [(each["peak"] - each["idle"]) / each["uploads"] for each in rounds if each["uploads"] and each["peak"]]
        if added:
            yield f"{amount(int(statistics.median(added)))} of memory per upload"


def _ratios(workload: JSON) -> Iterator[str]:
    """Return a line for each pair of a tusd-py and somebody else."""
    rows = {row["subject"]: row["rounds"] for row in workload["rows"] if row["rounds"]}
    lines = []
    for subject in OURS:
        same_level = f"before {subject.rpartition(' ')[2]}"
        # Who promises less is not compared with who syncs everything.
        strangers = (*OURS, *BEFORE, UVLOOP, *(DURABLE if subject == NONE else ()))
        foreign = (name for name in rows if name not in strangers)
        others = [*(name for name in rows if name == same_level or name.startswith(f"{subject} ")), *foreign]
        if subject in rows:
            lines += [line for other in others for line in _pair(workload, rows, subject, other)]
            lines += _memory(workload, subject, rows[subject])
    if lines:
        yield "| | against | in | times better | target | verdict |"
        yield "|---|---|---|---|---|---|"
        yield from lines


def _pair(workload: JSON, rows: JSON, subject: str, other: str) -> Iterator[str]:
    target = next(
        (each for each in workload["targets"] if (each["subject"], each["against"]) == (subject, other)), None
    )
    metric = target["metric"] if target else workload["metric"]
    if target is None and rows[other][0]["client"] is None:
        metric = "wall"  # what needs no server moves no byte over a connection: CPU time is no comparison
    ours, theirs = figures(rows[subject], metric), figures(rows[other], metric)
    if not ours or not theirs:
        return
    reached = verdict(ours, theirs, metric, target["ratio"] if target else 1)
    if target is None:
        reached = BETTER.get(reached, reached)
    aim = f"{target['ratio']:g}x" if target else NOTHING
    yield f"| {subject} | {other} | {UNITS[metric]} | {ratio(ours, theirs, metric):.2f}x | {aim} | {reached} |"


def _memory(workload: JSON, subject: str, rounds: Sequence[JSON]) -> Iterator[str]:
    if not workload["memory"] or not rounds:
        return
    added = [(each["peak"] - each["idle"]) / each["uploads"] for each in rounds]
    bound = [float(workload["memory"])] * len(added)
    reached = verdict(added, bound, "wall", 1)
    cells = ["memory per upload", f"{digits(statistics.median(added) / KIB)} KiB", f"{workload['memory'] // KIB} KiB"]
    yield f"| {subject} | {NOTHING} | {cells[0]} | {cells[1]} | at most {cells[2]} | {reached} |"
