"""The pages build, and no link in them leads nowhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

pytest.importorskip("sphinx", reason="NOT RUN: needs the dependency group docs")
pytest.importorskip("myst_parser", reason="NOT RUN: needs the dependency group docs")
pytest.importorskip("furo", reason="NOT RUN: needs the dependency group docs")


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Build pages as `make docs-html` does."""
    return subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", ROOT / "docs", source, target],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_pages_build_without_a_warning(tmp_path: Path) -> None:
    """Every page is in a table of contents, and every link and every reference has a target."""
    done = build(ROOT / "docs", tmp_path)
    assert 0 == done.returncode, done.stderr
    for page in (ROOT / "docs").rglob("*.md"):
        assert (tmp_path / page.relative_to(ROOT / "docs")).with_suffix(".html").is_file()


def test_links_to_nothing_are_found(tmp_path: Path) -> None:
    """The build above would have failed: a page, a heading, a file and a name that are not there are each reported."""
    (tmp_path / "index.md").write_text(
        "# Page\n\n[a](gone-page.md)\n\n[b](index.md#gone-heading)\n\n[c](../gone-file.conf)\n\n{py:class}`gone.Name`\n"
    )
    done = build(tmp_path, tmp_path / "html")
    assert done.returncode != 0
    for target in ("gone-page", "gone-heading", "gone-file", "gone.Name"):
        assert target in done.stderr


def test_make_runs_the_same() -> None:
    """`make docs-html` treats warnings as errors too."""
    recipe = re.search(r"^docs-html:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe
    assert "sphinx-build" in recipe[1]
    assert " -W " in recipe[1]
