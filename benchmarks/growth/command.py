"""The command line: `python -m benchmarks.growth`."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from typing import Any

from benchmarks import options as opt
from benchmarks.about import about
from benchmarks.client import Failed
from benchmarks.growth import report
from benchmarks.growth.fill import fill
from benchmarks.growth.rounds import MIB, Sizes, play
from benchmarks.growth.sweep import sweep
from benchmarks.options import Parser, tell
from benchmarks.rounds import calm_down, source_of

COUNTS, QUICK_COUNTS = (1_000, 100_000, 1_000_000), (1_000, 20_000)
ROUNDS, QUICK_ROUNDS = 5, 2
FULL, QUICK = Sizes(), Sizes(500, 200)
FEWEST, MOST = 20, 100_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print what came out; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    opt.check_json(parser, options.json)
    return opt.run(functools.partial(_measure, options), report.as_text, options.json)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    counts = sorted(set(options.counts or (QUICK_COUNTS if options.quick else COUNTS)))
    sizes = QUICK if options.quick else FULL
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    with opt.room(options.place) as place, source_of(place, MIB) as source:
        where = about(place)
        filled = []
        # All of them first: ext4 makes whoever creates files pay for those that were removed a little while ago.
        for count in counts:
            filled.append(fill(place / str(count), count))
            tell(f"{count:,} uploads: filled in {filled[-1].seconds:.1f} s")
        rows: list[dict[str, Any]] = [
            {"count": each.count, "files": each.files, "filled": each.seconds, "size": each.size(), "rounds": []}
            for each in filled
        ]
        for number in range(rounds):
            for each, row in zip(filled, rows, strict=True):
                calm_down()
                played = play(each, sizes, source, number)
                row["rounds"].append(played.as_json())
                tell(f"{each.count:,} uploads, round {number + 1}: first HEAD after {played.head:.2f} s")
        # Last, because it can be done once only, and removes files.
        for each, row in zip(filled, rows, strict=True):
            calm_down()
            try:
                row["sweep"] = sweep(each, source).as_json()
            except Failed as failed:
                row["sweep"] = None
                tell(f"{each.count:,} uploads, sweep: {failed}")
    return {"about": where, "quick": options.quick, "count": rounds, "heads": sizes.heads, "rows": rows}


def _parser() -> Parser:
    parser = Parser(prog="python -m benchmarks.growth", description="Measure what many uploads cost a tusd-py.")
    said = f"how many uploads there are ({' '.join(map(str, COUNTS))}; with --quick {' '.join(map(str, QUICK_COUNTS))})"
    parser.add_argument("--counts", nargs="+", type=_uploads, metavar="N", help=said)
    opt.add_rounds(parser, ROUNDS, QUICK_ROUNDS)
    opt.add_place(parser)
    opt.add_json(parser)
    return parser


def _uploads(text: str) -> int:
    if not text.isdecimal() or not FEWEST <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {FEWEST} to {MOST}")
    return int(text)
