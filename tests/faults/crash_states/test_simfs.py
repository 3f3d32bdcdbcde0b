"""The simulated file system of the crash states keeps what was synced, and can lose anything else (T2)."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.crash_states.simfs import Change, Fate, Names, SimFs, Write, lay_out


@pytest.fixture
def fs() -> SimFs:
    """A synced directory `d` with a synced file `f` of 1,000 bytes in it."""
    fs = SimFs()
    for change in (fs.make("d", directory=True), fs.make("d/f"), fs.write("d/f", 0, b"a" * 1000)):
        change.complete = True
    fs.sync_all()()
    return fs


def all_are(fate: Fate) -> Callable[[Change], Fate]:
    return lambda _: fate


def left(fs: SimFs, fate: Callable[[Change], Fate], seed: int = 1) -> dict[str, bytes | None]:
    return fs.crash(fate, random.Random(seed))


def test_synced_things_stay(fs: SimFs) -> None:
    """Nothing that was synced can be lost."""
    assert fs.pending() == []
    assert left(fs, all_are(Fate.LOST)) == {"d": None, "d/f": b"a" * 1000} == fs.alive()


def test_a_sync_of_a_file_is_not_one_of_its_name(fs: SimFs) -> None:
    """A file can be lost with all its synced bytes until its directory is synced; in a lost directory anyway."""
    for change in (fs.make("e", directory=True), fs.make("e/g"), fs.write("e/g", 0, b"new")):
        change.complete = True
    fs.sync("e/g")()
    assert left(fs, all_are(Fate.LOST)) == {"d": None, "d/f": b"a" * 1000}
    fs.sync("e")()
    assert "e" not in left(fs, all_are(Fate.LOST))
    fs.sync("")()
    assert left(fs, all_are(Fate.LOST))["e/g"] == b"new"


def test_sync_covers_what_was_complete_when_it_began(fs: SimFs) -> None:
    """A write that a sync did not see complete may be lost after it."""
    early, late = fs.write("d/f", 0, b"b"), fs.write("d/f", 1, b"c")
    early.complete = True
    done = fs.sync("d/f")
    late.complete = True
    assert left(fs, all_are(Fate.LOST))["d/f"] == b"a" * 1000
    done()
    assert left(fs, all_are(Fate.LOST))["d/f"] == b"b" + b"a" * 999
    assert left(fs, all_are(Fate.KEPT))["d/f"] == b"bc" + b"a" * 998


def test_sizes_may_come_before_bytes(fs: SimFs) -> None:
    """Where a file grew there may be zeros or garbage; what was there before is never hurt."""
    fs.write("d/f", 990, b"b" * 20)
    assert left(fs, all_are(Fate.SIZE))["d/f"] == b"a" * 1000 + bytes(10)
    assert left(fs, all_are(Fate.STALE))["d/f"] == b"a" * 1000 + b"\xa5" * 10


def test_torn_writes(fs: SimFs) -> None:
    """Sectors of a write come in any selection, each as a whole."""
    fs.write("d/f", 100, b"b" * 2000)
    seen = set()
    for seed in range(60):
        data = left(fs, all_are(Fate.TORN), seed)["d/f"]
        assert data is not None
        sectors = [data[max(100, start) : start + 512] for start in range(0, 2100, 512)]
        assert all(set(sector) in ({ord("b")}, {ord("a")}, {0}, {ord("a"), 0}) for sector in sectors)
        seen.add(tuple(sector[0] for sector in sectors))
    assert len(seen) > 10


def test_a_sector_has_no_future_without_its_past(fs: SimFs) -> None:
    """A newer write to a sector brings the older ones to the same sector along, and nothing of other sectors."""
    fs.write("d/f", 1000, b"b" * 200)
    later = fs.write("d/f", 1200, b"c" * 10)
    only_later = left(fs, lambda change: Fate.KEPT if change is later else Fate.LOST)["d/f"]
    assert only_later == b"a" * 1000 + bytes(24) + b"b" * 176 + b"c" * 10


def test_resizing(fs: SimFs) -> None:
    """A cut that is lost leaves the tail; bytes from before a cut never come back behind it."""
    fs.write("d/f", 600, b"b" * 400)
    fs.resize("d/f", 600)
    assert left(fs, lambda change: Fate.KEPT if isinstance(change, Write) else Fate.LOST)["d/f"] == (
        b"a" * 600 + b"b" * 400
    )
    after = fs.write("d/f", 700, b"c")
    assert left(fs, all_are(Fate.KEPT))["d/f"] == b"a" * 600 + bytes(100) + b"c" == fs.alive()["d/f"]
    assert left(fs, lambda change: Fate.LOST if change is after else Fate.KEPT)["d/f"] == b"a" * 600


def test_a_rename_is_one_step(fs: SimFs) -> None:
    """A file has the old name or the new one, never both or none; either directory makes it durable."""
    made = fs.make("e", directory=True)
    made.complete = True
    fs.sync("")()
    moved = fs.rename("d/f", "e/f")
    moved.complete = True
    assert {"d/f", "e/f"} & set(left(fs, all_are(Fate.LOST))) == {"d/f"}
    assert {"d/f", "e/f"} & set(left(fs, all_are(Fate.KEPT))) == {"e/f"}
    fs.sync("d")()
    assert {"d/f", "e/f"} & set(left(fs, all_are(Fate.LOST))) == {"e/f"}


def test_removed_and_made_again(fs: SimFs) -> None:
    """A name that was given anew shows the old file or the new one."""
    fs.remove("d/f")
    fs.make("d/f")
    assert left(fs, all_are(Fate.LOST))["d/f"] == b"a" * 1000
    assert left(fs, all_are(Fate.KEPT))["d/f"] == b""
    first = next(change for change in fs.pending() if isinstance(change, Names))
    assert "d/f" not in left(fs, lambda change: Fate.KEPT if change is first else Fate.LOST)


def test_laid_out(fs: SimFs, tmp_path: Path) -> None:
    """A crash state becomes real directories and files, as the modes of a data directory are."""
    change = fs.write("d/f", 1000, bytes(10_000))
    lay_out(left(fs, lambda each: Fate.KEPT if each is change else Fate.LOST), tmp_path)
    assert (tmp_path / "d/f").read_bytes() == b"a" * 1000 + bytes(10_000)
    assert (tmp_path / "d/f").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o700
