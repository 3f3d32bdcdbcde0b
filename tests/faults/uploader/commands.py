"""The real programs: the uploader, which is run again whenever it was killed, and the server, which is as well."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.servers import READY, launch

PORTS = (20_000, 30_000)
"""Below those that the kernel gives to whoever connects: while a server is away, nobody else gets its port."""

WRITE = ("1", "64")
"""Numbers of a system call, on x86-64 and arm64."""


@dataclass(frozen=True)
class Ended:
    """What a program left."""

    code: int
    """Negative for a signal."""
    out: str
    errors: str

    @property
    def fault(self) -> str:
        """What is wrong, unless the files have arrived and nothing strange was said."""
        return str(self) if self.code or "Traceback" in self.errors or "ignored" in self.errors else ""


@dataclass
class Command:
    """One call of `tusd-py upload`; killed, the very same is called again."""

    arguments: Sequence[str]
    state: Path
    """Where it keeps what it has to remember."""
    piped: Path | None = None
    """What comes from a pipe is in this file."""
    kills: int = 0
    runs: list[Ended] = field(default_factory=list)
    _process: asyncio.subprocess.Process | None = None

    @property
    def may_die(self) -> bool:
        """Whether a death now can be survived, and there is somebody to die."""
        return self.piped is None and self._process is not None and self._process.returncode is None

    def kill(self) -> None:
        """Send SIGKILL to the program that runs now."""
        assert self._process is not None
        # Not by its method, which would take the exit code away from asyncio.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)

    @property
    def is_telling(self) -> bool:
        """Whether it waits until somebody reads its standard output."""
        assert self._process is not None
        call = Path(f"/proc/{self._process.pid}/syscall").read_text().split()
        return call[0] in WRITE and call[1] == "0x1"

    async def once(self, out: int = asyncio.subprocess.PIPE) -> Ended:
        """Run it to its end, whatever that is; `out` is its standard output."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", "tusd_py", "upload", *self.arguments),
            stdin=asyncio.subprocess.DEVNULL if self.piped is None else asyncio.subprocess.PIPE,
            stdout=out,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "XDG_STATE_HOME": str(self.state)},
        )
        try:
            told, errors = await self._process.communicate(self.piped.read_bytes() if self.piped else None)
        finally:
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
        assert self._process.returncode is not None
        self.runs.append(Ended(self._process.returncode, (told or b"").decode(), errors.decode(errors="replace")))
        return self.runs[-1]

    async def until_it_ends(self) -> Ended:
        """Run it again after every kill; return the first end that was none, or told the URL before it was killed."""
        while True:
            ended = await self.once()
            if ended.code != -signal.SIGKILL:
                return ended
            self.kills += 1
            if ended.out.endswith("\n"):
                return Ended(0, ended.out, ended.errors)


class Server:
    """`tusd-py serve` with one data directory and one port, over all its lives. Use `serving()`."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}/files/"
        self.kills = 0
        self.log = ""
        """What all lives said."""
        self._child: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[bytes] | None = None

    async def start(self) -> None:
        """Start it; return when it serves."""
        self._child = await launch(self.data_dir, port=self.port)
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        self._listening = asyncio.create_task(self._child.stderr.read())
        line = await asyncio.wait_for(self._child.stdout.readline(), 60)
        if not line.decode().startswith(READY):
            await self._gone()
            raise AssertionError(f"the server did not start: {self.log}")

    async def kill(self) -> None:
        """Kill it, and start the next one."""
        assert self._child is not None
        self._child.kill()
        await self._gone()
        self.kills += 1
        await self.start()

    async def end(self) -> None:
        """End it as people do; it must be able to."""
        assert self._child is not None
        self._child.terminate()
        await self._gone()
        assert self._child.returncode == 0, self.log
        assert "Traceback" not in self.log, self.log

    async def _gone(self) -> None:
        assert self._child is not None
        assert self._listening is not None
        try:
            await asyncio.wait_for(self._child.wait(), 60)
        except TimeoutError:
            self._child.kill()
        self.log += (await self._listening).decode(errors="replace")


@contextlib.asynccontextmanager
async def serving(data_dir: Path) -> AsyncIterator[Server]:
    """Have a server until the block ends."""
    server = Server(data_dir)
    await server.start()
    try:
        yield server
    finally:
        await server.end()


def _free_port() -> int:
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(*PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
