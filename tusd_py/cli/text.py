"""Text for people's terminals: safe to show, aligned, in round figures. And for their programs: JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_STEP = 1024
_SPANS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def printable(text: str, keep: str = "") -> str:
    """Return a text with every character escaped that could move a cursor, end a line or reverse reading order."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in text
    )


def round_size(count: int) -> str:
    """Return a number of bytes in three or four figures."""
    size = float(count)
    for unit in _UNITS:
        if size < _STEP or unit == _UNITS[-1]:
            break
        size /= _STEP
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def round_span(seconds: float) -> str:
    """Return a time span in its two largest units."""
    rest = max(int(seconds), 0)
    parts: list[str] = []
    for factor, unit in _SPANS:
        count, rest = divmod(rest, factor)
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def date(seconds: float) -> str:
    """Return a time (Unix epoch) as ISO 8601 has it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return lines with aligned columns; the last column is not padded."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    )


def document(record: object) -> str:
    """Return one JSON document, indented."""
    return msgspec.json.format(msgspec.json.encode(record)).decode()
