"""The gate that keeps the tests honest: `python -m tests.mutants [NAME...]`.

Every file of `patches/` puts one fault into a scratch copy of the tree, whose tests must then fail. The first lines of
a patch say what it breaks and which tests are asked; without the fault these tests must pass. Leaves with 0 if every
fault was caught, 1 if one slipped through, 2 if the gate itself does not work.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATCHES = Path(__file__).parent / "patches"
COPIED = ("tusd_py", "tests", "conformance", "benchmarks", "pyproject.toml", "README.md")
LONGEST = 600
"""Seconds after which tests that hang count as having caught the fault."""


@dataclass(frozen=True)
class Mutant:
    """One fault."""

    name: str
    breaks: str
    tests: tuple[str, ...]
    patch: Path


@dataclass(frozen=True)
class Outcome:
    """What the tests made of a fault."""

    mutant: Mutant
    caught_by: str
    """The first test that failed; empty = it slipped through."""
    seconds: float


class GateBroken(Exception):
    """The gate says nothing about the tests."""


def mutants(names: Sequence[str] = ()) -> list[Mutant]:
    """Return all faults, or those of these names."""
    found = [_read(path) for path in sorted(PATCHES.glob("*.patch"))]
    if unknown := set(names) - {each.name for each in found}:
        raise GateBroken(f"there is no mutant {', '.join(sorted(unknown))}")
    return [each for each in found if not names or each.name in names]


def _read(path: Path) -> Mutant:
    head = path.read_text(encoding="utf-8").partition("\ndiff --git ")[0]
    said = dict(re.findall(r"^(Breaks|Tests): (.+)$", head, re.MULTILINE))
    return Mutant(path.stem, said["Breaks"], tuple(said["Tests"].split()), path)


def copy_to(place: Path, mutant: Mutant | None = None) -> Path:
    """Make a copy of the tree, with a fault. Raises `GateBroken` when the fault does not fit the tree any more."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, place / name)
    if mutant is not None:
        applied = subprocess.run(
            ["git", "apply", "-p1", str(mutant.patch)], cwd=place, capture_output=True, text=True, check=False
        )
        if applied.returncode:
            raise GateBroken(f"{mutant.name} does not fit the tree any more: {applied.stderr.strip()}")
    return place


def run_tests(place: Path, tests: Sequence[str]) -> str:
    """Return the first test that fails in a copy, or nothing. Raises `GateBroken` when none could be run."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no", *tests]
    environ = {**os.environ, "PYTHONPATH": str(place)}
    try:
        ran = subprocess.run(
            command, cwd=place, env=environ, capture_output=True, text=True, check=False, timeout=LONGEST
        )
    except subprocess.TimeoutExpired:
        return "the time limit"
    if ran.returncode == 0:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", ran.stdout, re.MULTILINE)
    if ran.returncode != 1 or failed is None:
        raise GateBroken(f"the tests could not be run:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return failed[1]


def judge(mutant: Mutant) -> Outcome:
    """Ask the tests of a fault."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        caught_by = run_tests(copy_to(Path(place), mutant), mutant.tests)
    return Outcome(mutant, caught_by, time.monotonic() - begun)


def check_control(chosen: Sequence[Mutant]) -> None:
    """Make sure that the tests pass where nothing is broken."""
    tests = dict.fromkeys(test for mutant in chosen for test in mutant.tests)
    with tempfile.TemporaryDirectory() as place:
        if failed := run_tests(copy_to(Path(place)), list(tests)):
            raise GateBroken(f"{failed} fails without any fault")


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="copies at a time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was caught by what")
    chosen = parser.parse_args(arguments)
    outcomes: list[Outcome] = []
    try:
        faults = mutants(chosen.names)
        check_control(faults)
        with ThreadPoolExecutor(chosen.jobs) as pool:
            for outcome in pool.map(judge, faults):
                outcomes.append(outcome)
                verdict = f"caught by {outcome.caught_by}" if outcome.caught_by else "SLIPPED THROUGH"
                sys.stdout.write(f"{outcome.mutant.name}: {verdict} ({outcome.seconds:.0f} s)\n")
                sys.stdout.flush()
    except GateBroken as error:
        sys.stderr.write(f"{error}\n")
        return 2
    caught = sum(bool(outcome.caught_by) for outcome in outcomes)
    sys.stdout.write(f"mutants caught {caught}/{len(outcomes)}\n")
    if chosen.json is not None:
        rows = [[each.mutant.name, each.mutant.breaks, each.caught_by] for each in outcomes]
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0 if caught == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
