"""A newcomer: copies of the examples somewhere, the commands of their READMEs, and processes that run them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.waiting import until

EXAMPLES = Path(__file__).parents[2] / "examples"
# What a clone does not have.
_MADE = shutil.ignore_patterns(
    "node_modules", "data", "archive", "thumbnails", "inbox", "tmp", "secret", "__pycache__",
    "*.pem", "*.sock", "*.sqlite3*",
)  # fmt: skip
_CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
_ANNOUNCED = re.compile(r"(http://(?:127\.0\.0\.1:\d+|unix:[^:]+))")


def readme(folder: str) -> str:
    """Return the README of an example."""
    return (EXAMPLES / folder / "README.md").read_text(encoding="utf-8")


def commands(folder: str, block: int) -> list[str]:
    """Return the lines of one console block of a README, from 0."""
    return _CONSOLE.findall(readme(folder))[block].splitlines()


def free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Running:
    """A process of an example; everything it says is collected."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)

    @property
    def log(self) -> str:
        """What it said so far."""
        return "".join(self.lines)

    @property
    def url(self) -> str:
        """The address that it announced, without a path."""
        match = _ANNOUNCED.search(self.log)
        assert match, self.log
        return match[1]

    async def says(self, text: str) -> None:
        """Wait until it said something."""

        async def is_said() -> bool:
            assert self.process.returncode is None or text in self.log, self.log
            return text in self.log

        await until(is_said, timeout=30)

    async def announced(self) -> None:
        """Wait until it said where it listens."""

        async def is_there() -> bool:
            assert self.process.returncode is None, self.log
            return bool(_ANNOUNCED.search(self.log))

        await until(is_there, timeout=30)

    async def listens(self, port: int) -> None:
        """Wait until it takes connections on a port of 127.0.0.1."""

        async def is_open() -> bool:
            assert self.process.returncode is None, self.log
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.close()
            await writer.wait_closed()
            return True

        await until(is_open, timeout=30)

    async def kill(self) -> None:
        """End it without a chance to do anything about it."""
        self.process.kill()
        await self.process.wait()

    async def collect(self) -> None:
        """Read what it says until it ends: a process whose pipe is full stands still."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.lines.append(line.decode(errors="replace"))


class Place:
    """A directory with a copy of the examples, where commands run as their READMEs say."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.examples = root / "examples"
        shutil.copytree(EXAMPLES, self.examples, ignore=_MADE)

    @contextlib.asynccontextmanager
    async def running(self, lines: list[str], **env: str) -> AsyncIterator[Running]:
        """Run a block, the last line of which serves, until the `with` ends; then it must leave by SIGTERM with 0."""
        script = "\n".join([*lines[:-1], f"exec {lines[-1]}"])
        child = await self._bash(script, {"PYTHONWARNINGS": "error", **env})
        server = Running(child)
        collecting = asyncio.create_task(server.collect())
        try:
            yield server
        finally:
            killed = child.returncode is not None
            if not killed:
                child.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(child.wait(), 40)
            finally:
                if child.returncode is None:
                    await server.kill()
                await collecting
        assert killed or child.returncode == 0, server.log
        assert "Traceback" not in server.log, server.log

    @contextlib.asynccontextmanager
    async def serving(self, folder: str, **env: str) -> AsyncIterator[Running]:
        """Run the first block of a README on a free port."""
        variable = "PORT" if (self.examples / folder / "app.py").exists() else "TUSD_PY_PORT"
        async with self.running(commands(folder, 0), **{variable: "0", **env}) as server:
            await server.announced()
            yield server

    async def run(self, *lines: str, **env: str) -> tuple[int, str]:
        """Run commands to their end, one after the other; return the code and everything they said."""
        child = await self._bash("\n".join(lines), env)
        try:
            said, _ = await asyncio.wait_for(child.communicate(), 60)
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        assert child.returncode is not None
        return child.returncode, said.decode(errors="replace")

    async def upload(self, name: str, url: str, *more: str, **env: str) -> str:
        """Upload a file with the examples' client; return the URL that it prints."""
        code, said = await self.run(f"python examples/upload.py {name} {url} {' '.join(more)}", **env)
        assert code == 0, said
        return said.strip()

    async def _bash(self, script: str, env: dict[str, str]) -> asyncio.subprocess.Process:
        bin_dir = Path(sys.executable).parent
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TUSD_PY_")}
        return await asyncio.create_subprocess_exec(
            "bash",
            "-euc",
            script,
            cwd=self.root,
            env={
                **inherited,
                "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}{os.pathsep}/usr/sbin",
                "PYTHONUNBUFFERED": "1",
                **env,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )


def path_of(data_dir: Path, url: str) -> Path:
    """Return where the bytes of an upload are."""
    name = url.rstrip("/").rpartition("/")[2]
    return data_dir / "uploads" / name[:2] / name
