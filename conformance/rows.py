"""What a check is about: an identifier, how binding it is, one sentence, and where the protocol says so."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import pytest

Check = TypeVar("Check", bound=Callable[..., None])


class Level(enum.StrEnum):
    """How binding a row is."""

    MUST = "MUST"
    """The protocol demands it."""
    SHOULD = "SHOULD"
    """The protocol recommends it; there can be reasons not to."""
    DECISION = "DECISION"
    """The protocol leaves it open; this is what tusd-py does, and why it can matter to clients. Nobody has to."""


MUST, SHOULD, DECISION = Level.MUST, Level.SHOULD, Level.DECISION


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the checklist."""

    id: str
    level: Level
    sentence: str
    spec: str
    """Section of the protocol, as its headings name it."""
    needs: tuple[str, ...]
    """Extensions that the server must advertise to be asked; `max-size` stands for a Tus-Max-Size that is not 0."""


def row(identifier: str, level: Level, sentence: str, *, spec: str, needs: str = "") -> Callable[[Check], Check]:
    """Mark a function as the check of a row.

    Args:
        identifier: The id of the row, which never changes.
        level: How binding it is.
        sentence: What a conforming server does.
        spec: Section of the protocol.
        needs: Names of extensions, separated by spaces.
    """
    record = Row(id=identifier, level=level, sentence=sentence, spec=spec, needs=tuple(needs.split()))

    def mark(check: Check) -> Check:
        check.__doc__ = f"{sentence} ({identifier}, {level})"
        marked: Check = pytest.mark.row(record)(check)
        return marked

    return mark


class Deviation(AssertionError):
    """The server did something else than the row says; the message is one sentence about what it did."""


def expect(condition: object, observed: str) -> None:
    """Let the row fail with this sentence unless the condition is true."""
    if not condition:
        raise Deviation(observed)
