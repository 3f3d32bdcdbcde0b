"""Every finished upload is copied into an archive, under the name that its client gave it."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from pathlib import Path

from aiohttp import web

import tusd_py

log = logging.getLogger("archive")

ARCHIVE = Path("archive")
LONGEST_NAME = 150

app = web.Application()
tus = tusd_py.setup(app, "/files", data_dir="data")


def safe_name(name: str) -> str:
    """Return a name for a file of ours: a client may have sent a path, control characters or nothing at all."""
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(char if char.isalnum() or char in " ._-()" else "_" for char in last)
    return kept.strip(" .").encode()[:LONGEST_NAME].decode(errors="ignore") or "unnamed"


@tus.on_finish
async def archive(upload: tusd_py.FinishedUpload) -> None:
    """Copy one upload. Runs again after a crash, and then ends the same way: it is idempotent."""
    log.info("begin %s", upload.idempotency_key)
    # A folder for each upload: two clients may send the same name, and a second run finds what the first one left.
    target = ARCHIVE / upload.id / safe_name(upload.metadata.get("filename", ""))
    assert upload.path is not None
    await asyncio.to_thread(copy, upload.path, target)
    log.info("archived %s", target)


def copy(source: Path, target: Path) -> None:
    """Copy a file so that the target is whole whenever it is there."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.parent / ".part"
    with source.open("rb") as reading, part.open("wb") as writing:
        shutil.copyfileobj(reading, writing)
        writing.flush()
        os.fsync(writing.fileno())
    part.replace(target)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8080")), access_log=None)
