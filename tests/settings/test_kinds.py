"""What people write for sizes, durations and the rest, and what the server makes of it."""

import math
from enum import StrEnum
from pathlib import Path

import pytest

from tusd_py.settings import kinds


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("1048576", 2**20),
        ("1k", 1000),
        ("1K", 1000),
        ("1kB", 1000),
        ("1KiB", 1024),
        ("1ki", 1024),
        ("500MB", 500 * 10**6),
        ("10GiB", 10 * 2**30),
        ("10 GiB", 10 * 2**30),
        ("1.5gib", 3 * 2**29),
        ("2T", 2 * 10**12),
        (" 7b ", 7),
    ],
)
def test_size_is_read(text: str, count: int) -> None:
    """Bytes stand alone; k M G T count by 1000, Ki Mi Gi Ti by 1024; case does not matter."""
    assert count == kinds.parse_size(text)


@pytest.mark.parametrize(
    "text", ["", "lots", "-1", "+1", "1_0", "1e3", "0x1", "٣", "1GiBB", "10 G B", "1" * 5000, "NaN"]
)
def test_malformed_size_is_refused(text: str) -> None:
    """Anything else is refused with an example, in a line of bearable length."""
    with pytest.raises(ValueError, match=r"is not a size; write bytes, or .*10GiB") as caught:
        kinds.parse_size(text)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0", 0),
        ("0.5", 0.5),
        ("500ms", 0.5),
        ("3s", 3),
        ("15m", 900),
        ("12h", 43200),
        ("7d", 604800),
        ("1h30m", 5400),
    ],
)
def test_duration_is_read(text: str, seconds: float) -> None:
    """A plain number is seconds; units may be combined."""
    assert seconds == kinds.parse_duration(text)


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1w", "1 s", "s", "1e3", "inf", "nan", "٣s", "1s1"])
def test_malformed_duration_is_refused(text: str) -> None:
    """Anything else is refused with examples."""
    with pytest.raises(ValueError, match="is not a duration; write seconds, or"):
        kinds.parse_duration(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (1, "1"), (1023, "1023"), (1000, "1kB"), (1024, "1KiB"), (500 * 10**6, "500MB"), (10 * 2**30, "10GiB")],
)
def test_size_is_written_so_that_it_can_be_read(count: int, text: str) -> None:
    """What is shown is the same number of bytes again."""
    assert text == kinds.show_size(count)
    assert count == kinds.parse_size(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.5, "500ms"),
        (1, "1s"),
        (60, "60s"),
        (75, "75s"),
        (120, "2m"),
        (3600, "1h"),
        (86400, "1d"),
        (5400, "90m"),
    ],
)
def test_duration_is_written_so_that_it_can_be_read(seconds: float, text: str) -> None:
    """What is shown is the same time again."""
    assert text == kinds.show_duration(seconds)
    assert seconds == kinds.parse_duration(text)


class Colour(StrEnum):
    """A few values."""

    RED = "red"
    BLUE = "blue"


def _check(item: str) -> str:
    if item == "bad":
        raise ValueError("'bad' is bad")
    return item.upper()


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (kinds.whole("N", 0, 9), "7", 7),
        (kinds.whole("N", 0, 9), 7, 7),
        (kinds.size(), "1k", 1000),
        (kinds.size(), 5, 5),
        (kinds.duration(), "1m", 60.0),
        (kinds.duration(), 2, 2.0),
        (kinds.duration(positive=False), 0, 0.0),
        (kinds.optional(kinds.size()), None, None),
        (kinds.optional(kinds.size()), "none", None),
        (kinds.optional(kinds.size(), off=("0", "none")), 0, None),
        (kinds.choice(Colour), "red", Colour.RED),
        (kinds.choice(Colour), Colour.BLUE, Colour.BLUE),
        (kinds.SWITCH, True, True),
        (kinds.SWITCH, "0", False),
        (kinds.SWITCH, "true", True),
        (kinds.PATH, "./x", Path("x")),
        (kinds.many("X", _check), "a, b,,c", ("A", "B", "C")),
        (kinds.many("X", _check), ["a", "b,c"], ("A", "B", "C")),
        (kinds.many("X", str, everything="*"), ["a", "*"], ()),
        (kinds.many("X", _check), "a,b,A", ("A", "B")),
        (kinds.text("X", _check), "a", "A"),
        (kinds.choice([Colour.RED]), "red", Colour.RED),
        (kinds.COMMAND, ["convert", "", "a,b"], ("convert", "", "a,b")),
        (kinds.secret(), "1234567890123456", "1234567890123456"),
        (kinds.secret(), kinds.MASK, kinds.MASK),
    ],
)
def test_value_is_taken(kind: kinds.Kind, value: object, expected: object) -> None:
    """Texts and Python values lead to the same value."""
    assert expected == kind.accept(value)


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        (kinds.whole("N", 0, 9), "10", "'10' is too large; it must be at most 9"),
        (kinds.whole("N", 1, 9), 0, "0 is too small; it must be at least 1"),
        (kinds.whole("N", 0, 9), True, "True is not a whole number"),
        (kinds.whole("N", 0, 9), "1.0", "'1.0' is not a whole number"),
        (kinds.size(), 1.5, "1.5 is not a size"),
        (kinds.size(), "0", "'0' is too small; it must be at least 1"),
        (kinds.size(), 2**63, "9223372036854775808 is too large"),
        (kinds.duration(), "0", "'0' is too short; it must be more than 0s"),
        (kinds.duration(positive=False), -1, "-1 is too short; it must be at least 0s"),
        (kinds.duration(), math.inf, "inf is not a duration"),
        (kinds.duration(), False, "False is not a duration"),
        (kinds.choice(Colour), "green", "'green' is none of red, blue"),
        (kinds.SWITCH, "yes", "'yes' is neither true nor false"),
        (kinds.SWITCH, 1, "1 is neither true nor false"),
        (kinds.PATH, "", "'' is not a path"),
        (kinds.PATH, "a\0b", "is not a path"),
        (kinds.many("X", _check), 5, "5 is not a list"),
        (kinds.many("X", _check), ["a", 5], "5 is not a text"),
        (kinds.many("X", _check), "a,bad", "'bad' is bad"),
        (kinds.text("X"), "", "'' is not a text"),
        (kinds.choice([Colour.RED]), "blue", "'blue' is none of red"),
        (kinds.COMMAND, "convert a", "'convert a' is not a list"),
        (kinds.COMMAND, 5, "5 is not a list"),
        (kinds.COMMAND, [], "[] names no program"),
        (kinds.COMMAND, ["", "a"], "['', 'a'] names no program"),
        (kinds.COMMAND, ["a", 5], "5 is not a text that a program can be given"),
        (kinds.COMMAND, ["a", "b\0"], "is not a text that a program can be given"),
        (kinds.secret(), "123456789012345", "a secret has at least 16 characters, this one has 15"),
        (kinds.secret(), 1234567890123456, "a secret is a text"),
    ],
)
def test_value_is_refused(kind: kinds.Kind, value: object, problem: str) -> None:
    """The message begins with the value and says what is wrong."""
    with pytest.raises(ValueError) as caught:
        kind.accept(value)
    assert problem in str(caught.value)


def test_message_is_one_line_without_control_characters() -> None:
    """Whatever was written, the message can be printed."""
    with pytest.raises(ValueError) as caught:
        kinds.parse_size("1\n\x1b[2J\u202e")
    assert str(caught.value).isprintable()
