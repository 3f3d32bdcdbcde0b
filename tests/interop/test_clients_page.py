"""The page about clients says what the tests do, with the versions they do it with."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.interop.table import INSTALLED, INTRODUCTION, LOCKED, PAGE, PROGRAMS, sentence_of, version_of


def _page() -> str:
    return PAGE.read_text(encoding="utf-8")


def _tests(path: Path) -> tuple[str, list[str]]:
    """Return whose tests a file holds, and what they say."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    clients = [node.value for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CLIENT"]
    tests = [node for node in body if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_")]
    return ast.literal_eval(clients[0]), [sentence_of(ast.get_docstring(node) or "") for node in tests]


@pytest.mark.parametrize("client", [*LOCKED, *INSTALLED])
def test_versions_are_those_in_use(client: str) -> None:
    """The page names the versions that are locked or installed."""
    if (version := version_of(client)) is None:
        pytest.skip(f"NOT RUN: needs {client}")
    assert f"| {client} | {version} |\n" in _page()
    assert f"\n## {client} {version}\n" in _page()


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_have_a_version(program: str) -> None:
    """The page says which version of a program there was; another machine may have another."""
    assert re.search(rf"^\| {program} \| \d+[\d.]+ \|$", _page(), re.MULTILINE)


def test_page_has_every_test() -> None:
    """`make clients-table` was run after the last change of what a test says."""
    assert _page().startswith(INTRODUCTION)
    said = {}
    for section in _page().split("\n## ")[1:]:
        rows = re.findall(r"^\| (.+) \| [a-z, ]+ \| (\d+) of \2 passed \|$", section, re.MULTILINE)
        said[section.split(" ")[0]] = {what for what, _ in rows}
    expected: dict[str, set[str]] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        if "\nCLIENT = " in path.read_text(encoding="utf-8"):
            client, tests = _tests(path)
            expected.setdefault(client, set()).update(tests)
    assert expected == said
