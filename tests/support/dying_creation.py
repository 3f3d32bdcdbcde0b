"""A server that is killed when an upload with a key is stored: `python -m tests.support.dying_creation DATA_DIR`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

import tusd_py
from tests.support.servers import READY, running
from tusd_py.models.upload import UploadInfo


async def serve(data_dir: Path) -> None:
    """Serve until killed, behind the commit and before the answer."""
    app = web.Application()
    tus = tusd_py.setup(app, "/files", data_dir=data_dir)
    insert = tus._info.insert

    async def insert_and_die(upload: UploadInfo, **options: Any) -> None:
        await insert(upload, **options)
        if upload.creation_key is not None:
            os.kill(os.getpid(), signal.SIGKILL)

    tus._info.insert = insert_and_die  # type: ignore[method-assign]
    async with running(app) as url:
        sys.stdout.write(f"{READY}{url}/files/\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
