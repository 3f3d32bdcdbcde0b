"""New files on their way to stable storage: one alone in one trip to a thread, several at a time together.

A file system that keeps a journal commits everything that was begun so far when one file or directory is synced. Files
that are made first and synced afterwards, one behind the other, so share their commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tusd_py.abc import Buffer
from tusd_py.stores.posix import NewFile, Root
from tusd_py.stores.threads import DiskThreads, to_the_end


class Newborn:
    """The new files of one store. Used on one event loop."""

    def __init__(self, root: Root, threads: DiskThreads) -> None:
        self._root = root
        self._threads = threads
        self._making = 0
        self._made: list[tuple[NewFile, asyncio.Future[None]]] = []
        self._settling: asyncio.Task[None] | None = None

    async def create(self, key: str, buffers: Sequence[Buffer]) -> None:
        """Make a file that survives a power cut; raises as `Root.create`. A cancellation counts afterwards."""
        alone = not self._making
        self._making += 1
        try:
            if alone:
                await self._threads.run(self._root.create, key, buffers, True)
            else:
                await to_the_end(self._create(key, buffers))
        finally:
            self._making -= 1

    async def _create(self, key: str, buffers: Sequence[Buffer]) -> None:
        new = await self._threads.run_short(self._root.begin, key, buffers, True)
        settled = asyncio.get_running_loop().create_future()
        self._made.append((new, settled))
        if self._settling is None:
            self._settling = asyncio.create_task(self._settle())
        await settled

    async def _settle(self) -> None:
        """Settle what was made, and what was made meanwhile, until there is nothing left."""
        while self._made:
            made, self._made = self._made, []
            errors: Sequence[BaseException | None]
            try:
                errors = await self._threads.run(self._root.settle, [new for new, _ in made])
            except Exception as broken:  # noqa: BLE001 - whoever waits is to have it
                errors = [broken] * len(made)
            for (_, settled), error in zip(made, errors, strict=True):
                if error is None:
                    settled.set_result(None)
                else:
                    settled.set_exception(error)
        self._settling = None
