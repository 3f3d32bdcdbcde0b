"""Crowds in processes of their own, which meet at the same uploads by a board, and may be stopped at any moment."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import sys
from pathlib import Path

import msgspec

from tests.faults.actors import Actor
from tests.faults.check import Crowd, Plan
from tests.faults.oracle.history import Event, History

BANDS = 3
"""Processes; one more name is left for whoever cleans up behind them."""
PATIENCE = 0.05
"""Seconds that a client waits when nobody answers it."""


class Notice(msgspec.Struct, frozen=True):
    """An upload that somebody made."""

    key: str
    length: int
    url: str
    partial: bool = False
    parts: tuple[str, ...] = ()
    """Keys of what a final upload was made of."""


class Order(msgspec.Struct, frozen=True):
    """What one process does: mingle, or hold one body open."""

    url: str
    place: str
    number: int
    plan: Plan
    holds: Notice | None = None


class Board:
    """An append-only file of notices that all processes read."""

    def __init__(self, place: Path) -> None:
        self._fd = os.open(place / "board.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._place = 0

    def post(self, notice: Notice) -> None:
        """Let everybody know of an upload."""
        os.write(self._fd, msgspec.json.encode(notice) + b"\n")

    def news(self) -> list[Notice]:
        """Return what was posted since the last look, by whomever."""
        found: list[Notice] = []
        while new := os.pread(self._fd, 2**20, self._place):
            whole = new[: new.rfind(b"\n") + 1]
            self._place += len(whole)
            found += map(msgspec.json.Decoder(Notice).decode, whole.splitlines())
        return found

    def close(self) -> None:
        os.close(self._fd)


class Band(Crowd):
    """The clients of one process."""

    def __init__(self, order: Order, log: History, board: Board) -> None:
        super().__init__(order.url, order.plan, log, writers=itertools.count(order.number + 1, BANDS + 1))
        self.notices: dict[str, Notice] = {}
        self._board = board
        self._unheard = False

    def read_board(self) -> None:
        """Join in with what others made."""
        for notice in self._board.news():
            if notice.key not in self.notices:
                self._note(notice)

    def _note(self, notice: Notice) -> None:
        self.notices[notice.key] = notice
        self.lengths[notice.key] = notice.length
        self.actors[0].urls[notice.key] = notice.url
        self.known[notice.key] = notice.length if notice.parts else 0

    async def _create(self, actor: Actor, chance: random.Random) -> None:
        self.read_board()
        key, partial = f"{self._run}-{len(self.lengths)}", chance.random() < 0.4
        self.lengths[key] = length = chance.choice([chance.randint(1, 2000), chance.randint(1, self.plan.largest)])
        event = await actor.create(key, length, {"Upload-Concat": "partial"} if partial else {})
        await self._announce(event, partial=partial)

    async def _announce(self, event: Event, *, partial: bool = False, parts: tuple[str, ...] = ()) -> None:
        if event.status == 201:
            key = event.upload
            notice = Notice(key, self.lengths[key], self.actors[0].urls[key], partial, parts)
            self._note(notice)
            self._board.post(notice)
        elif event.status is None:
            await asyncio.sleep(PATIENCE)

    async def _step(self, actor: Actor, chance: random.Random, key: str) -> None:
        self.read_board()
        dice, known = chance.random(), self.known[key]
        if known < self.lengths[key] and dice < 0.05:
            pause = chance.uniform(0.01, 0.2)
            self._learn(await actor.patch(key, known, self.lengths[key] - known, pause=pause))
        elif self._is_part(key) and dice < 0.3:
            await self._concat(actor, chance, key)
        elif known >= self.lengths[key] and not self.notices[key].parts and dice > 0.8:
            # As after a lost answer: it must not happen a second time (I14).
            self._learn(await actor.patch(key, known, 0))
        else:
            await super()._step(actor, chance, key)
        if self._unheard:
            self._unheard = False
            await asyncio.sleep(PATIENCE)

    def _is_part(self, key: str) -> bool:
        return self.notices[key].partial and self.known.get(key, -1) >= self.lengths[key]

    async def _concat(self, actor: Actor, chance: random.Random, key: str) -> None:
        parts = (key, *chance.choices([each for each in self.known if self._is_part(each)], k=chance.randint(0, 2)))
        made = f"{self._run}-{len(self.lengths)}"
        self.lengths[made] = sum(self.lengths[part] for part in parts)
        await self._announce(await actor.concat(made, parts, self.lengths[made]), parts=parts)

    def _learn(self, event: Event) -> None:
        self._unheard = self._unheard or (event.status is None and event.sent is None)
        super()._learn(event)


async def _run(order: Order) -> None:
    place = Path(order.place)
    log, board = History(place / f"history-{order.number}.jsonl"), Board(place)
    try:
        band = Band(order, log, board)
        if order.holds is None:
            await band.mingle()
        else:
            band._note(order.holds)
            await band.actors[0].patch(order.holds.key, 0, order.holds.length, pause=1)
    finally:
        board.close()
        log.close()


if __name__ == "__main__":
    asyncio.run(_run(msgspec.json.decode(sys.argv[1], type=Order)))
