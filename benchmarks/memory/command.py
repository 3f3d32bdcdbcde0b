"""The command line: `python -m benchmarks.memory`."""

from __future__ import annotations

import argparse
import functools
import shutil
from collections.abc import Sequence
from typing import Any

from benchmarks import options as opt
from benchmarks.about import about
from benchmarks.client import Failed
from benchmarks.memory import report
from benchmarks.memory.cases import FAST, FROZEN, MIB, SLOW, Sizes, as_json, cases
from benchmarks.options import Parser, tell
from benchmarks.rounds import RESERVE, calm_down, more_files, source_of
from conformance.peers import NotRun

ROUNDS, QUICK_ROUNDS = 3, 1
FULL = Sizes()
QUICK = Sizes(((20, 4 * MIB), (100, 2 * MIB)), 3.0, 200, 2_000, (16 * MIB, 128 * MIB))
PARTS = {
    "connections": "connection, idle", "open": "open upload, not touched", "finished": "finished upload, not touched",
    "slow": SLOW, "fast": FAST, "frozen": FROZEN, "sizes": "body",
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print what came out; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    opt.check_json(parser, options.json)
    return opt.run(functools.partial(_measure, options), report.as_text, options.json)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    sizes = QUICK if options.quick else FULL
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    wanted = {PARTS[each] for each in options.only or PARTS}
    chosen = [each for each in cases(sizes) if (each.table if each.table == "body" else each.what) in wanted]
    rows = [each.as_json() for each in chosen]
    more_files()
    with opt.room(options.place) as place, source_of(place, MIB) as source:
        where = about(place)
        free = shutil.disk_usage(place).free
        for number in range(rounds):
            for turn, (case, row) in enumerate(zip(chosen, rows, strict=True)):
                needed = case.space + RESERVE
                if needed > free and not row["reason"]:
                    row["reason"] = f"{needed // MIB} MiB of free disk are needed, {free // MIB} MiB are there"
                if row["reason"]:
                    continue
                own_place = place / f"{number}-{turn}"
                own_place.mkdir()
                calm_down()
                try:
                    played = case.measure(own_place, source)
                except (Failed, NotRun) as reason:
                    row["reason"], row["rounds"] = str(reason), []
                    tell(f"{report.name_of(row)}: NOT RUN: {reason}")
                    continue
                row["rounds"].append(as_json(played))
                said = f"{played.base / MIB:.1f} MiB, then {played.peak / MIB:.1f} MiB"
                tell(f"round {number + 1}, {report.name_of(row)}: {said}")
    return {"about": where, "quick": options.quick, "count": rounds, "rows": rows}


def _parser() -> Parser:
    parser = Parser(prog="python -m benchmarks.memory", description="Measure what a tusd-py holds in memory.")
    opt.add_rounds(parser, ROUNDS, QUICK_ROUNDS)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), metavar="PART", help=f"of {', '.join(PARTS)}")
    opt.add_place(parser)
    opt.add_json(parser)
    return parser
