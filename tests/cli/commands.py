"""The command as a process, as a shell runs it."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec

BODY = random.Random(1).randbytes(3 * 2**20 + 7)
SLOWLY = ("--limit-rate", "2MiB")
"""Flags that leave time to interrupt what sends `BODY`."""


def write(folder: Path, name: str, content: bytes = BODY) -> Path:
    """Write a file; return its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What it wrote to standard output."""
        return self.out.splitlines()

    @property
    def errors(self) -> list[str]:
        """What it wrote to standard error."""
        return self.err.splitlines()

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it wrote to standard output with --json."""
        return [msgspec.json.decode(line) for line in self.lines]


@dataclass
class Command:
    """How commands are run: whatever they remember is in a directory of the test."""

    home: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment of a command."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("TUSD_PY_", "XDG_"))}
        return ours | {"HOME": str(self.home), "XDG_STATE_HOME": str(self.home / "state"), "PYTHONWARNINGS": "error"}

    async def start(self, *args: object, **options: Any) -> Running:
        """Start `tusd-py` with these arguments, and return at once."""
        pipes = {"stdin": asyncio.subprocess.DEVNULL, "stdout": asyncio.subprocess.PIPE}
        options = {**pipes, "stderr": asyncio.subprocess.PIPE, "env": self.env, **options}
        words = [os.fspath(arg) if isinstance(arg, os.PathLike) else str(arg) for arg in args]
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tusd_py", *words, **options)
        return Running(process)

    async def run(self, *args: object, data: bytes | None = None, **options: Any) -> Done:
        """Run `tusd-py` with these arguments, and with `data` on its standard input, to its end."""
        if data is not None:
            options["stdin"] = asyncio.subprocess.PIPE
        async with await self.start(*args, **options) as running:
            return await running.end(data)


class Running:
    """A command that runs; it is killed when the block ends before it does."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what it writes with --json, as it comes."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            yield msgspec.json.decode(line)

    async def until_moving(self, offset: int = 1) -> list[dict[str, Any]]:
        """Wait until so many bytes have arrived; return the events until then."""
        seen = []
        async for event in self.events():
            seen.append(event)
            if event["event"] == "progress" and event["offset"] >= offset:
                return seen
        raise AssertionError(f"it ended before: {seen} {(await self.end()).err}")

    async def end(self, data: bytes | None = None) -> Done:
        """Wait until it ends by itself; never with a traceback."""
        out, err = await asyncio.wait_for(self.process.communicate(data), 60)
        assert self.process.returncode is not None
        done = Done(self.process.returncode, (out or b"").decode(), (err or b"").decode())
        assert "Traceback" not in done.err, done.err
        return done
