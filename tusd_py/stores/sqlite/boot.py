"""What an unclean boot and a failed sync take back: offsets fall to what was synced (reliability 3.1, I9)."""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path

from tusd_py.stores.sqlite.queries import QUERIES

log = logging.getLogger(__name__)

BOOT_ID_VARIABLE = "TUSD_PY_BOOT_ID"
"""For tests of power cuts, and nothing else: a variable that names the boot in place of the kernel.

A file system can be cut off without starting the system anew; a server that is told of another boot then does what it
does after a real one.
"""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_KEY = "boot_id"
_STEPS = ("drop_unsynced_jobs", "discard_unsynced_finals", "reopen_unsynced", "fall_back", "cut_journal")


def current_boot_id() -> str:
    """Return a name for the time since the operating system started. Blocking."""
    return os.environ.get(BOOT_ID_VARIABLE) or _BOOT_ID.read_text(encoding="ascii").strip()


def fall_back(db: sqlite3.Connection, reason: str, fields: dict[str, str]) -> None:
    """Take back everything that is not known to be synced, inside a transaction that is under way; log it. Blocking."""
    lost = {name: db.execute(QUERIES[name]).rowcount for name in _STEPS}
    if any(lost.values()):
        log.warning(
            "%s: %d uploads fell back to what was synced, %d finished ones are open again, "
            "%d concatenations are removed",
            reason,
            lost["fall_back"],
            lost["reopen_unsynced"],
            lost["discard_unsynced_finals"],
            extra=fields,
        )


def settle_boot(db: sqlite3.Connection, boot_id: str) -> None:
    """Take back what the operating system may have lost if it was started anew since the last time. Blocking.

    One transaction on a connection that is durable: after a crash in the middle it simply happens again.
    """
    stored = db.execute(QUERIES["get_meta"], {"key": _KEY}).fetchone()
    if stored == (boot_id,):
        return
    db.execute("begin immediate")
    if stored is not None:
        fall_back(db, "the system was restarted", {"action": "boot_settled"})
    db.execute(QUERIES["set_meta"], {"key": _KEY, "value": boot_id})
    db.commit()
