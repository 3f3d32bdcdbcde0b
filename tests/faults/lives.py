"""Lives of the server that may end at any moment: everything is imported once, and every life is a fork of that.

A life is what `tusd-py serve` runs, in a process of its own, with a job that notes every attempt at it in a file and
a probe that counts how late its event loop is, where the counts outlive the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import mmap
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tests.faults.oracle.checker import Job

if TYPE_CHECKING:
    from tusd_py import FinishedUpload

JobWill = Literal["work", "fail", "hang"]
Agreement = Literal["yes", "no", "fails"]
NOTE = "life.note"
"""The task of that job."""
ENDED = "ended"
"""The task that is done when an upload was removed."""
PROBE_EVERY = 0.005
LAG = struct.Struct("64Q")
"""Counts of probes by lateness: bucket `n` is for less than 1.25 ** n / 10 ms."""


class Dead(Exception):
    """A life ended before it served anybody; the message is what it left on stderr."""


@dataclass
class Life:
    """One process."""

    pid: int
    data_dir: Path
    stderr: Path
    url: str = ""
    ended: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """The exit code once it is gone, negative for a signal."""

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal and wait for the end; return the exit code. Does nothing to the dead."""
        if not self.ended.done():
            os.kill(self.pid, number)
        return await asyncio.wait_for(asyncio.shield(self.ended), 60)

    async def end(self) -> int:
        """End it as people do."""
        return await self.kill(signal.SIGTERM)


class Lives:
    """The process that all lives come from. Use `lives()`."""

    def __init__(self, process: asyncio.subprocess.Process, place: Path) -> None:
        self.place = place
        self._process = process
        self._lives: dict[int, Life] = {}
        self._ready: dict[int, asyncio.Future[None]] = {}
        self._born: asyncio.Queue[int] = asyncio.Queue()
        self._birth = asyncio.Lock()
        self._count = 0

    @property
    def jobs(self) -> Path:
        """The file in which every attempt at a job is noted, over all lives; see `read_jobs`."""
        return self.place / "jobs.txt"

    @property
    def lag(self) -> Path:
        """The file in which lateness is counted, over all lives; see `lag_quantile`."""
        return self.place / "lag.bin"

    async def begin(
        self,
        data_dir: Path,
        *,
        environ: Mapping[str, str] | None = None,
        ready: bool = True,
        rlimits: Mapping[str, int] | None = None,
        job: JobWill = "work",
        agrees: Agreement | None = None,
        tells_ends: bool = False,
        **settings: Any,
    ) -> Life:
        """Start a life on a free port; return when it serves. Raises `Dead`.

        `settings` as `Settings.make`; `rlimits` by names of `resource`; `job` is what jobs do after they are noted;
        `agrees` is what a pre-finish hook says, None = there is none; with `tells_ends` removals have jobs as well.
        """
        self._count += 1
        stderr = self.place / f"stderr-{self._count}.txt"
        order = {
            "settings": {"port": 0, "data_dir": str(data_dir), **settings},
            "environ": dict(environ or {}),
            "stderr": str(stderr),
            "jobs": str(self.jobs),
            "lag": str(self.lag),
            "rlimits": dict(rlimits or {}),
            "job": job,
            "agrees": agrees,
            "tells_ends": tells_ends,
        }
        assert self._process.stdin is not None
        async with self._birth:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            await self._process.stdin.drain()
            pid = await asyncio.wait_for(self._born.get(), 30)
        life = self._lives[pid]
        life.data_dir, life.stderr = data_dir, stderr
        if ready:
            await self.served(life)
        return life

    async def served(self, life: Life) -> None:
        """Wait until a life serves. Raises `Dead` when it ends before."""
        either: list[asyncio.Future[Any]] = [self._ready[life.pid], life.ended]
        await asyncio.wait(either, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        if not life.url:
            raise Dead(f"exit code {await life.kill()}: {life.stderr.read_text(errors='replace')}")

    async def listen(self) -> None:
        """Take what the lives tell; for `lives()`."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            told = json.loads(line)
            pid = told["pid"]
            if "born" in told:
                self._lives[pid] = Life(pid, Path(), Path())
                self._ready[pid] = asyncio.get_running_loop().create_future()
                self._born.put_nowait(pid)
            elif "url" in told:
                self._lives[pid].url = told["url"]
                self._ready[pid].set_result(None)
            else:
                self._lives[pid].ended.set_result(told["code"])

    async def close(self) -> None:
        """Kill every life that is left, and the process that they come from."""
        for life in self._lives.values():
            await life.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


@contextlib.asynccontextmanager
async def lives(place: Path, module: str = "tests.faults.lives") -> AsyncIterator[Lives]:
    """Have a place to start lives from; what they note is in `place`. Another `module` makes other lives."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-m",
        module,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("TUSD_PY_")},
    )
    of_them = Lives(process, place)
    (place / "lag.bin").write_bytes(bytes(LAG.size))
    listening = asyncio.create_task(of_them.listen())
    try:
        yield of_them
    finally:
        await of_them.close()
        await listening


def read_jobs(path: Path) -> list[Job]:
    """Return every attempt at a job that was noted; a line that a kill cut off is none."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    words = (line.split() for line in lines if line.endswith("\n"))
    return [Job(upload, event, int(attempt)) for upload, event, attempt, *_ in words]


def lag_quantile(path: Path, share: float = 0.99) -> float:
    """Return below how many milliseconds this share of all probes was late."""
    counts: Sequence[int] = LAG.unpack(path.read_bytes())
    wanted = share * sum(counts)
    for bucket, _ in enumerate(counts):
        if sum(counts[: bucket + 1]) >= wanted:
            return float(1.25**bucket) / 10
    return float("inf")


def _tell(**what: object) -> None:
    # One write, so that lines of several processes do not mix.
    os.write(1, json.dumps(what).encode() + b"\n")


async def _probe(counts: mmap.mmap) -> None:
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(PROBE_EVERY)
        late = (time.perf_counter() - begun - PROBE_EVERY) * 1000
        bucket = 0
        while late >= 1.25**bucket / 10 and bucket < 63:
            bucket += 1
        (count,) = struct.unpack_from("Q", counts, bucket * 8)
        struct.pack_into("Q", counts, bucket * 8, count + 1)


async def _live(order: Mapping[str, Any]) -> None:
    from tusd_py import HookEvent, HookReply, Tus, server
    from tusd_py.assembly import build
    from tusd_py.settings import Settings

    def with_a_job(settings: Settings, **options: Any) -> Tus:
        tus = build(settings, **options)

        async def note(upload: FinishedUpload) -> None:
            """The bytes are there before any job is (I14)."""
            assert upload.path is not None
            size = upload.path.stat().st_size
            assert size == upload.length, f"{size} of {upload.length} bytes"
            _note(order, upload)
            if order["job"] == "fail":
                raise RuntimeError("as it was told")
            if order["job"] == "hang":
                await asyncio.Event().wait()

        # Not after the module that happens to be the main one: the name is stored with the jobs.
        note.__module__, note.__qualname__ = NOTE.split(".")
        tus.on_finish(note)

        if order["tells_ends"]:

            @tus.task(ENDED, on="post-terminate")
            async def ended(upload: FinishedUpload) -> None:
                _note(order, upload)

        if order["agrees"] is not None:

            @tus.hook("pre-finish")
            async def agree(event: HookEvent) -> HookReply:
                if order["agrees"] == "fails":
                    raise RuntimeError("as it was told")
                return HookReply(refuses=order["agrees"] == "no")

        return tus

    probing: list[asyncio.Task[None]] = []

    def ready(url: str) -> None:
        with open(order["lag"], "r+b") as file:
            probing.append(asyncio.create_task(_probe(mmap.mmap(file.fileno(), LAG.size))))
        _tell(pid=os.getpid(), url=url)

    server.build = with_a_job  # type: ignore[attr-defined]
    try:
        await server.run(Settings.make(**order["settings"]), ready)
    finally:
        for task in probing:
            task.cancel()


def _note(order: Mapping[str, Any], upload: FinishedUpload) -> None:
    """Note an attempt."""
    with open(order["jobs"], "ab", buffering=0) as lines:
        lines.write(f"{upload.id} {upload.idempotency_key} {upload.attempt}\n".encode())


def _begin(order: Mapping[str, Any]) -> None:
    """Be a life."""
    from tusd_py.cli import logs
    from tusd_py.errors import StartupError
    from tusd_py.settings import LogFormat

    error = os.open(order["stderr"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(error, 2)
    os.environ.update(order["environ"])
    for name, limit in order["rlimits"].items():
        # The hard one as well: a server takes what it is granted.
        resource.setrlimit(getattr(resource, name), (limit, limit))
    logs.install(LogFormat.TEXT, sys.stderr)
    code = 1
    try:
        asyncio.run(_live(order))
        code = 0
    except StartupError as refusal:
        os.write(2, f"{refusal}\n".encode())
    finally:
        sys.stderr.flush()
        os._exit(code)


def _wait_for_orders() -> None:
    """Fork for every line on stdin, and tell of every end."""
    import tusd_py.cli.serve  # noqa: F401 - what every life would import

    wakes, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    import select

    rest = b""
    while True:
        readable, _, _ = select.select([0, wakes], [], [])
        if wakes in readable:
            os.read(wakes, 4096)
            _bury()
        if 0 in readable:
            read = os.read(0, 65536)
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for fd in (0, wakes, woken):
                        os.close(fd)
                    os.open(os.devnull, os.O_RDONLY)
                    _tell(pid=os.getpid(), born=True)
                    _begin(json.loads(line))


def _bury() -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            _tell(pid=ended[0], code=os.waitstatus_to_exitcode(ended[1]))


if __name__ == "__main__":
    _wait_for_orders()
