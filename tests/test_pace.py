"""How fast bytes may be taken."""

from __future__ import annotations

from tusd_py.models.pace import BURST, Pace


def test_room_grows_with_time() -> None:
    """Half a second's worth is there at first, and never more; what is spent comes back with time."""
    pace = Pace(1024)
    assert pace.room(5.0) == pace.room(9.0) == 1024 * BURST
    pace.spend(512)
    assert pace.room(9.0) == 0
    assert pace.room(9.125) == 128
    assert pace.room(99.0) == 512


def test_what_was_too_much_is_paid_back() -> None:
    """Bytes that were taken without room for them delay the next ones for as long as they would have taken."""
    pace = Pace(1024)
    assert pace.pause(0.0) == 0
    pace.spend(512 + 2048)
    assert pace.pause(0.0) == 2 + 1 / 1024
    assert pace.room(2.0) == 0
    assert pace.room(2.125) == 128


def test_the_smallest_rate() -> None:
    """One byte a second is a rate, too."""
    pace = Pace(1)
    assert pace.room(0.0) == 1
    pace.spend(1)
    assert (pace.room(0.75), pace.pause(0.75)) == (0, 0.25)
    assert pace.room(1.0) == 1
