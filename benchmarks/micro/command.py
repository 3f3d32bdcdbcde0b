"""The command line: `python -m benchmarks.micro`."""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import options as opt
from benchmarks.about import about
from benchmarks.micro import report
from benchmarks.micro.cases import MIB, Sizes, function_cases, server_cases, trip_case, turn
from benchmarks.micro.counting import unit
from benchmarks.options import JSON, Parser, tell
from benchmarks.rounds import calm_down, source_of

ROUNDS, QUICK_ROUNDS = 7, 3
FULL, QUICK = Sizes(), Sizes(300, 20, 3_000)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print what came out; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    opt.check_json(parser, options.json)
    what = unit()
    against = None if options.against is None else _earlier(parser, options.against, what)
    show = functools.partial(report.as_text, against=against)
    return opt.run(functools.partial(_measure, options, what), show, options.json)


def _measure(options: argparse.Namespace, what: str) -> dict[str, Any]:
    sizes = QUICK if options.quick else FULL
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    found: dict[str, list[float]] = {}
    with opt.room(options.place) as place, source_of(place, MIB) as source:
        where = about(place)
        for number in range(rounds):
            calm_down()
            with turn(place, number) as own_place:
                for name, figure in server_cases(own_place, source, sizes, what):
                    found.setdefault(name, []).append(figure)
            for name, figure in (*trip_case(sizes, what), *function_cases(sizes, what)):
                found.setdefault(name, []).append(figure)
            tell(f"round {number + 1} of {rounds}")
    return {"about": where, "quick": options.quick, "count": rounds, "unit": what, "cases": found}


def _earlier(parser: Parser, file: Path, what: str) -> JSON:
    try:
        earlier: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        known, cases = earlier["unit"], earlier["cases"]
        if not all(isinstance(each, list) for each in cases.values()):
            raise TypeError("cases without figures")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        parser.error(f"{file} is no file of results: {error}")
    if known != what:
        parser.error(f"{file} counts {known}, here is counted {what}")
    return earlier


def _parser() -> Parser:
    parser = Parser(prog="python -m benchmarks.micro", description="Count what single requests cost a tusd-py.")
    opt.add_rounds(parser, ROUNDS, QUICK_ROUNDS)
    opt.add_place(parser)
    opt.add_json(parser)
    parser.add_argument("--against", type=Path, metavar="FILE", help="show the difference to an earlier run's --json")
    return parser
