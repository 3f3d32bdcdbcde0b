"""Judges any tus server from outside: racing clients, cut bodies, deletions, and then a look at every byte.

`python -m tests.faults.check URL`; leaves with 0 if nothing was broken, 1 if something was, 2 if there is no server.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.actors import Actor, Cut
from tests.faults.figures import OF_VIOLATIONS, Figures
from tests.faults.oracle.checker import Violation, check, new_offset
from tests.faults.oracle.history import Event, History, by_upload
from tests.faults.oracle.model import GONE
from tests.support.client import T
from tests.support.wire import Wire

TRIES = 5
"""So often an upload is taken up again in the end before it is left unfinished."""


@dataclass(frozen=True)
class Plan:
    """What the clients do."""

    clients: int = 12
    uploads: int = 40
    ops: int = 2000
    seed: int = 1
    cut: float = 0.1
    """Share of the bodies that are cut."""
    largest: int = 48 * 1024
    """Bytes of the longest upload."""
    deletes: bool = True


class Crowd:
    """Clients that share a few uploads, and know of each other's only what a server told somebody."""

    def __init__(self, url: str, plan: Plan, log: History, writers: itertools.count[int] | None = None) -> None:
        self.plan = plan
        self.log = log
        self.lengths: dict[str, int] = {}
        self.known: dict[str, int] = {}
        """By upload that may still be there, the highest offset that anybody was told."""
        self.left = plan.ops
        writers = writers or itertools.count(1)
        self.actors = [Actor(url, log, writers=writers) for _ in range(plan.clients)]
        shared = self.actors[0]
        for actor in self.actors:
            actor.urls, actor.bodies = shared.urls, shared.bodies
        self.bodies = shared.bodies
        self._run = secrets.token_hex(4)

    async def work(self) -> None:
        """Do all that is planned, then finish what is left and download it."""
        await self.mingle()
        for key in self.lengths:
            if key in self.actors[0].urls:
                await self._settle(self.actors[0], key)

    async def mingle(self) -> None:
        """Do all that is planned."""
        async with asyncio.TaskGroup() as group:
            for number, actor in enumerate(self.actors):
                group.create_task(self._client(actor, random.Random(f"{self.plan.seed}/{number}")))

    async def _client(self, actor: Actor, chance: random.Random) -> None:
        while self.left > 0:
            self.left -= 1
            if (len(self.lengths) < self.plan.uploads and chance.random() < 0.2) or not self.known:
                await self._create(actor, chance)
            else:
                # Few uploads at a time, or nobody would meet anybody.
                await self._step(actor, chance, chance.choice(list(self.known)[:8]))

    async def _create(self, actor: Actor, chance: random.Random) -> None:
        key = f"{self._run}-{len(self.lengths)}"
        self.lengths[key] = chance.choice([chance.randint(1, 2000), chance.randint(1, self.plan.largest)])
        if (await actor.create(key, self.lengths[key])).status == 201:
            self.known[key] = 0

    async def _step(self, actor: Actor, chance: random.Random, key: str) -> None:
        length, known, dice = self.lengths[key], self.known[key], chance.random()
        if dice < 0.02 and self.plan.deletes:
            self._learn(await actor.delete(key))
        elif dice < 0.25:
            self._learn(await actor.head(key))
        elif known >= length:
            self._learn(await actor.get(key))
            if dice < 0.6:
                self.known.pop(key, None)
        elif dice < 0.4:
            # Several writers at one offset, and one of them behind it.
            places = [known, known, max(0, known - chance.randint(0, 50))]
            async with asyncio.TaskGroup() as group:
                for at in places:
                    group.create_task(self._patch(actor, chance, key, at))
        else:
            await self._patch(actor, chance, key, known)

    async def _patch(self, actor: Actor, chance: random.Random, key: str, at: int) -> None:
        rest = self.lengths[key] - at
        size = min(rest, chance.choice([rest, chance.randint(0, rest), chance.randint(1, 600)]))
        cut: Cut | None = chance.choice(["fin", "rst"]) if size and chance.random() < self.plan.cut else None
        self._learn(await actor.patch(key, at, size, cut=cut, after=chance.randint(0, size)))

    def _learn(self, event: Event) -> None:
        if (event.op == "delete" and event.status != 423) or event.status in GONE:
            self.known.pop(event.upload, None)
        elif event.upload in self.known and event.status in (200, 204, 409):
            self.known[event.upload] = max(self.known[event.upload], new_offset(event) if event.status != 409 else 0)
            if event.offset is not None:
                self.known[event.upload] = event.offset

    async def _settle(self, actor: Actor, key: str) -> None:
        for _ in range(TRIES):
            seen = await actor.head(key)
            if seen.status in GONE or (seen.offset is not None and seen.offset >= self.lengths[key]):
                break
            if seen.offset is not None:
                await actor.patch(key, seen.offset, self.lengths[key] - seen.offset)
        await actor.get(key)


@dataclass(frozen=True)
class Report:
    """What came of it."""

    figures: Figures
    violations: list[Violation]
    statuses: dict[str, int]


async def judge(url: str, plan: Plan, place: Path) -> Report:
    """Let a crowd work at a server and check everything it saw; the log stays in `place`."""
    log = History(place / f"history-{plan.seed}.jsonl")
    try:
        crowd = Crowd(url, plan, log)
        await crowd.work()
        return summary(log.events(), crowd.bodies)
    finally:
        log.close()


def summary(events: Sequence[Event], bodies: dict[str, bytes]) -> Report:
    """Check all uploads; `bodies` are those that were downloaded or read from the disk in the end."""
    uploads = by_upload(events)
    wrote = list({(event.upload, event.writer): event for event in events if event.brought}.values())
    violations = [each for key, its in uploads.items() for each in check(its, bodies.get(key), wrote)]
    figures = counted(events)
    figures.add("finished_uploads", len(bodies))
    for each in violations:
        figures.add(OF_VIOLATIONS[each.kind])
    statuses = Counter(f"{event.op} {event.status or 'unknown'}" for event in events)
    return Report(figures, violations, dict(sorted(statuses.items())))


def counted(events: Sequence[Event]) -> Figures:
    """Count what was asked and acknowledged."""
    figures = Figures()
    acknowledged = [event for event in events if event.op == "patch" and event.status == 204]
    figures.add("operations", len(events))
    figures.add("acknowledged_patches", len(acknowledged))
    figures.add("acknowledged_bytes", sum(event.brought for event in acknowledged))
    # To a body that was cut, 500 is a proper answer: nobody else reads it, and clients try again after one.
    figures.add("unhandled_500s", sum(event.status == 500 and event.sent is None for event in events))
    return figures


async def offers(url: str) -> set[str]:
    """Return the extensions of a server."""
    async with await Wire.open(url) as wire:
        wire.start("OPTIONS", url, T)
        answer = await wire.answer()
    return {each.strip() for each in answer.headers.get("Tus-Extension", "").split(",")}


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.check", description=__doc__)
    parser.add_argument("url", help="where uploads are created")
    for name in ("clients", "uploads", "ops", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Plan, name))
    parser.add_argument("--cut", type=float, default=Plan.cut, help="share of the bodies that are cut")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run from the command line."""
    chosen = options(arguments)
    try:
        extensions = asyncio.run(offers(chosen.url))
    except (OSError, ValueError, AssertionError, EOFError, TimeoutError) as error:
        sys.stderr.write(f"no tus server at {chosen.url}: {error}\n")
        return 2
    values = {name: getattr(chosen, name) for name in ("clients", "uploads", "ops", "seed", "cut")}
    plan = Plan(**values, deletes="termination" in extensions)
    with tempfile.TemporaryDirectory() as place:
        report = asyncio.run(judge(chosen.url, plan, Path(place)))
    if not report.figures.total("acknowledged_patches"):
        sys.stderr.write(f"{chosen.url} acknowledged nothing: {report.statuses}\n")
        return 2
    report.figures.fact("seed", str(plan.seed))
    sys.stdout.write(_as_json(report) if chosen.json else _as_text(report))
    return 1 if report.violations else 0


def _as_json(report: Report) -> str:
    found = [vars(each) for each in report.violations]
    counters = {name: report.figures.total(name) for name in report.figures.counters}
    return json.dumps({"figures": counters, "answers": report.statuses, "violations": found}, indent=1) + "\n"


def _as_text(report: Report) -> str:
    lines = [report.figures.line(), ", ".join(f"{name}: {count}" for name, count in report.statuses.items())]
    lines += [f"{each.kind} {each.upload}: {each.sentence}" for each in report.violations]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
