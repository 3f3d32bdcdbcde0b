"""The shape of the house: sizes, names, floors, and rooms that can be entered one by one."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tusd_py"
FILES = sorted(PACKAGE.rglob("*.py"))

LONGEST_FILE = 400
LONGEST_FUNCTION = 50
MOST_POSITIONAL = 5
DRAWERS = {"utils", "util", "helpers", "helper", "common", "misc", "shared"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield node


def _positional(function: Function) -> int:
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    return len([name for name in names if name not in ("self", "cls")])


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_file_is_short(path: Path) -> None:
    """A file that does not fit into a head is two files."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_functions_are_short_and_take_few_arguments(path: Path) -> None:
    """At most 50 lines with the docstring; what needs more than five positional arguments needs a record."""
    long = [node.name for node in _functions(path) if (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION]
    wide = [node.name for node in _functions(path) if _positional(node) > MOST_POSITIONAL]
    assert ([], []) == (long, wide)


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_module_says_what_it_is_for(path: Path) -> None:
    """Every module begins with a docstring, and none is a drawer for whatever has no place."""
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert path.stem not in DRAWERS


def test_only_the_command_line_prints() -> None:
    """A library that prints cannot be embedded."""
    printing = [
        _name(path)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "click.echo", "sys.stdout.write")
    ]
    assert [] == [name for name in printing if not name.startswith("tusd_py/cli/")]


def test_rooms_import_only_from_floors_below() -> None:
    """The contracts of pyproject.toml hold."""
    script = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([script, "--no-logo", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout + done.stderr


def test_every_module_can_be_imported_alone() -> None:
    """No module needs another one to be imported before it."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES]
    script = """
import importlib, sys
for name in sys.argv[1:]:
    for loaded in [each for each in sys.modules if each.partition(".")[0] == "tusd_py"]:
        del sys.modules[loaded]
    importlib.import_module(name)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *(name for name in names if name != "tusd_py.__main__")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
