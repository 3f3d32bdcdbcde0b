"""What pages tell people to type works."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT, RUN, Block, blocks_of
from tests.docs.reader import Reader
from tusd_py.settings import Settings, load

pytest.importorskip("tusclient.client", reason="NOT RUN: needs tuspy")

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
RUNNABLE = [page for page in PAGES if any(block.runs for block in blocks_of(page))]


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_of_a_page_run_in_their_order(page: Path, tmp_path: Path) -> None:
    """A reader who types every block of a page from top to bottom meets no error and sees the answers shown."""
    with Reader(tmp_path) as reader:
        for name in ("big.iso", "film.bin"):
            (tmp_path / name).write_bytes(bytes(range(256)) * 8192)
        for block in blocks_of(page):
            if block.runs:
                try:
                    reader.follow(block)
                except AssertionError as error:
                    raise AssertionError(f"{block}: {error}") from error


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.not_run], ids=str)
def test_blocks_that_are_not_run_have_a_reason(block: Block) -> None:
    """The mark stands over a block that would be run, and what is Python is at least Python."""
    assert block.language in RUN
    assert block.not_run
    if block.language == "python":
        ast.parse(block.text)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "toml"], ids=str)
def test_settings_files_are_taken(block: Block, tmp_path: Path) -> None:
    """A settings file that a page shows has no key or value that the command refuses."""
    config = tmp_path / "tusd-py.toml"
    config.write_text(block.text)
    assert load(flags={}, config=config, environ={}).settings != Settings()


def test_every_fence_is_a_block() -> None:
    """No fence hides from these tests by being indented or without a language."""
    for page in PAGES:
        fences = [line for line in page.read_text(encoding="utf-8").splitlines() if "```" in line]
        assert len(fences) == 2 * len(blocks_of(page)), page
