"""Whether a database can be relied on, and what to do about one that cannot (reliability: I7, I16)."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tusd_py.errors import StartupError
from tusd_py.stores.sqlite.boot import current_boot_id
from tusd_py.stores.sqlite.queries import QUERIES

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY = 0xFF
"""Extended error codes have more above these bits."""
ADVICE = "restore it from a backup, or save the rows that can still be read (docs: Check and recover)"


@dataclass(frozen=True, slots=True)
class Health:
    """What a full check of a database found."""

    damage: tuple[str, ...]
    """What is wrong in it, in SQLite's words; empty = nothing."""
    restarted: bool
    """Whether the system was started anew since the server used it: the next start takes back what was not synced."""


def unusable(path: Path, error: Exception) -> StartupError:
    """Return the line that says why a database cannot be used, and what to do when it is damaged."""
    line = f"The database {path} cannot be used: {error}"
    return StartupError(f"{line}; {ADVICE}" if _is_damage(error) else line)


def examine(path: Path, boot_id: str | None = None) -> Health:
    """Read a whole database and check it. Blocking, takes as long as reading the file; changes nothing in it.

    Raises `StartupError` when there is no database that can be opened. `boot_id` None = ask the kernel.
    """
    try:
        check_file(path)
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
            if db.execute("select count(*) from sqlite_schema").fetchone() == (0,):
                raise _empty(path)
            if damage := _damage_in(db):
                return Health(damage, restarted=False)
            stored = db.execute(QUERIES["get_meta"], {"key": "boot_id"}).fetchone()
    except (sqlite3.Error, OSError) as error:
        raise unusable(path, error) from error
    return Health((), restarted=stored is not None and stored[0] != (boot_id or current_boot_id()))


def check_file(path: Path) -> None:
    """Make sure of a plain file with something in it, before SQLite sees it. Raises `StartupError`, `OSError`.

    Beside an empty file SQLite removes the log, even when it shall only read.
    """
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise StartupError(f"{path} is a symbolic link or not a plain file; put the database itself there")
    if found.st_size == 0:
        raise _empty(path)


def _empty(path: Path) -> StartupError:
    return StartupError(f"{path} has nothing in it; restore the database from a backup")


def _damage_in(db: sqlite3.Connection) -> tuple[str, ...]:
    found: list[str] = []
    try:
        for (text,) in db.execute("pragma integrity_check"):
            found += text.splitlines()
    except sqlite3.DatabaseError as error:
        if not _is_damage(error):
            raise
        found.append(str(error))
    return () if found == ["ok"] else tuple(found)


def _is_damage(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY in _DAMAGED
