"""Pages say what the code does: settings, error codes, commands, versions."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import tusd_py
from tusd_py import errors
from tusd_py.errors import TusError
from tusd_py.settings import Settings, rendering

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
README = (ROOT / "README.md").read_text(encoding="utf-8")

SERVE = "python3 -m venv .venv && .venv/bin/pip install -q . && .venv/bin/tusd-py serve"


def _kinds_of(error: type[TusError]) -> Iterator[type[TusError]]:
    yield error
    for kind in error.__subclasses__():
        yield from _kinds_of(kind)


def test_settings_page_is_the_generated_one() -> None:
    """`make docs` was run after the last change of a setting."""
    assert rendering.reference() == (REFERENCE / "settings.md").read_text(encoding="utf-8")


def test_every_error_code_is_documented_with_its_status() -> None:
    """Users can look up what they got; codes that are gone are gone from the page."""
    page = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    for module in pkgutil.walk_packages(tusd_py.__path__, "tusd_py."):
        if module.name != "tusd_py.__main__":
            importlib.import_module(module.name)
    documented = set(re.findall(r"^\| `(ERR_\w+)` \| (\d+) \|", page, re.MULTILINE))
    ours = [kind for kind in _kinds_of(TusError) if kind.__module__.startswith("tusd_py.")]
    assert {(kind.code, str(kind.status)) for kind in ours} == documented


def test_every_error_says_what_happened() -> None:
    """The first line of an error's docstring is what clients read: a sentence of its own."""
    sentences = [
        (kind.__doc__ or "").partition("\n")[0] for kind in _kinds_of(TusError) if kind.__module__ == errors.__name__
    ]
    assert all(sentence.endswith(".") for sentence in sentences)
    assert len(set(sentences)) == len(sentences)


def test_readme_has_the_command_that_ci_runs() -> None:
    """`.ci/run` takes the test command out of the README, where it stands once."""
    ci = ROOT / ".ci" / "run"
    assert os.access(ci, os.X_OK)
    pattern = re.search(r"grep -m1 -E '([^']+)' README\.md", ci.read_text(encoding="utf-8"))
    assert pattern
    assert 1 == len(re.findall(pattern[1], README, re.MULTILINE))
    assert '\nbash -euc "$test_command"' in ci.read_text(encoding="utf-8")


def test_readme_begins_with_the_commands() -> None:
    """Starting the server and running the tests are on the first screen."""
    first_screen = "\n".join(README.splitlines()[:24])
    assert SERVE in first_screen
    assert ".venv/bin/pytest" in first_screen


def test_readme_links_to_pages_that_exist() -> None:
    """No link of the README leads nowhere."""
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_readme_names_real_settings() -> None:
    """Flags, variables and keys in the README exist."""
    names = set(Settings.__struct_fields__)
    flags = {flag.replace("-", "_") for flag in re.findall(r"(?<![\w-])--([a-z][a-z-]+)", README)}
    others = {"config", "group", "data_binary", "force_fsync", "remount", "place"}  # pip, curl, rustus, the benchmarks
    assert set() == flags - names - others
    assert set() == {name.lower() for name in re.findall(r"TUSD_PY_([A-Z_]+)", README)} - names


def test_version_is_the_same_everywhere() -> None:
    """The package, its metadata and the changelog speak of one version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert tusd_py.__version__ == project["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "\n## Unreleased\n" in changelog or f"\n## {tusd_py.__version__}" in changelog
