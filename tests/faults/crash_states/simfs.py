"""A file system that forgets: it knows what was synced, and builds whatever a power cut may leave of the rest.

It promises no more than POSIX does, so its crash states contain those of every real file system: a sync of a file makes
its bytes and its size durable and nothing else, a sync of a directory the names in it. What is not synced survives in
any selection: sectors of 512 bytes in any order, sizes before bytes (zeros or stale garbage between), names in any
order; only a rename is never seen half done, and no sector ever has newer bytes without the older ones.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path, PurePosixPath

SECTOR = 512
STALE = b"\xa5"


class Fate(Enum):
    """What becomes of a change that was not synced."""

    LOST = auto()
    KEPT = auto()
    SIZE = auto()
    """Of a write: the file has the size, and zeros where it grew."""
    STALE = auto()
    """The same with what the disk held before."""
    TORN = auto()
    """Of a write: any of its sectors."""


@dataclass(eq=False)
class Change:
    """Something that was done and is not known to be on the disk."""

    complete: bool = False
    """Whether the call has returned; only then a later sync covers it."""


@dataclass(eq=False)
class Write(Change):
    """Bytes of a file."""

    start: int = 0
    data: bytes = b""

    @property
    def end(self) -> int:
        return self.start + len(self.data)


@dataclass(eq=False)
class Resize(Change):
    """A new size of a file."""

    size: int = 0


@dataclass(eq=False)
class Names(Change):
    """Names that appear (with a node) or vanish (None) together."""

    names: tuple[tuple[Directory, str, File | Directory | None], ...] = ()


@dataclass(eq=False)
class File:
    """Bytes: as programs see them, as they are on the disk, and what lies between."""

    live: bytearray = field(default_factory=bytearray)
    stable: bytearray = field(default_factory=bytearray)
    pending: list[Write | Resize] = field(default_factory=list)


@dataclass(eq=False)
class Directory:
    """Names: as programs see them, and as they are on the disk."""

    live: dict[str, File | Directory] = field(default_factory=dict)
    stable: dict[str, File | Directory] = field(default_factory=dict)


class SimFs:
    """One file system. The calls return their change, to be called complete when the call has returned."""

    def __init__(self) -> None:
        self.root = Directory()
        self.names: list[Names] = []
        self._files: list[File] = []

    def find(self, path: str) -> File | Directory | None:
        """Return what programs see at a path; None if there is nothing."""
        node: File | Directory | None = self.root
        for part in PurePosixPath(path).parts:
            if not isinstance(node, Directory):
                return None
            node = node.live.get(part)
        return node

    def file(self, path: str) -> File:
        """Return the file at a path. Raises `LookupError`."""
        node = self.find(path)
        if not isinstance(node, File):
            raise LookupError(path)
        return node

    def make(self, path: str, *, directory: bool = False) -> Names:
        """Make an empty file or directory."""
        node: File | Directory = Directory() if directory else File()
        if isinstance(node, File):
            self._files.append(node)
        return self._name((path, node))

    def remove(self, path: str) -> Names:
        """Take a name away."""
        return self._name((path, None))

    def rename(self, old: str, new: str) -> Names:
        """Give a node another name, in one step."""
        return self._name((old, None), (new, self.find(old)))

    def write(self, path: str, start: int, data: bytes) -> Write:
        """Put bytes into a file."""
        file, change = self.file(path), Write(start=start, data=data)
        _put(file.live, start, data)
        file.pending.append(change)
        return change

    def resize(self, path: str, size: int) -> Resize:
        """Cut a file off, or let it grow by zeros."""
        file, change = self.file(path), Resize(size=size)
        _resize(file.live, size)
        file.pending.append(change)
        return change

    def sync(self, path: str) -> Callable[[], None]:
        """Begin to sync a file or directory; what is returned, called when the sync has, makes it durable."""
        node = self.find(path)
        if isinstance(node, File):
            return self._sync_file(node)
        return self._sync_names([each for each in self.names if any(where is node for where, _, _ in each.names)])

    def sync_all(self) -> Callable[[], None]:
        """Begin to sync everything; as `sync`."""
        steps = [self._sync_names(self.names), *map(self._sync_file, self._files)]

        def done() -> None:
            for step in steps:
                step()

        return done

    def pending(self) -> list[Change]:
        """Return what a power cut may lose, in the order in which it was done, names first."""
        return [*self.names, *(change for file in self._files for change in file.pending)]

    def crash(self, fate: Callable[[Change], Fate], chance: random.Random) -> dict[str, bytes | None]:
        """Return what a power cut leaves, by path; None is a directory. `chance` chooses the sectors of what is torn.

        Changes nothing.
        """
        names: dict[Directory, dict[str, File | Directory]] = {}
        for change in self.names:
            if fate(change) is not Fate.LOST:
                for where, name, node in change.names:
                    _enter(names.setdefault(where, dict(where.stable)), name, node)
        tree: dict[str, bytes | None] = {}
        for path, node in _walk(self.root, names):
            tree[path] = None if isinstance(node, Directory) else _survives(node, fate, chance)
        return tree

    def alive(self) -> dict[str, bytes | None]:
        """Return what programs see, by path, as `crash` does: what is left when only processes die."""
        names = {each: each.live for each in _directories(self.root)}
        found = _walk(self.root, names)
        return {path: None if isinstance(node, Directory) else bytes(node.live) for path, node in found}

    def _name(self, *entries: tuple[str, File | Directory | None]) -> Names:
        names = []
        for path, node in entries:
            parent = self.find(str(PurePosixPath(path).parent))
            if not isinstance(parent, Directory):
                raise LookupError(path)
            names.append((parent, PurePosixPath(path).name, node))
            _enter(parent.live, PurePosixPath(path).name, node)
        self.names.append(change := Names(names=tuple(names)))
        return change

    def _sync_file(self, file: File) -> Callable[[], None]:
        covered = [change for change in file.pending if change.complete]

        def done() -> None:
            for change in [each for each in file.pending if each in covered]:
                _apply(file.stable, change)
            file.pending = [each for each in file.pending if each not in covered]

        return done

    def _sync_names(self, of_them: Iterable[Names]) -> Callable[[], None]:
        covered = [change for change in of_them if change.complete]

        def done() -> None:
            for change in [each for each in self.names if each in covered]:
                for where, name, node in change.names:
                    _enter(where.stable, name, node)
            self.names = [each for each in self.names if each not in covered]

        return done


def lay_out(tree: dict[str, bytes | None], place: Path) -> None:
    """Make the directories and files of a crash state below a directory; a file of zeros becomes a hole."""
    for path, data in tree.items():
        if data is None:
            (place / path).mkdir(mode=0o700)
            continue
        with open(place / path, "xb") as file:
            if data != bytes(len(data)):
                file.write(data)
            file.truncate(len(data))
        (place / path).chmod(0o600)


def _enter(names: dict[str, File | Directory], name: str, node: File | Directory | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


def _directories(top: Directory) -> Iterator[Directory]:
    yield top
    for node in top.live.values():
        if isinstance(node, Directory):
            yield from _directories(node)


def _walk(
    top: Directory, names: dict[Directory, dict[str, File | Directory]], path: str = ""
) -> Iterator[tuple[str, File | Directory]]:
    for name, node in sorted(names.get(top, top.stable).items()):
        yield path + name, node
        if isinstance(node, Directory):
            yield from _walk(node, names, f"{path}{name}/")


def _survives(file: File, fate: Callable[[Change], Fate], chance: random.Random) -> bytes:
    content = bytearray(file.stable)
    earlier: list[Write] = []
    for change in file.pending:
        chosen = fate(change)
        if isinstance(change, Resize):
            if chosen is not Fate.LOST:
                _resize(content, change.size)
            earlier.clear()
            continue
        if chosen in (Fate.SIZE, Fate.STALE, Fate.TORN) and change.end > len(content):
            filler = STALE if chosen is Fate.STALE else b"\0"
            content += filler * (change.end - len(content))
        for start, end in _sectors(change, chosen, chance):
            for write in [*earlier, change]:
                low, high = max(start, write.start), min(end, write.end)
                if low < high:
                    _put(content, low, write.data[low - write.start : high - write.start])
        earlier.append(change)
    return bytes(content)


def _sectors(change: Write, fate: Fate, chance: random.Random) -> list[tuple[int, int]]:
    """Return the ranges of sectors of a write that reach the disk."""
    first, last = change.start // SECTOR, -(-change.end // SECTOR)
    if fate is Fate.KEPT:
        return [(first * SECTOR, last * SECTOR)]
    if fate is not Fate.TORN:
        return []
    if chance.random() < 0.5:
        cut = chance.randrange(first, last + 1)
        return [(first * SECTOR, cut * SECTOR)]
    return [(each * SECTOR, (each + 1) * SECTOR) for each in range(first, last) if chance.random() < 0.5]


def _apply(content: bytearray, change: Write | Resize) -> None:
    if isinstance(change, Resize):
        _resize(content, change.size)
    else:
        _put(content, change.start, change.data)


def _put(content: bytearray, start: int, data: bytes) -> None:
    if start > len(content):
        _resize(content, start)
    content[start : start + len(data)] = data


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content += bytes(size - len(content))
