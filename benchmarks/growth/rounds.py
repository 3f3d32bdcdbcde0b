"""One round on one data directory: servers are started, asked, killed, and started again."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.client import Request, Response, Script
from benchmarks.growth.fill import Filled, chill, reboot, warm
from benchmarks.own import Own, serving
from benchmarks.site import spread
from benchmarks.tus import Source, one, place_of

KIB, MIB = 2**10, 2**20
PIECE = 300 * KIB
RECEIVING = 0.2
"""Seconds in which a server reads what was sent to it."""
PATIENCE = 30.0


@dataclass(frozen=True)
class Sizes:
    """How much is asked."""

    heads: int = 2_000
    """HEADs of as many uploads, by chance; also of unknown ones."""
    creations: int = 1_000


@dataclass
class Round:
    """What one round was like. Times of starts are seconds from executing the server."""

    ready: float
    """The line that says that it listens; database in the page cache."""
    head: float
    """First answer to a HEAD."""
    head_cold: float
    """The same, with the database out of the page cache."""
    head_killed: float
    """The same, after SIGKILL in the middle of a PATCH."""
    head_reboot: float
    """The same, when the operating system seems to be another one."""
    resident: int
    """Bytes right after the start."""
    first: dict[str, float]
    """HEAD of uploads that this server was not asked for before, in milliseconds."""
    again: dict[str, float]
    """HEAD of the same uploads."""
    disk: dict[str, float]
    """HEAD by a server whose database was out of the page cache when it started."""
    unknown: dict[str, float]
    creation: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def play(filled: Filled, sizes: Sizes, source: Source, number: int) -> Round:
    """Play one round.

    Raises:
        Failed: A server did not start, or gave a wrong answer.
    """
    # Not a plain number: the directories are filled by the same kind of chance.
    chance = random.Random(f"round {number}")
    chosen = chance.sample(filled.known, min(sizes.heads, len(filled.known)))
    warm(filled)
    with serving(filled.path, source) as own:
        paths = [own.speaker.path + each for each in chosen]
        head, resident = own.first_head(paths[0]), own.resident()
        first = _heads(own, paths[1:])
        again = _heads(own, paths[1:])
        unknown = _unknown(own, sizes.heads, chance)
        made: list[str] = []
        numbers = iter(range(sizes.creations))
        creation = spread(own.drive(own.speaker.create(numbers, MIB, made)).times)
        ready = own.ready
        broken = _break(own)
    with serving(filled.path, source) as own:
        head_killed = own.first_head(broken)
        _resumed(own, broken)
    chill(filled)
    with serving(filled.path, source) as own:
        head_cold = own.first_head(paths[0])
        disk = _heads(own, paths[1:])
    warm(filled)
    reboot(filled)
    with serving(filled.path, source) as own:
        head_reboot = own.first_head(paths[0])
    return Round(
        ready=ready, head=head, head_cold=head_cold, head_killed=head_killed, head_reboot=head_reboot,
        resident=resident, first=first, again=again, disk=disk, unknown=unknown, creation=creation,
    )  # fmt: skip


def _heads(own: Own, paths: Sequence[str]) -> dict[str, float]:
    def script() -> Script:
        for path in paths:
            yield own.speaker.head(path)

    return spread(own.drive(script()).times)


def _unknown(own: Own, count: int, chance: random.Random) -> dict[str, float]:
    def script() -> Script:
        for _ in range(count):
            asked = own.speaker.head(f"{own.speaker.path}{chance.getrandbits(128):032x}")
            yield Request(asked.data, (404,))

    return spread(own.drive(script()).times)


def _break(own: Own) -> str:
    """Kill a server that is receiving an upload; return the path of the upload."""
    answers: list[Response] = []
    own.drive(one(own.speaker.post(MIB), answers))
    path = place_of(answers[0])
    head = own.speaker.patch(path, 0, MIB).data[:-MIB]
    with socket.create_connection(own.speaker.address, PATIENCE) as connection:
        connection.sendall(head + own.speaker.source.start[:PIECE])
        time.sleep(RECEIVING)
        own.kill()
    return path


def _resumed(own: Own, path: str) -> None:
    """Look whether the upload that was broken off can be gone on with."""
    answers: list[Response] = []
    own.drive(one(own.speaker.head(path), answers))
    offset = int(answers[0].header(b"Upload-Offset"))
    own.drive(one(own.speaker.patch(path, offset, MIB - offset), []))
