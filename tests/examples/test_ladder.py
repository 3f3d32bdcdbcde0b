"""The ladder itself: every step is numbered, listed, explained, and tested with the commands of its README."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.examples.place import EXAMPLES, commands, readme

FOLDERS = sorted(path.name for path in EXAMPLES.glob("[0-9]*"))
TESTS = "".join(path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("test_*.py")))


def test_steps_are_numbered_and_listed() -> None:
    """Steps have consecutive numbers, and the page of the ladder lists them in this order."""
    assert [f"{number:02}" for number in range(1, len(FOLDERS) + 1)] == [name[:2] for name in FOLDERS]
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[([^\]]+)\]\(\1/\)", page, re.MULTILINE) == FOLDERS


@pytest.mark.parametrize("folder", FOLDERS)
def test_step_is_explained_and_tested(folder: str) -> None:
    """A README says what a step is, how to start it from the root of the project; a test does so."""
    text = readme(folder)
    assert text.startswith(f"# {folder[:2]}: ")
    assert commands(folder, 0)[0] == f"cd examples/{folder}"
    assert len(text.splitlines()) <= 50
    assert f'"{folder}"' in TESTS


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_that_are_named_exist(folder: str) -> None:
    """No link of a README leads nowhere."""
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", readme(folder)):
        assert (EXAMPLES / folder / target).exists(), target
