"""What an unclean boot takes back: offsets fall to what was synced (reliability 3.1)."""

from __future__ import annotations

import logging
from pathlib import Path

import aiosqlite

from tusd_py.stores.sqlite.queries import QUERIES

log = logging.getLogger(__name__)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_KEY = "boot_id"


def current_boot_id() -> str:
    """Return a name for the time since the operating system started. Blocking."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


async def settle_boot(writer: aiosqlite.Connection, boot_id: str) -> None:
    """Take back what the operating system may have lost if it was started anew since the last time.

    One transaction on a connection that is durable: after a crash in the middle it simply happens again.
    """
    rows = list(await writer.execute_fetchall(QUERIES["get_meta"], {"key": _KEY}))
    stored = rows[0][0] if rows else None
    if stored == boot_id:
        return
    lost = {}
    await writer.execute_fetchall("begin immediate")
    if stored is not None:
        for name in ("drop_unsynced_jobs", "discard_unsynced_finals", "reopen_unsynced", "fall_back"):
            async with writer.execute(QUERIES[name]) as cursor:
                lost[name] = cursor.rowcount
    await writer.execute_fetchall(QUERIES["set_meta"], {"key": _KEY, "value": boot_id})
    await writer.commit()
    if any(lost.values()):
        log.warning(
            "the system was restarted: %d uploads fell back to what was synced, %d finished ones are open again, "
            "%d concatenations are removed",
            lost["fall_back"],
            lost["reopen_unsynced"],
            lost["discard_unsynced_finals"],
            extra={"action": "boot_settled"},
        )
