"""The command line: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import options as opt
from benchmarks import page, report
from benchmarks.about import about
from benchmarks.options import BUILD, Parser, tell
from benchmarks.processors import on, shared_out
from benchmarks.remounting import why_not
from benchmarks.rounds import Stage, more_files, play
from benchmarks.subjects import BEFORE, MAKERS, Choice, find
from benchmarks.warmth import Warmth
from benchmarks.workloads import WORKLOADS

ROUNDS, QUICK_ROUNDS = 5, 2
LIMITS = tuple(dict.fromkeys(name for each in WORKLOADS for name in each.limits))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print what came out; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        print(_listing())
        return 0
    if options.docs is not None:
        try:
            page.write_page(json.loads(options.docs.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            parser.error(f"{options.docs} is no file of results: {error}")
        return 0
    opt.check_json(parser, options.json)
    if options.remount and (reason := why_not(options.place or BUILD)):
        parser.error(f"--remount: {reason}")
    return opt.run(functools.partial(_measure, options), report.as_text, options.json)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    choice = Choice(options.peers_dir.resolve(), dict(options.peer), options.tusd_py, options.remount)
    wanted = [each for each in WORKLOADS if each.name in (options.only or [each.name])]
    names = options.subjects or [name for name in (*MAKERS, *LIMITS) if options.tusd_py or name not in BEFORE]
    needed = [name for name in MAKERS if name in names and any(name in each.subjects for each in wanted)]
    tell(f"preparing {', '.join(needed)}")
    subjects = {name: find(name, choice) for name in needed}
    limits = [name for name in LIMITS if name in names]
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    more_files()
    workloads: list[dict[str, Any]] = []
    missing = {name: each.missing for name, each in subjects.items() if each.missing}
    results = {"quick": options.quick, "rounds": rounds, "missing": missing, "workloads": workloads}
    servers, clients = shared_out(options.processors)
    with opt.room(options.place) as place, Warmth(place) as warmth, on(clients):
        where = about(place)
        if options.processors is not None:
            where["servers run on"] = f"{len(servers)} of these cores"
        results = {"about": where} | results
        # A first look need not take all the memory.
        warm = (lambda: None) if options.quick else warmth.keep
        stage = Stage(rounds, subjects, limits, place, tell, warm, servers)
        for each in wanted:
            sizes = each.quick if options.quick else each.full
            if sizes is not None:
                rows = play(each, sizes, stage)
                workloads.append(report.workload_as_json(each, sizes, rows))
                # An hour of figures must not be lost with the last of them.
                opt.keep(results, options.json)
    return results


def _listing() -> str:
    lines = ["Workloads:", *(f"  {each.name:14}{each.sentence}" for each in WORKLOADS)]
    return "\n".join([*lines, "", "Subjects:", *(f"  {name}" for name in (*MAKERS, *LIMITS))])


def _parser() -> Parser:
    parser = Parser(
        prog="python -m benchmarks", description="Measure tusd-py side by side with other tus servers and with limits."
    )
    add = parser.add_argument
    opt.add_rounds(parser, ROUNDS, QUICK_ROUNDS)
    names = [each.name for each in WORKLOADS]
    add("--only", nargs="+", choices=names, metavar="WORKLOAD", help="only these workloads; --list names them")
    everybody = [*MAKERS, *LIMITS]
    add("--subjects", nargs="+", choices=everybody, metavar="NAME", help="only these servers and limits")
    add("--peer", action="append", type=_peer, default=[], metavar="NAME=PATH", help="where tusd or rustus is")
    add("--peers-dir", type=Path, default=BUILD / "peers", metavar="DIR", help="where peers are installed and kept")
    add(
        "--tusd-py",
        type=_other,
        default="",
        metavar="PYTHON",
        help="another tusd-py to compare with: its python, or a work tree",
    )
    opt.add_place(parser)
    add("--remount", action="store_true", help="as root: also tusd while every write to that file system is synced")
    add("--processors", type=_processors, metavar="N", help="servers run on so many only, the client on the others")
    opt.add_json(parser)
    add("--docs", type=Path, metavar="FILE", help="measure nothing; write the page and its chart from such a file")
    add("--list", action="store_true", help="name workloads and subjects")
    return parser


def _other(text: str) -> str:
    if not (Path(text) / "tusd_py").is_dir() and shutil.which(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a python nor a work tree")
    return text


def _processors(text: str) -> int:
    there = len(os.sched_getaffinity(0))
    if not text.isdecimal() or not 1 <= int(text) <= there:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {there}")
    return int(text)


def _peer(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if name not in ("tusd", "rustus"):
        raise argparse.ArgumentTypeError(f"{text!r} is not tusd=PATH or rustus=PATH")
    if not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"there is no program {path or 'after ='}")
    return name, str(Path(path).resolve())
