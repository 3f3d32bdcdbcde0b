"""How much each test of the programme does, by volume; one variable of the environment overrides one number."""

from __future__ import annotations

import os
from typing import Literal, NamedTuple, get_args

Level = Literal["quick", "ci", "soak"]
LEVELS: tuple[Level, ...] = get_args(Level)


class Volume(NamedTuple):
    """A number of something."""

    variable: str
    quick: int
    ci: int
    soak: int


VOLUMES = {
    "T1": Volume("EXAMPLES", 15, 300, 20_000),
    "T2": Volume("STATES", 500, 5_000, 1_000_000),
    "T3": Volume("OPS", 300, 8_000, 330_000),
    "T4": Volume("POINTS", 8, 80, 2_000),
    "T5": Volume("KILLS", 6, 500, 20_000),
    "T6": Volume("CUTS", 4, 100, 5_000),
    "T7": Volume("FULL_DISKS", 1, 4, 10),
    "T8": Volume("CONNECTIONS", 20, 300, 2_000),
    "T9": Volume("CREATIONS", 200, 3_000, 10_000),
    "T10": Volume("INPUTS", 1_500, 30_000, 100_000_000),
    "T11": Volume("ROWS", 2_000, 100_000, 1_000_000),
    "T12": Volume("JOB_KILLS", 6, 60, 500),
    "T13": Volume("UPLOADS", 3, 24, 200),
}
"""Hypothesis runs, crash states, operations, syscalls, kills, power cuts, rounds, clients, creations, inputs, rows,
kills during jobs, and files that the uploader brings through all of that."""


def volume(test: str, level: Level) -> int:
    """Return how much a test does."""
    row = VOLUMES[test]
    return int(os.environ.get(row.variable) or getattr(row, level))
