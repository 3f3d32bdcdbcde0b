"""Which files the arguments of `upload` mean, and how each is called at the other end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

import msgspec

from tusd_py.client.errors import SourceUnusable

PIPE = "-"
"""The argument that means standard input."""
PIPE_SHOWN = "standard input"


class Item(msgspec.Struct, frozen=True, gc=False):
    """One file to send."""

    path: str
    """As it was given, or as it lies below a folder that was given; `PIPE` = standard input."""
    size: int | None
    """Bytes when it was found; None = not known."""
    relative: str | None = None
    """The path from the folder that was given, which it begins with; `/` between its names. None = not in a folder."""

    @property
    def shown(self) -> str:
        """What it is called in front of people."""
        return PIPE_SHOWN if self.path == PIPE else self.path

    @property
    def metadata(self) -> dict[str, str]:
        """What the server is told of its name, and of where it lies by the name that Uppy uses."""
        names = {} if self.path == PIPE else {"filename": as_text(os.path.basename(self.path))}
        return names if self.relative is None else names | {"relativePath": as_text(self.relative)}


class Gathered(msgspec.Struct):
    """What was found."""

    items: list[Item] = []
    failures: list[tuple[str, SourceUnusable]] = []
    """What was asked for and cannot be sent, and why."""


def gather(files: Sequence[str], *, recursive: bool, note: Callable[[str], None]) -> Gathered:
    """Find the files to send: those that are named, and with `recursive` the regular files in folders that are named.

    Folders are sorted; links to files in them are followed, links to folders are not. `note` is told of what is
    skipped there. A file that is not there is an item all the same: whoever opens it says what is wrong.
    """
    found = Gathered()
    for path in dict.fromkeys(files):
        if path != PIPE and os.path.isdir(path):
            if recursive:
                found.items += _in_folder(path, found.failures, note)
            else:
                found.failures.append((path, SourceUnusable(f"{path} is a folder; --recursive sends what is in it")))
        else:
            found.items.append(Item(path, None if path == PIPE else _size_of(path)))
    return found


def as_text(path: str) -> str:
    """Return a path as text that can be sent: bytes of it that are no UTF-8 become U+FFFD."""
    return os.fsencode(path).decode(errors="replace")


def _in_folder(folder: str, failures: list[tuple[str, SourceUnusable]], note: Callable[[str], None]) -> Iterator[Item]:
    """Yield the files in a folder. Not by recursion: folders may be nested more deeply than calls."""
    name = os.path.basename(os.path.abspath(folder))
    inside = len(os.path.join(folder, ""))
    left = _entries(folder, failures)
    while left:
        entry = left.pop()
        if entry.is_dir(follow_symlinks=False):
            left += _entries(entry.path, failures)
        elif _is_file(entry):
            yield Item(entry.path, _size_of(entry.path), os.path.join(name, entry.path[inside:]))
        else:
            note(f"left out: {entry.path}, {_what(entry)}")


def _entries(folder: str, failures: list[tuple[str, SourceUnusable]]) -> list[os.DirEntry[str]]:
    """Return what is in a folder, the last one first."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name, reverse=True)
    except OSError as error:
        failures.append((folder, SourceUnusable(f"the folder cannot be read: {error.strerror}")))
        return []


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        # A link to itself, say.
        return False


def _what(entry: os.DirEntry[str]) -> str:
    if not entry.is_symlink():
        return "which is not a regular file"
    return "a link to a folder" if os.path.isdir(entry.path) else "a link to nothing that can be sent"


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
