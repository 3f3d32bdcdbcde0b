"""What all tests of the uploader need: a file, a store, what was told, and failures that are tried again at once."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tests.client.toy import Toy
from tusd_py.client import patience
from tusd_py.client.records import Event
from tusd_py.client.retry import Backoff
from tusd_py.client.urlstore import UrlStore

E = TypeVar("E", bound=Event)


class Told(list[Event]):
    """The events of a transfer; passed as `told.append`."""

    def of(self, kind: type[E]) -> list[E]:
        """Return those of one kind."""
        return [event for event in self if isinstance(event, kind)]

    @property
    def story(self) -> list[str]:
        """The names of all events but those of progress."""
        return [name for event in self if (name := type(event).__name__) != "Progress"]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw short waits: nothing is waited for that a test needs."""
    monkeypatch.setattr(patience, "Backoff", functools.partial(Backoff, jitter=lambda: 0.001))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def store(tmp_path: Path) -> UrlStore:
    return UrlStore(tmp_path / "state" / "tusd-py" / "resumable.sqlite3")


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[..., Path]:
    """Make files of random bytes."""

    def make(size: int, name: str = "film.mp4") -> Path:
        path = tmp_path / name
        path.write_bytes(os.urandom(size))
        return path

    return make


@pytest.fixture
async def toy() -> AsyncIterator[Toy]:
    async with Toy.open() as toy:
        yield toy
