"""Figures and tables for people."""

import pytest

from tusd_py.cli import text


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (10 * 2**30, "10.0 GiB"), (2**63, "8.0 EiB")]
)
def test_round_size(count: int, shown: str) -> None:
    """The unit grows with the number."""
    assert shown == text.round_size(count)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0s"), (0, "0s"), (59.9, "59s"), (60, "1m 0s"), (3661, "1h 1m"), (7 * 86400 - 1, "6d 23h")],
)
def test_round_span(seconds: float, shown: str) -> None:
    """The two largest units say enough."""
    assert shown == text.round_span(seconds)


def test_table_aligns_columns_without_trailing_spaces() -> None:
    """Columns are as wide as their widest cell; the last one is free."""
    assert "A     B\nlong  x\n1" == text.table(("A", "B"), [("long", "x"), ("1", "")])


@pytest.mark.parametrize(
    ("given", "shown"), [("héllo 世界", "héllo 世界"), ("a\x1b[2Jb", "a\\x1b[2Jb"), ("\u202etxt.exe", "\\u202etxt.exe")]
)
def test_printable(given: str, shown: str) -> None:
    """What could deceive or move a terminal is shown as an escape; other languages are not."""
    assert shown == text.printable(given)
