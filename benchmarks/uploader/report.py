"""What came out about uploaders, as Markdown, made from the JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.options import JSON
from benchmarks.report import BETTER, about_lines, amount, digits, kind_of, ranged
from benchmarks.uploader.runs import CURL, OURS, PARALLEL, TUSPY
from benchmarks.verdicts import GIB, figures, ratio, verdict

_MIB = 2**20
_WALL, _CPU = "wall", "cpu"


def as_text(results: JSON) -> str:
    """Return all tables."""
    lines = [f"{results['count']} rounds in turns, {kind_of(results['quick'])}.", "", *about_lines(results["about"])]
    lines += [f"| {row['subject']} | {row['version']} |" for row in results["rows"] if row["level"] == "none"]
    lines += ["", f"One file of {amount(results['size'])}, from the start of the command to its end.", ""]
    lines += _figures(results["rows"])
    lines += ["", *_ratios(results["rows"])]
    if results["missing"]:
        lines += ["", "Not measured:", "", *(f"- {name}: {why}" for name, why in results["missing"].items())]
    return "\n".join(lines)


def _figures(rows: Sequence[JSON]) -> Iterator[str]:
    yield "| durability | | wall s | GiB/s | CPU-s/GiB | CPU-s/GiB of the server | peak RSS MiB | |"
    yield "|---" * 8 + "|"
    for row in rows:
        rounds = row["rounds"]
        speeds = [each["bytes"] / GIB / each["wall"] for each in rounds]
        served = [each["server"] / (each["bytes"] / GIB) for each in rounds]
        cells = [
            row["level"], row["subject"], ranged(figures(rounds, _WALL)), ranged(speeds), ranged(figures(rounds, _CPU)),
            ranged(served), digits(max(each["peak"] for each in rounds) / _MIB), row["note"],
        ]  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def _ratios(rows: Sequence[JSON]) -> Iterator[str]:
    yield "| durability | | against | in | times better | verdict |"
    yield "|---" * 6 + "|"
    known = {(row["level"], row["subject"]): row["rounds"] for row in rows}
    for (level, subject), rounds in known.items():
        others = (OURS, TUSPY, CURL) if subject == PARALLEL else (TUSPY, CURL)
        for other in others if subject in (OURS, PARALLEL) else ():
            for metric, unit in ((_WALL, "wall s"), (_CPU, "CPU-s/GiB")):
                if (level, other) not in known:
                    continue
                ours, theirs = figures(rounds, metric), figures(known[level, other], metric)
                reached = verdict(ours, theirs, metric, 1)
                said = f"{ratio(ours, theirs, metric):.2f}x | {BETTER.get(reached, reached)}"
                yield f"| {level} | {subject} | {other} | {unit} | {said} |"
