"""What the suite says: tables for people, JSON for machines, exit codes for scripts."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from tests.conformance.asking import ROOT, command
from tests.conformance.broken import broken, drops
from tests.support.servers import Target

FILES = sorted((ROOT / "conformance").glob("*.py"))
ROWS = [path for path in FILES if path.name.startswith("test_")]


async def test_table(server: Target) -> None:
    """People get a table per section, and the decisions apart from the protocol."""
    code, out, errors = await command(server.url, "--section", "termination", "--section", "cors")
    assert (0, "") == (code, errors)
    protocol, _, decisions = out.partition("Decisions of tusd-py")
    assert "termination" in protocol
    assert "CORS" not in protocol
    assert "CORS" in decisions
    assert out.endswith("Conforms: 0 MUST and 0 SHOULD fail.\n")


async def test_failures_are_sentences() -> None:
    """A fault is one line: the row, its level, what it says, where, and what was seen. The exit code is 1."""
    async with broken(drops("Cache-Control")) as url:
        code, out, _ = await command(url, "--section", "core_head")
    assert 1 == code
    line = (
        "  CORE-HEAD-01 MUST: HEAD has Cache-Control: no-store (Core Protocol, HEAD), but Cache-Control was absent.\n"
    )
    assert 1 == out.count(line)
    assert out.endswith("Does not conform: 1 MUST and 0 SHOULD fail.\n")


async def test_json_file(server: Target, tmp_path: Path) -> None:
    """`--json FILE` writes all of it, beside the tables."""
    path = tmp_path / "report.json"
    code, out, _ = await command(server.url, "--json", str(path), "--section", "termination")
    report = json.loads(path.read_text())
    assert 0 == code
    assert "termination" in out
    assert report["conforms"]
    assert server.url == report["url"]
    assert sum(sum(counts.values()) for counts in report["summary"].values()) == len(report["rows"])
    assert {"id", "case", "level", "section", "spec", "sentence", "result", "observed"} == set(report["rows"][0])


async def test_pytest(server: Target) -> None:
    """`pytest conformance --tus-url=URL` is the same: the tables, and a failure only where a MUST fails."""
    code, out, _ = await command("conformance/test_core_head.py", f"--tus-url={server.url}", module="pytest")
    assert 0 == code, out
    assert "Conforms: 0 MUST and 0 SHOULD fail." in out


@pytest.mark.parametrize(
    ("header", "expected"), [("Cache-Control", 1), ("Access-Control-Allow-Origin", 0)], ids=["MUST", "DECISION"]
)
async def test_pytest_exit_code(header: str, expected: int) -> None:
    """Who decided otherwise than we did has no failure."""
    async with broken(drops(header)) as url:
        files = ("conformance/test_core_head.py", "conformance/test_cors.py")
        code, out, _ = await command(*files, f"--tus-url={url}", module="pytest")
    assert expected == code, out


async def test_pytest_without_url() -> None:
    """Without a URL, or with one of something else, pytest stops with one sentence and code 2."""
    code, out, errors = await command("conformance", module="pytest")
    assert 2 == code
    assert "Say which server: --tus-url=" in out + errors


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_knows_no_server(path: Path) -> None:
    """The suite imports the standard library, pytest and itself, and no file is longer than 400 lines."""
    text = path.read_text(encoding="utf-8")
    names = [
        name
        for node in ast.walk(ast.parse(text))
        for name in ([each.name for each in node.names] if isinstance(node, ast.Import) else [])
        + ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
    ]
    assert not [name for name in names if re.match(r"tusd_py|tests|aiohttp|multidict|yarl", name)]
    assert len(text.splitlines()) <= 400


@pytest.mark.parametrize("path", ROWS, ids=lambda path: path.name)
def test_every_check_has_a_row(path: Path) -> None:
    """Every check names its row, with an id of the checklist, and no two checks say the same."""
    said = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            calls = [each for each in node.decorator_list if isinstance(each, ast.Call)]
            first = next(each for each in calls if isinstance(each.func, ast.Name) and each.func.id == "row")
            identifier, level, sentence = (ast.unparse(each) for each in first.args)
            assert re.fullmatch(r"'[A-Z]+(-[A-Z]+)?-\d\d'", identifier), identifier
            said.append((identifier, level, sentence))
    assert said
    assert len(said) == len(set(said))
