"""An application whose on_finish kills its process the first time: `python -m tests.support.dying_app DATA_DIR LOG`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from aiohttp import web

import tusd_py
from tests.support.servers import READY, running

DEATH = 9


async def serve(data_dir: Path, log: Path) -> None:
    """Serve until killed; every run of the job leaves a line in the log."""
    app = web.Application()
    tus = tusd_py.setup(app, "/files", data_dir=data_dir)

    @tus.on_finish
    async def note(upload: tusd_py.FinishedUpload) -> None:
        first = not log.exists()
        with log.open("a") as lines:
            lines.write(f"{upload.idempotency_key} {upload.length}\n")
        if first:
            os._exit(DEATH)

    async with running(app) as url:
        sys.stdout.write(f"{READY}{url}/files/\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
