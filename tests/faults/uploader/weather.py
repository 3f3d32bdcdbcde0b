"""Bad days: which harm each of many requests suffers, by chance, from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.faults.uploader.proxy import PIECE, Answered, Asked, Harm, Severed, Silent, Slowed, Swallowed
from tests.support.proxy import Cut

MIB = 2**20
HARMED = 0.35
"""Share of requests that suffer something."""
NARROW = (3 * MIB, 16 * MIB)
"""Bytes a second of the bodies that suffer nothing else: what is over at once cannot be killed."""
STANDS_STILL = 0.02
"""Share of requests that stand still; each costs the patience of its client."""


@dataclass
class Weather:
    """What becomes of a request; `patience` is the number of seconds after which a client gives up a connection."""

    chance: random.Random
    patience: float

    def __call__(self, asked: Asked) -> Harm | None:
        """Choose."""
        dice = self.chance.random()
        if dice < STANDS_STILL:
            return Silent(self._somewhere(asked), seconds=3 * self.patience)
        if dice < HARMED:
            return self._harm(asked)
        return Slowed(rate=self.chance.randint(*NARROW)) if asked.length > PIECE else None

    def _harm(self, asked: Asked) -> Harm:
        chance, how = self.chance, self.chance.choice(list(Cut))
        harms: list[Harm] = [
            Severed(self._somewhere(asked), how),
            Swallowed(how),
            Answered(chance.choice((423, 429, 502, 503)), early=chance.random() < 0.5),
            Answered(chance.choice((429, 503)), retry_after=1, early=chance.random() < 0.5),
            Slowed(seconds=chance.uniform(0.05, 0.5)),
            Slowed(rate=max(MIB, asked.length // 4), piece=1 + asked.length // 2000),
        ]
        return chance.choices(harms, (35, 20, 20, 5, 10, 10))[0]

    def _somewhere(self, asked: Asked) -> int:
        return self.chance.randint(0, asked.length)
