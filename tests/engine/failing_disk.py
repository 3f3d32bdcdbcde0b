"""An engine over real stores that fills an upload step by step: `python -m tests.engine.failing_disk DATA_DIR LEVEL`.

Every line that it reads is a step; it answers each with a line, so that whoever drives it can make the disk fail.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.engine.rooms import ScriptedBody
from tusd_py.engine.context import Policy
from tusd_py.engine.service import Engine
from tusd_py.engine.settle import settle
from tusd_py.errors import TusError
from tusd_py.lockers.memory import MemoryLocker
from tusd_py.models.limits import Durability, Limits
from tusd_py.protocol.intents import Append, Create
from tusd_py.stores.file import FileDataStore
from tusd_py.stores.sqlite import SqliteInfoStore


async def run(place: Path, level: Durability) -> None:
    """Make an upload of 8 bytes, name it, then take steps: text to append at its place, `settle` or `head`."""
    data = FileDataStore(place / "uploads")
    info = SqliteInfoStore(place / "uploads.sqlite3", durability=level, boot_id="boot")
    policy = Policy(durability=level)
    engine = Engine(data=data, info=info, locker=MemoryLocker(), policy=policy, sweep_interval=3600)
    await engine.start()
    upload = await engine.create(Create(length=8), ScriptedBody(), Limits())
    tell(upload.id)
    while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
        try:
            if line == "settle":
                await settle(engine._ctx)
            elif line != "head":
                offset = (await engine.inspect(upload.id)).offset
                intent = Append(upload_id=upload.id, offset=offset, has_body=True, body_length=None)
                await engine.append(intent, ScriptedBody(line.encode()), Limits())
            found = await engine.inspect(upload.id)
            tell(f"{found.state} {found.offset} {found.synced_offset}")
        except (TusError, OSError) as error:
            tell(f"failed {getattr(error, 'status', 'OSError')}")
    await engine.stop()


def tell(line: str) -> None:
    """Write a line that is read at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), Durability(sys.argv[2])))
