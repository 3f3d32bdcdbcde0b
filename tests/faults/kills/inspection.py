"""Looks at every upload of clients that outlived their server, and says what is not as it must be."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.check import counted
from tests.faults.figures import OF_VIOLATIONS, Figures
from tests.faults.kills.survivors import Survivors, Upload, survivors
from tests.faults.lives import NOTE, Life, Lives, lives, read_jobs
from tests.faults.oracle.checker import Facts, Kind, Violation, check, check_jobs
from tests.faults.oracle.history import Event, History, by_upload
from tests.faults.oracle.model import GONE
from tests.faults.oracle.rollback import cut_back
from tests.faults.oracle.rows import check_rows, read_rows
from tests.support.waiting import until

KEPT = 2
"""So many inspections a finished upload lives through before it is removed; any other one three times as many."""


class Inspection:
    """What is known of the uploads of some clients, from one fault to the next."""

    def __init__(self, them: Survivors, jobs: Path) -> None:
        self.violations: list[Violation] = []
        self._them = them
        self._jobs = jobs
        self._falls: dict[str, list[tuple[float, int]]] = {}
        """By upload, when it fell back, and to which offset."""
        self._seen: dict[str, int] = {}
        self._owed: dict[str, Upload] = {}
        """By id, the finished uploads whose job must run."""

    async def sample(self, keys: Iterable[str]) -> None:
        """Look at some uploads while their clients work (I1, I3, I4)."""
        chosen = [key for key in keys if not self._them.uploads[key].removed]
        for key in chosen:
            await self._them.visitor.head(key)
        logs = by_upload(self._them.log.events())
        for key in chosen:
            self.violations += check(logs[key])

    async def everything(self, cut: str | None = None) -> None:
        """Look at every upload, while no client is at work; `cut` is the level at which the power went, if it did.

        Finished uploads are downloaded, and removed when they were seen often enough.
        """
        logs = by_upload(self._them.log.events())
        ran = {job.upload for job in read_jobs(self._jobs)}
        for upload in list(self._them.uploads.values()):
            await self._inspect(upload, self._fallen(upload, logs[upload.key]), ran, cut)

    async def jobs_ran(self, *, timeout: float = 20, rows_in: Path | None = None) -> None:
        """Every finished upload has a job that ran, or runs soon (I14).

        Where no power went, the rows of the jobs in a data directory have to say so as well.
        """
        owed = {
            name for name, upload in self._owed.items() if not upload.removed or upload.key not in self._them.uploads
        }

        async def all_noted() -> bool:
            return owed <= {job.upload for job in read_jobs(self._jobs)}

        with contextlib.suppress(TimeoutError):
            await until(all_noted, timeout=timeout)
        noted = [job for job in read_jobs(self._jobs) if job.upload in owed]
        self.violations += check_jobs(owed, noted)
        if rows_in is not None:
            self.violations += check_rows(owed, read_rows(rows_in), noted, NOTE)

    def figures(self) -> Figures:
        """Count what the clients did, and what was found."""
        events = self._them.log.events()
        figures = counted(events)
        figures.add("finished_uploads", sum(Facts(log).finished for log in by_upload(events).values()))
        jobs = read_jobs(self._jobs)
        figures.add("duplicate_job_attempts", len(jobs) - len({job.upload for job in jobs}))
        figures.add("jobs_missing", 0)
        for each in self.violations:
            figures.add(OF_VIOLATIONS[each.kind])
        return figures

    def _fallen(self, upload: Upload, log: Sequence[Event]) -> Sequence[Event]:
        for moment, offset in self._falls.get(upload.key, ()):
            log = cut_back(log, moment, offset)
        return log

    async def _inspect(self, upload: Upload, log: Sequence[Event], ran: set[str], cut: str | None) -> None:
        moment = time.monotonic()
        head = await self._them.visitor.head(upload.key)
        if head.status != 200 and head.status not in GONE:
            self._accuse("lost", upload, f"HEAD was answered {head.status}: {head.note}")
            return
        if cut == "none" or (cut == "finish" and not Facts(log).finished):
            if head.status in GONE or (upload.removed and cut == "none"):
                # It was created, or removed, for as long as the power lasted.
                self._forget(upload)
                return
            self._falls.setdefault(upload.key, []).append((moment, head.offset or 0))
            log = cut_back(log, moment, head.offset or 0)
        await self._judge(upload, [*log, head], head)
        if head.status in GONE:
            self._forget(upload)
            return
        self._note(upload, head)
        await self._age(upload, ran)

    async def _judge(self, upload: Upload, log: list[Event], head: Event) -> None:
        body = None
        if head.status == 200 and head.offset == upload.length:
            got = await self._them.visitor.get(upload.key)
            log.append(got)
            body = self._them.visitor.bodies.pop(upload.key, None)
            if body is None and not upload.removed:
                self._accuse("lost", upload, f"GET of a finished upload was answered {got.status}: {got.note}")
        elif head.status == 200:
            body = self._them.stored(upload.key)[: head.offset]
        if upload.joined is not None:
            found = check(log)
            if body is not None and body != upload.joined:
                self._accuse("corrupt", upload, "it is not what its parts were")
        elif found := check(log, body):
            # Once more, to name those whose bytes these are.
            found = check(log, body, [event for event in self._them.log.events() if event.brought])
        self.violations += found

    def _note(self, upload: Upload, head: Event) -> None:
        done = head.offset == upload.length
        if not upload.left:
            upload.offset, upload.done = head.offset, done
        if upload.kind != "part" and not upload.removed:
            self._owed.pop(self._them.name(upload.key), None)
            if done:
                self._owed[self._them.name(upload.key)] = upload

    async def _age(self, upload: Upload, ran: set[str]) -> None:
        seen = self._seen[upload.key] = self._seen.get(upload.key, 0) + 1
        name = self._them.name(upload.key)
        old = seen >= (KEPT if upload.done and upload.left else 3 * KEPT)
        if old and not upload.removed and (name in ran or name not in self._owed):
            upload.left = upload.removed = True
            self._owed.pop(name, None)
            await self._them.visitor.delete(upload.key)

    def _forget(self, upload: Upload) -> None:
        self._owed.pop(self._them.name(upload.key), None)
        self._falls.pop(upload.key, None)
        self._seen.pop(upload.key, None)
        self._them.forget(upload.key)

    def _accuse(self, kind: Kind, upload: Upload, sentence: str) -> None:
        self.violations.append(Violation(kind, upload.key, sentence))


@dataclass
class Batch:
    """Lives of one data directory, the clients that outlive them, and what is thought of it."""

    data_dir: Path
    lives: Lives
    them: Survivors
    inspection: Inspection
    chance: random.Random
    complaints: list[str]
    """What lives wrote of exceptions that nobody caught."""

    async def begin(self, figures: Figures, **options: Any) -> Life:
        """Start a life and bring the clients there; sample the time until it answers for an upload."""
        begun = time.perf_counter()
        life = await self.lives.begin(self.data_dir, **options)
        self.them.meet(life.url)
        if known := self.some(1):
            await self.them.visitor.head(known[0])
            figures.sample("recovery_ms", (time.perf_counter() - begun) * 1000)
        return life

    def some(self, count: int) -> list[str]:
        """Return the keys of some uploads."""
        known = list(self.them.uploads)
        return self.chance.sample(known, min(count, len(known)))

    async def freeze(self, life: Life) -> None:
        """Let a life do nothing more and answer nobody: when the power goes, the processor stops with the disk.

        A sync that is under way when a file system is shut down may return as if all were well; nobody must hear of it.
        """
        os.kill(life.pid, signal.SIGSTOP)

        async def stands_still() -> bool:
            try:
                told = [path.read_text() for path in Path(f"/proc/{life.pid}/task").glob("*/stat")]
            except OSError:
                # A thread has just ended.
                return False
            states = {each.rpartition(")")[2].split()[0] for each in told}
            # Whoever is inside a call of the kernel stops before it returns, when the others have stopped.
            return "T" in states and states <= {"T", "D"}

        await until(stands_still)

    async def bury(self, life: Life) -> None:
        """Kill a life; remember what it complained of."""
        self.them.stop()
        await life.kill()
        # Whoever dies at once has not even opened it.
        with contextlib.suppress(FileNotFoundError):
            lines = life.stderr.read_text(errors="replace").splitlines()
            self.complaints += [line for line in lines if "Traceback" in line]
            life.stderr.unlink()


@contextlib.asynccontextmanager
async def batch(place: Path, data_dir: Path, seed: str) -> AsyncIterator[Batch]:
    """Have a server to harm; the log of its clients stays in `place` when something was wrong."""
    place.mkdir()
    log = History(place / "history.jsonl")
    try:
        async with lives(place) as every, survivors(log, data_dir, seed) as them:
            yield Batch(data_dir, every, them, Inspection(them, every.jobs), random.Random(seed), [])
    finally:
        log.close()
    shutil.rmtree(place)
