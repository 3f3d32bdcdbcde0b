"""What a process did to its files, and what it answered: read from the output of `strace`, call by call.

A call begins and ends in different places of the trace, and others lie between. What it does counts from its beginning
on, what it promises from its end on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults.crash_states.simfs import Change, File, SimFs

CALLS = (
    "openat,mkdir,mkdirat,unlink,unlinkat,rename,write,pwrite64,pwritev,pwritev2,splice,copy_file_range,ftruncate,"
    "fsync,fdatasync,syncfs,sendto,sendmsg"
)
SYNCING = ("fsync", "fdatasync", "syncfs")
TELLING = ("sendto", "sendmsg", "write")
LONGEST = 192 * 1024
"""Bytes of a string that are in the trace. Only ballast is longer, and what it holds does not matter."""

Connection = tuple[int, int]
"""The ports of a server and its client: one client port may serve connections to several servers."""

_LINE = re.compile(r"(\d+) +(?:(\w+)\((.*)|<\.\.\. (\w+) resumed>(.*))")
_RESULT = re.compile(r"\) += (-?\d+|\?)[^()]*(?:\(.*\))?$")
_FD = re.compile(r"(-?\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})*)>")
_CONNECTION = re.compile(r"127\.0\.0\.1:(\d+)->127\.0\.0\.1:(\d+)\]")


def command(trace: Path) -> list[str]:
    """Return what to put before a command to have it traced, with everything that it starts."""
    return ["strace", "-f", "-qq", "-xx", "-yy", "-s", str(LONGEST), "-o", str(trace), "-e", f"trace={CALLS}"]


@dataclass(eq=False)
class Call:
    """One system call; `result` is None when the process died in it."""

    name: str
    arguments: list[str]
    """As they are in the trace, with strings left out."""
    strings: list[bytes]
    result: int | None = None

    @property
    def data(self) -> bytes:
        return b"".join(self.strings)

    @property
    def texts(self) -> list[str]:
        return [each.decode("utf-8", "replace") for each in self.strings]

    @property
    def connection(self) -> Connection | None:
        """The connection that is the first argument."""
        match = _CONNECTION.search(self.arguments[0])
        return (int(match[1]), int(match[2])) if match else None

    def touches(self, path: str) -> bool:
        """Whether something that begins with a path is among the arguments."""
        escaped = "".join(f"\\x{byte:02x}" for byte in path.encode())
        return any(escaped in each for each in self.arguments) or any(
            each.startswith(path.encode()) for each in self.strings
        )

    def path(self, index: int) -> str:
        """Return the path of a descriptor among the arguments."""
        match = _FD.match(self.arguments[index])
        return _bytes(match[2]).decode("utf-8", "replace") if match else ""

    def at(self) -> str:
        """Return the path that the first descriptor and the first string make."""
        (name,) = self.texts
        return name if name.startswith("/") else f"{self.path(0)}/{name}"


@dataclass(frozen=True)
class Answered:
    """The status line of an answer began to go into this connection."""

    connection: Connection
    status: int


def read(trace: Path) -> list[tuple[Call, bool]]:
    """Return every call twice, when it begins and, unless its process died in it, when it ends (True)."""
    under_way: dict[str, Call] = {}
    events: list[tuple[Call, bool]] = []
    with trace.open(encoding="latin-1") as lines:
        for line in lines:
            match = _LINE.match(line.rstrip("\n"))
            if match is None:
                continue  # a process that ended
            thread, name, arguments, _, rest = match.groups()
            if name is None:
                call, end = under_way.pop(thread), rest
            else:
                call, end = _begun(name, arguments)
                events.append((call, False))
            if end is None:
                under_way[thread] = call
            elif (found := _RESULT.search(end)) is not None and found[1] != "?":
                call.result = int(found[1])
                events.append((call, True))
    return events


def _begun(name: str, rest: str) -> tuple[Call, str | None]:
    """Return a call, and what stands in the trace behind its arguments; None if they are all of the line."""
    pieces = rest.split('"')
    between, strings = "".join(pieces[::2]), [_bytes(each) for each in pieces[1::2]]
    arguments, unfinished, _ = between.partition(" <unfinished ...>")
    if unfinished:
        return Call(name, arguments.split(", "), strings), None
    found = _RESULT.search(between)
    assert found is not None, between
    return Call(name, between[: found.start()].split(", "), strings), between[found.start() :]


class Tracer:
    """Plays a trace on a simulated file system, which stands for one directory."""

    def __init__(self, place: Path, notes: Path, content: Callable[[str, int, int], bytes]) -> None:
        """Take what happens below `place`, and lines for `notes`.

        `content` tells what stands in a file, by its name and the first and last offset: of bytes that were moved
        from a socket no trace knows.
        """
        self.fs = SimFs()
        self._place = f"{place}/"
        self._notes = str(notes)
        self._content = content
        self._changes: dict[Call, Change] = {}
        self._syncs: dict[Call, Callable[[], None]] = {}

    def step(self, call: Call, ended: bool) -> Answered | bytes | bool:
        """Play the beginning or the end of a call. Returns what it told, or whether it changed anything."""
        if ended:
            return self._end(call)
        if call.name in TELLING and (told := self._told(call)):
            return told
        if call.result is not None and call.result < 0:
            return False
        if call.name in SYNCING:
            self._begin_sync(call)
            return False
        change = _CHANGES[call.name](self, call) if call.name in _CHANGES else None
        if change is not None:
            self._changes[call] = change
        return change is not None

    def _end(self, call: Call) -> bool:
        if (change := self._changes.pop(call, None)) is not None:
            change.complete = True
        done = self._syncs.pop(call, None)
        if done is None or call.result != 0:
            return False
        done()
        return True

    def _told(self, call: Call) -> Answered | bytes | None:
        if call.path(0) == self._notes:
            return call.data
        start = call.data[:12]
        return Answered(call.connection, int(start[9:])) if call.connection and start.startswith(b"HTTP/1.1 ") else None

    def _inside(self, path: str) -> str | None:
        """Return a path as the simulated file system has it; None if it does not matter."""
        # The index of the log is memory that processes share, and a socket holds nothing: no recovery reads them.
        if not path.startswith(self._place) or path.endswith(("-shm", "/control.sock")) or "(deleted)" in path:
            return None
        return path.removeprefix(self._place)

    def _begin_sync(self, call: Call) -> None:
        if f"{call.path(0)}/".startswith(self._place):
            path = f"{call.path(0)}/".removeprefix(self._place)
            self._syncs[call] = self.fs.sync_all() if call.name == "syncfs" else self.fs.sync(path)

    def _open(self, call: Call) -> Change | None:
        path = self._inside(call.at())
        if path is None:
            return None
        if "O_CREAT" in call.arguments[2] and self.fs.find(path) is None:
            return self.fs.make(path)
        return self.fs.resize(path, 0) if "O_TRUNC" in call.arguments[2] else None

    def _make_directory(self, call: Call, *, at: bool) -> Change | None:
        path = self._inside(call.at() if at else call.texts[0])
        return None if path is None else self.fs.make(path, directory=True)

    def _unlink(self, call: Call, *, at: bool) -> Change | None:
        path = self._inside(call.at() if at else call.texts[0])
        return None if path is None else self.fs.remove(path)

    def _rename(self, call: Call) -> Change | None:
        old, new = map(self._inside, call.texts)
        return None if old is None or new is None else self.fs.rename(old, new)

    def _write(self, call: Call) -> Change | None:
        path = self._inside(call.path(0))
        if path is None:
            return None
        if call.name == "write":  # only ever used to fill a new file
            node = self.fs.find(path)
            if not isinstance(node, File):
                return None  # the descriptor had got another meaning by the time its path was looked up
            start = len(node.live)
        else:
            start = int(call.arguments[-2 if call.name == "pwritev2" else -1])
        data = call.data if call.result is None else call.data[: call.result].ljust(call.result, b"\0")
        return self.fs.write(path, start, data)

    def _splice(self, call: Call) -> Change | None:
        path = self._inside(call.path(2))
        if path is None or not call.result:
            return None
        start = int(call.arguments[3].strip("[]"))
        return self.fs.write(path, start, self._content(Path(path).name, start, start + call.result))

    def _copy(self, call: Call) -> Change | None:
        source, target = self._inside(call.path(0)), self._inside(call.path(2))
        if source is None or target is None or not call.result:
            return None
        begin, start = (int(call.arguments[index].strip("[]")) for index in (1, 3))
        data = bytes(self.fs.file(source).live[begin : begin + call.result])
        return self.fs.write(target, start, data)

    def _resize(self, call: Call) -> Change | None:
        path = self._inside(call.path(0))
        return None if path is None else self.fs.resize(path, int(call.arguments[1]))


_CHANGES: dict[str, Callable[[Tracer, Call], Change | None]] = {
    "openat": Tracer._open,
    "mkdir": partial(Tracer._make_directory, at=False),
    "mkdirat": partial(Tracer._make_directory, at=True),
    "unlink": partial(Tracer._unlink, at=False),
    "unlinkat": partial(Tracer._unlink, at=True),
    "rename": Tracer._rename,
    "write": Tracer._write,
    "pwrite64": Tracer._write,
    "pwritev": Tracer._write,
    "pwritev2": Tracer._write,
    "splice": Tracer._splice,
    "copy_file_range": Tracer._copy,
    "ftruncate": Tracer._resize,
}


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))
