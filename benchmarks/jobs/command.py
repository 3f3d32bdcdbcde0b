"""The command line: `python -m benchmarks.jobs`."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import options as opt
from benchmarks.about import about
from benchmarks.jobs import cost, hooks, queue, report
from benchmarks.options import Parser
from benchmarks.rounds import more_files, source_of
from benchmarks.tus import Source

ROUNDS, QUICK_ROUNDS = 5, 2
PARTS = ("cost", "queue", "hooks")
MIB = 2**20


@dataclass(frozen=True)
class Sizes:
    """How much of each part."""

    cost: cost.Sizes
    queue: queue.Sizes
    hooks: hooks.Sizes


FULL = Sizes(cost.Sizes(200, 600), queue.Sizes(20_000, 4_000, 1_000), hooks.Sizes(1_000, 200))
QUICK = Sizes(cost.Sizes(50, 100), queue.Sizes(500, 200, 50), hooks.Sizes(200, 50))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print what came out; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    opt.check_json(parser, options.json)
    return opt.run(functools.partial(_measure, options), report.as_text, options.json)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    sizes = QUICK if options.quick else FULL
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    wanted = options.only or PARTS
    more_files()
    with opt.room(options.place) as place, source_of(place, MIB) as source:
        where = about(place) | {"tusd-py": version("tusd-py")}
        found = {name: _part(name, sizes, rounds, place / name, source) for name in PARTS if name in wanted}
    return {"about": where, "quick": options.quick, "count": rounds, **found}


def _part(name: str, sizes: Sizes, rounds: int, place: Path, source: Source) -> dict[str, Any]:
    place.mkdir()
    if name == "cost":
        return cost.measure(sizes.cost, rounds, place, source)
    if name == "queue":
        return queue.measure(sizes.queue, place, source)
    return hooks.measure(sizes.hooks, rounds, place, source)


def _parser() -> Parser:
    parser = Parser(prog="python -m benchmarks.jobs", description="Measure what jobs and hooks cost a tusd-py.")
    opt.add_rounds(parser, ROUNDS, QUICK_ROUNDS)
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    opt.add_place(parser)
    opt.add_json(parser)
    return parser
