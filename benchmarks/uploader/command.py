"""The command line: `python -m benchmarks.uploader`."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from typing import Any

from benchmarks import options as opt
from benchmarks.about import about
from benchmarks.options import Parser
from benchmarks.rounds import source_of
from benchmarks.uploader import report, runs

ROUNDS, QUICK_ROUNDS = 5, 2
FULL, QUICK = 4 * 2**30, 256 * 2**20


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print what came out; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    opt.check_json(parser, options.json)
    return opt.run(functools.partial(_measure, options), report.as_text, options.json)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    size = QUICK if options.quick else FULL
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    with opt.room(options.place) as place, source_of(place, size) as source:
        where = about(place)
        found = runs.measure(size, rounds, place, source)
    return {"about": where, "quick": options.quick, "count": rounds, **found}


def _parser() -> Parser:
    parser = Parser(prog="python -m benchmarks.uploader", description="Measure what uploading one large file costs.")
    opt.add_rounds(parser, ROUNDS, QUICK_ROUNDS)
    opt.add_place(parser)
    opt.add_json(parser)
    return parser
