"""What the documentation says of the fault programme is what its results say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults import page
from tests.faults.figures import Figures

MUTANTS = [["one", "nothing is synced", "tests/test_one.py::test"], ["two", "nothing is locked", ""]]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results of a run, and two pages with marks."""
    figures = Figures()
    figures.add("kills", 2000)
    figures.add("power_cuts", 3, of="ext4")
    figures.add("lost", 1)
    for value in range(1000):
        figures.sample("recovery_ms", value, of="kills")
    figures.not_run("power cuts on XFS", "needs mkfs.xfs")
    page.thinned(figures).write(tmp_path / "soak.json")
    (tmp_path / "mutants.json").write_text(json.dumps(MUTANTS))
    for name in ("page.md", "readme.md"):
        (tmp_path / name).write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    return tmp_path


def test_pages_are_written(results: Path) -> None:
    """Every figure stands there, good or bad, and what was not run; what stands around it stays."""
    page.write_pages(results / "page.md", results / "readme.md", results)
    text, short = (results / "page.md").read_text(), (results / "readme.md").read_text()
    assert all(
        each.startswith("before\n") and each.endswith("\nafter\n") and "old" not in each for each in (text, short)
    )
    assert "| kills (SIGKILL) | 2,000 |" in text
    assert "| power cuts | 3 (ext4 3) |" in text
    assert "| lost | 1 |" in text
    assert "| zeros | 0 |" in text
    assert "| recovery ms: kills | 499 / 989 (p50 / p99 of 100) |" in text
    assert "| power cuts on XFS | NOT RUN (needs mkfs.xfs) |" in text
    assert "**1 of 2 faults" in text
    assert "| nothing is locked | **nothing** |" in text
    assert "2,000 kills, 3 power cuts (ext4)" in short
    assert "1 lost, 0 corrupt" in short


def test_page_without_its_mark(results: Path) -> None:
    """A page that lost its marks is not written."""
    (results / "page.md").write_text(page.BEGIN)
    with pytest.raises(ValueError, match=r"page\.md has lost its mark"):
        page.write_pages(results / "page.md", results / "readme.md", results)
    assert (results / "page.md").read_text() == page.BEGIN


def test_pages_say_what_the_results_say(tmp_path: Path) -> None:
    """Nobody has changed the generated parts, or forgotten to write them."""
    for file in (page.PAGE, page.README):
        (tmp_path / file.name).write_text(file.read_text())
    page.write_pages(tmp_path / page.PAGE.name, tmp_path / page.README.name)
    for file in (page.PAGE, page.README):
        assert (tmp_path / file.name).read_text() == file.read_text()
