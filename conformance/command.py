"""The command line: `python -m conformance URL`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from conformance.collecting import Collector
from conformance.outcomes import Report
from conformance.target import NoServer, Server

HERE = Path(__file__).parent
SECTIONS = sorted(
    (path.stem.removeprefix("test_") for path in HERE.glob("test_*.py")),
    key=lambda name: (not name.startswith("core"), not name.startswith("creation"), name),
)
CONFORMS, DOES_NOT, CANNOT = 0, 1, 2


def run(server: Server, sections: Sequence[str] = ()) -> Report:
    """Ask everything, or some sections, and return what came out.

    Raises:
        NoServer: There is no tus server that could be asked.
    """
    server.greet()
    report = Report(server)
    paths = [str(HERE / f"test_{section}.py") for section in sections or SECTIONS]
    alone = ["--disable-plugin-autoload", "-p", "no:terminal", "-W", "error"]
    here = ["--rootdir", str(HERE), "-c", str(HERE / "pytest.ini")]
    code = pytest.main([*alone, *here, *paths], plugins=[Collector(report)])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
        report.stopped = report.stopped or f"pytest ended with {code!r}"
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite and print what came out; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        report = run(Server(options.url, options.timeout, options.metadata), options.section)
    except NoServer as error:
        print(error, file=sys.stderr)
        return CANNOT
    if options.json is not None:
        text = json.dumps(report.as_json(), indent=2) + "\n"
        if options.json == "-":
            sys.stdout.write(text)
        else:
            try:
                Path(options.json).write_text(text, encoding="utf-8")
            except OSError as error:
                print(f"Cannot write {options.json}: {error.strerror}.", file=sys.stderr)
                return CANNOT
    if options.json != "-":
        print(report.as_text())
    return CONFORMS if report.conforms else DOES_NOT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m conformance",
        description="Check a tus 1.0.0 server. Exit code: 0 no MUST fails, 1 one does, 2 no tus server.",
    )
    parser.add_argument("url", help="where uploads are created, like http://127.0.0.1:8080/files/")
    parser.add_argument("--json", metavar="FILE", help="write everything as JSON; - for stdout instead of the tables")
    parser.add_argument("--timeout", type=_seconds, default=10.0, metavar="SECONDS", help="for one answer (10)")
    parser.add_argument(
        "--metadata", default="", metavar="PAIRS", help="Upload-Metadata that this server demands of every upload"
    )
    parser.add_argument(
        "--section", action="append", choices=SECTIONS, default=[], help="ask only this; can be given again"
    )
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError("must be more than 0 and at most 3600")
    return value
