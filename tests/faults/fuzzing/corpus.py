"""Inputs that are kept: one Python literal a line, as a failing test prints it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

PLACE = Path(__file__).parent / "inputs"


def kept(name: str) -> list[Any]:
    """Return the inputs of one file, in order."""
    lines = (PLACE / f"{name}.txt").read_text("ascii").splitlines()
    return [ast.literal_eval(line) for line in lines if line and not line.startswith("#")]
