"""What a database must be before it is used, and how an older one becomes that (reliability: I16)."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import stat
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from tusd_py.errors import StartupError

log = logging.getLogger(__name__)

APPLICATION_ID = 0x74757364
"""`tusd` in ASCII, in the header of every database of ours."""
VERSION = """
    select
        (select application_id from pragma_application_id),
        (select user_version from pragma_user_version),
        (select count(*) from sqlite_schema)
"""
"""What `check_version` wants to know of a database."""
LOG_HEADER = 32
"""Bytes of a write-ahead log in which nothing was ever written."""
_FILE = re.compile(r"(\d{4})_\w+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step forward: the script that makes version `version` out of the one before."""

    version: int
    script: str


def load_migrations() -> tuple[Migration, ...]:
    """Return all steps, in order."""
    folder = files("tusd_py.stores.sqlite").joinpath("schema")
    found = [
        Migration(int(match[1]), entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if (match := _FILE.fullmatch(entry.name))
    ]
    return tuple(sorted(found, key=lambda migration: migration.version))


def prepare_file(path: Path, data_root: Path | None) -> None:
    """Make sure of a plain file with mode 0600 at `path`. Blocking.

    Raises:
        StartupError: it is a symbolic link or no plain file, or it is missing or empty although there is data.
        OSError: it cannot be made.
    """
    found = path.lstat() if os.path.lexists(path) else None
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise StartupError(f"{path} is a symbolic link or not a plain file; put the database itself there")
    if found is None or found.st_size == 0:
        _check_no_log(path)
        check_unused(path, data_root)
    if found is None:
        # Before SQLite does: the files it makes beside take over this mode, whatever the umask.
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(fd, 0o600)
        finally:
            os.close(fd)
        _sync(path.parent)
    if (log_file := _log_of(path)).exists():
        # A process that was killed may have left commits in it that are not on the disk: nobody may be shown them yet.
        _sync(log_file, os.O_NOFOLLOW | os.O_NONBLOCK)
        _sync(path.parent)


def check_unused(path: Path, data_root: Path | None) -> None:
    """Refuse to begin an empty database where there is data that an older one must have known. Blocking."""
    if data_root is not None and _has_data(data_root):
        raise StartupError(
            f"{path} is missing or empty, but {data_root} holds uploads: "
            "restore the database from a backup, or move the uploads away to begin anew"
        )


def check_data(path: Path, data_root: Path | None) -> None:
    """Refuse a database that knows of uploads where their directory is gone, not mounted, say. Blocking."""
    if data_root is not None and not data_root.exists():
        raise StartupError(
            f"{path} knows of uploads, but {data_root} is not there: is its file system mounted? "
            "If their data is lost for good, make the directory, and see what is missing with tusd-py fsck"
        )


def _check_no_log(path: Path) -> None:
    # SQLite throws the log away. Beside a database with a page in it, it reads it instead: what the very first start
    # had not committed when it was killed is no reason to refuse the second.
    log_file = _log_of(path)
    if log_file.exists() and log_file.stat().st_size > LOG_HEADER:
        raise StartupError(f"{path} is missing or empty, but {log_file} is there: restore the database from a backup")


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _sync(place: Path, flags: int = 0) -> None:
    fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _has_data(data_root: Path) -> bool:
    if not data_root.is_dir():
        return False
    return any(not entry.is_dir() or any(entry.iterdir()) for entry in data_root.iterdir())


def check_version(found: Sequence[int], path: Path, migrations: Sequence[Migration]) -> int:
    """Return the version of a database of ours by its row of `VERSION`; 0 = it has nothing in it yet.

    Raises `StartupError`.
    """
    application, version, tables = found
    if application == 0 and version == 0 and tables == 0:
        return 0
    if application != APPLICATION_ID:
        raise StartupError(f"{path} is the database of another program")
    newest = migrations[-1].version
    if version > newest:
        raise StartupError(
            f"{path} has schema {version}, this version of tusd-py knows {newest}: run the newer version again"
        )
    return version


def migrate(db: sqlite3.Connection, path: Path, migrations: Sequence[Migration]) -> None:
    """Bring a database to the newest version, each step in one transaction. Blocking.

    A database that has uploads in it is first copied to `<path>.before-v<N>`, N being the version it becomes. A crash
    leaves it at one of the versions. Raises `StartupError`, `sqlite3.Error`.
    """
    version = check_version(db.execute(VERSION).fetchone(), path, migrations)
    due = [migration for migration in migrations if migration.version > version]
    if due and version > 0:
        _back_up(db, path.with_name(f"{path.name}.before-v{due[-1].version}"))
    for migration in due:
        try:
            db.executescript(
                f"begin immediate;\n{migration.script}\n"
                f"pragma application_id = {APPLICATION_ID};\npragma user_version = {migration.version};\ncommit;"
            )
        except sqlite3.Error:
            db.rollback()
            raise
        log.info("database is at schema %d", migration.version, extra={"action": "migrated"})


def _back_up(db: sqlite3.Connection, target: Path) -> None:
    partial = target.with_name(f"{target.name}.part")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(partial)) as copy:
        db.backup(copy)
    os.replace(partial, target)
