"""What the command lines of this package have in common: options, signals, what is printed, and the file of results."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from benchmarks.client import Failed
from benchmarks.subjects import ROOT
from conformance.peers import NotRun

FAILED, INTERRUPTED, TERMINATED = 1, 130, 143
BUILD = ROOT / "build"

JSON = Mapping[str, Any]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Say it and end."""
        print(f"{self.prog}: {message}", file=sys.stderr)
        sys.exit(2)


def add_place(parser: Parser) -> None:
    """Add the option that says where data goes."""
    said = "where the data goes; its file system is measured too"
    parser.add_argument("--place", type=directory, metavar="DIR", help=said)


def add_rounds(parser: Parser, full: int, quick: int) -> None:
    """Add the options that say how much is measured."""
    add = parser.add_argument
    add("--quick", action="store_true", help="smaller sizes and fewer rounds, for a first look")
    add("--rounds", type=count, metavar="N", help=f"how often everything is measured ({full}; with --quick {quick})")


def add_json(parser: Parser) -> None:
    """Add the option that keeps the results."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured, round by round")


def count(text: str) -> int:
    """Return a number of rounds."""
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1000")
    return int(text)


def directory(text: str) -> Path:
    """Return a directory that is there."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {text}")
    return Path(text).resolve()


def tell(line: str) -> None:
    """Say how far it is."""
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def room(place: Path | None) -> Iterator[Path]:
    """Have an empty directory until the block ends; without a place below `build`."""
    if place is None:
        BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=place or BUILD) as made:
        yield Path(made)


def check_json(parser: Parser, file: Path | None) -> None:
    """Refuse a file of results that could not be written, before anything is measured."""
    if file is not None and not file.resolve().parent.is_dir():
        parser.error(f"--json: there is no directory {file.parent}")


def run(measure: Callable[[], JSON], as_text: Callable[[JSON], str], file: Path | None) -> int:
    """Measure, keep what came out, print it; return the exit code."""
    # Servers are ended and data is removed by the blocks that started them, also then.
    signal.signal(signal.SIGTERM, _end)
    try:
        results = measure()
    except KeyboardInterrupt:
        return INTERRUPTED
    except (Failed, NotRun) as error:
        tell(f"nothing came out: {error}")
        return FAILED
    keep(results, file)
    print(as_text(results))
    return 0


def keep(results: JSON, file: Path | None) -> None:
    """Write the results, where that is wanted."""
    if file is not None:
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _end(_: int, __: FrameType | None) -> NoReturn:
    sys.exit(TERMINATED)
