"""Uploads and jobs in one SQLite database: write-ahead log, one writer, group commit."""

from tusd_py.stores.sqlite.info import SqliteInfoStore

__all__ = ["SqliteInfoStore"]
