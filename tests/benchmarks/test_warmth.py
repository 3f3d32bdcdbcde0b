"""Memory that is in use before each turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import warmth

MIB = 2**20


def test_takes_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is free beyond a reserve gets pages of a file without a byte in it; the same page is never read again."""
    free = warmth.LEFT + 3 * MIB
    monkeypatch.setattr(warmth, "free_memory", lambda: free)
    with warmth.Warmth(tmp_path) as kept:
        kept.keep()
        assert kept._position == 3 * MIB
        kept.keep()
        assert kept._position == 6 * MIB
        free = warmth.LEFT
        kept.keep()
        assert kept._position == 6 * MIB
    assert list(tmp_path.iterdir()) == []


def test_free_memory() -> None:
    """The kernel is asked, in bytes."""
    assert MIB < warmth.free_memory() < 2**50
