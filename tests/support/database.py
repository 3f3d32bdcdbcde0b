"""The database of a server, as anybody can read it meanwhile."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any


def rows(data_dir: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Return what a statement finds, which can change nothing."""
    with contextlib.closing(sqlite3.connect(f"file:{data_dir}/uploads.sqlite3?mode=ro", uri=True)) as db:
        return db.execute(statement, values).fetchall()
