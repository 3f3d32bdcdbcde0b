"""How Sphinx builds these pages. `make docs-html` runs it with warnings as errors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring

import tusd_py

project = "tusd-py"
author = "The tusd-py authors"
release = version = tusd_py.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"tusd-py {release}"

# Docstrings use single backticks for code, as Markdown does.
default_role = "literal"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True

# A reference that leads nowhere is an error, except to what others document: the build needs no network.
nitpicky = True
nitpick_ignore_regex = [
    ("py:class", r"(aiohttp|collections|pathlib|socket|ssl)\..*"),
    # A decorator returns what it is given.
    ("py:class", r".*\.AnyFunction"),
    # What the uploader remembers is of use to itself only.
    ("py:class", r"tusd_py\.client\..*\.(Stored|Fingerprint)"),
    # Failures are described by their codes, in reference/errors.md.
    ("py:exc", r"\w+"),
]


def read_sections(_: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Read `Args:` and `Raises:`; in attributes, where a colon is no more than that, there are none."""
    if what not in ("attribute", "property"):
        lines[:] = GoogleDocstring(lines, what=what, name=name, obj=obj, options=options).lines()


def setup(app: Sphinx) -> None:
    """Tell Sphinx what else to do."""
    app.connect("autodoc-process-docstring", read_sections)
