"""What must come of every step in a world: it asks, compares the answer with the model, and remembers what is known."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from tests.faults.actors import Cut
from tests.faults.check import counted
from tests.faults.concurrency.world import EXPIRE, Attempt, Held, World
from tests.faults.figures import Figures
from tests.faults.oracle import model
from tests.faults.oracle.history import Event
from tests.faults.oracle.model import Kind, Outcome, State, Upload, choose, content


class Witness:
    """Knows what was asked and answered; an answer that the model does not allow is an AssertionError."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.state: State = {}
        self.expires: dict[str, float] = {}
        """By upload that may run out of time, when."""
        self._keys = map(str, itertools.count(1))

    async def create(self, length: int | None, kind: Kind, begun: int) -> None:
        """POST, with so many bytes."""
        key = next(self._keys)
        extra = {"Upload-Concat": "partial"} if kind == "partial" else {}
        event = await self.world.actor.create(key, length, extra, size=begun)
        outcomes = model.create(self.state, key, length, kind=kind)
        if length is not None and begun > length:
            outcomes = [Outcome(frozenset({413}), self.state)]
        self.take(key, outcomes, event)
        if event.status == 201:
            self.expires[key] = self._now() + EXPIRE
            if begun:
                outcomes = model.patch(self.state, key, 0, begun, writer=event.writer)
                self.state = choose(outcomes, 204, begun)
            self.touch(key, None)

    async def patch(self, key: str, at: int, size: int, length: int | None = None) -> None:
        """PATCH a whole body."""
        headers = {} if length is None else {"Upload-Length": str(length)}
        event = await self.world.actor.patch(key, at, size, headers=headers)
        self.take(key, model.patch(self.state, key, at, size, writer=event.writer, length=length), event)

    async def fill(self, key: str) -> None:
        """PATCH all that is missing."""
        await self.look(key)
        await self.patch(key, self.state[key].offset, self.part(key, 100), self.state[key].length or 3000)

    async def cut(self, key: str, share: int, percent: int, way: Cut) -> None:
        """PATCH whose body is cut."""
        await self.look(key)
        at, size = self.state[key].offset, self.part(key, share)
        if self._is_absent(key) or not size:
            return
        sent = size * percent // 100
        event = await self.world.actor.patch(key, at, size, cut=way, after=sent)
        assert event.status != 204, "a part of a body was acknowledged as the whole"
        self.state = model.cut(self.state, key, at, sent, writer=event.writer)

    async def look(self, key: str) -> None:
        """HEAD when nothing is going on any more: the offset is what it says."""
        await self.world.quiet()
        self.take(key, model.head(self.state, key), await self.world.actor.head(key))

    async def glance(self, key: str) -> None:
        """HEAD while something may be going on: the offset is at least what it says."""
        before = self.state[key]
        self.take(key, model.head(self.state, key), await self.world.actor.head(key))
        if before.most > self.state[key].offset and not self._is_absent(key):
            self._set(key, most=before.most, cutter=before.cutter)

    async def get(self, key: str) -> None:
        """GET: all bytes or nothing."""
        event = await self.world.actor.get(key)
        self.take(key, model.get(self.state, key), event)
        if event.status == 200:
            assert self.world.actor.bodies[key] == content(self.state[key])

    async def delete(self, key: str) -> None:
        """DELETE: no data is left."""
        event = await self.world.actor.delete(key)
        self.take(key, model.delete(self.state, key), event)
        if event.status == 204:
            assert not self.world.life.target.data_path(self.world.actor.urls[key]).exists()

    async def concat(self, parts: Sequence[str]) -> None:
        """POST of a final upload."""
        for part in parts:
            await self.look(part)
        key, total = next(self._keys), sum(self.state[part].offset for part in parts)
        event = await self.world.actor.concat(key, parts, total)
        self.take(key, model.concat(self.state, key, parts), event)

    async def disturb(self, key: str, share: int, by: str) -> None:
        """Hold a PATCH in its middle while something else happens."""
        await self._settle()
        before, size = self.state[key], self.part(key, max(2, share))
        if self._is_absent(key) or size < 2:
            return
        held = await self.world.hold(key, before.offset, size, size // 2)
        self.state = model.cut(self.state, key, held.at, held.sent, writer=held.writer)
        if by in ("head", "sweep"):
            await (self.glance(key) if by == "head" else self._sweep_beside(key))
            await self._complete(held, before)
            return
        if by in ("patch", "rival"):
            await self.patch(key, held.at + (held.sent if by == "patch" else 0), self.part(key, 50))
        elif by == "delete":
            await self.delete(key)
        else:
            await self.restart(by == "kill")
        assert await held.was_refused()

    async def _complete(self, held: Held, before: Upload) -> None:
        status = await held.complete()
        self.state = {**self.state, held.key: before}
        outcomes = model.patch(self.state, held.key, held.at, held.size, writer=held.writer)
        self.state = choose(outcomes, status, held.at + held.size)
        self.touch(held.key, before)

    async def _sweep_beside(self, key: str) -> None:
        """Let time run out while a body comes in: nobody may remove what is being written."""
        self.world.clock.advance(EXPIRE + 1)
        self._age()
        await self.sweep(locked=key)

    async def move(self, seconds: int, jump: int) -> None:
        """Let time pass, or set the wall clock."""
        await self._settle()
        if jump:
            self.world.clock.jump(jump)
        else:
            self.world.clock.advance(seconds)
        self._age()
        self.world.wake()

    async def sweep(self, locked: str = "") -> None:
        """Let the sweeper come; it removes what it must and nothing else."""
        if not locked:
            await self._settle()
        removes = await self.world.sweep()
        for key, upload in self.state.items():
            if upload.expired and not upload.gone and removes and key != locked:
                self._set(key, gone=True)
        known = {self.world.name(key) for key in self._known()}
        left = self.world.leftovers(known)
        assert not left & known, "an upload lost its data or its row"
        assert len(left) <= self.world.strangers, "something is left of an upload that is gone"

    async def restart(self, kills: bool) -> None:
        """Go on with a new service."""
        if kills:
            await self.world.die()
        else:
            await self.world.end()
            await self.world.begin()
        self.state = model.restart(self.state)

    async def _settle(self) -> None:
        """See how far cut bodies got, before the clock moves: what they brought counts from now on."""
        for key in [key for key, each in self.state.items() if each.most > each.offset and not each.gone]:
            await self.look(key)

    async def judge(self) -> None:
        """At the end of a run everything is as it must be (I1, I2, I6, I12, I14)."""
        world = self.world
        await self._settle()
        await world.quiet()
        ctx = world.life.ctx
        assert not ctx.pins
        assert not ctx.receiving
        assert not ctx.locker._lines  # type: ignore[attr-defined]
        for key in self._known():
            upload = self.state[key]
            offset, state = world.row(key)
            stored = world.stored(key)
            assert stored[:offset] == content(upload)
            assert (state == "finished") == upload.finished
            assert not upload.finished or len(stored) == upload.length
        await world.worked()
        for key, upload in self.state.items():
            owes = upload.finished and upload.kind != "partial"
            _check_attempts([each for each in world.attempts if each.upload == world.name(key)], upload, owes=owes)

    def count(self) -> Figures:
        """Return what was done."""
        figures = counted(self.world.log.events())
        figures.add("finished_uploads", sum(each.finished for each in self.state.values()))
        figures.add("duplicate_job_attempts", sum(each.number > 1 for each in self.world.attempts))
        return figures

    def take(self, key: str, outcomes: Sequence[Outcome], event: Event) -> None:
        """Compare an answer with what is allowed."""
        assert event.status is not None, f"no answer to {event}"
        before = self.state.get(key)
        self.state = choose(outcomes, event.status, event.offset)
        if before is not None:
            self.touch(key, before)

    def touch(self, key: str, before: Upload | None) -> None:
        """Bytes give an upload more time; the end gives it all the time there is, unless it is a part (EXP-06)."""
        upload = self.state[key]
        if upload.finished and upload.kind != "partial":
            self.expires.pop(key, None)
        elif before is not None and upload.offset > before.offset:
            self.expires[key] = self._now() + EXPIRE

    def _age(self) -> None:
        for key in self.state:
            self._set(key, expired=self.expires.get(key, self._now() + 1) <= self._now())

    def _set(self, key: str, **changes: Any) -> None:
        self.state = {**self.state, key: replace(self.state[key], **changes)}

    def pick(self, pick: int, *, unfinished: bool = False) -> str | None:
        """Choose an upload; of those that may still take bytes, if there are any and they are wanted."""
        keys = list(self.state)
        if unfinished:
            keys = [key for key, each in self.state.items() if not (each.finished or self._is_absent(key))] or keys
        return keys[pick % len(keys)] if keys else None

    def part(self, key: str, share: int) -> int:
        """Return so many percent of what is missing, a little more beyond 100; where nobody knows, of a little."""
        length, offset = self.state[key].length, self.state[key].offset
        return (
            3000 * share // 100 if length is None else (length - offset) * min(share, 100) // 100 + max(0, share - 100)
        )

    def _is_absent(self, key: str) -> bool:
        return self.state[key].gone or self.state[key].expired

    def _known(self) -> list[str]:
        return [key for key, each in self.state.items() if not each.gone]

    def _now(self) -> float:
        return self.world.clock.now()


def _check_attempts(attempts: Sequence[Attempt], upload: Upload, *, owes: bool) -> None:
    """One event, tried until it succeeds and then never again in the same life; every number once (I14)."""
    numbers = [each.number for each in attempts]
    assert numbers == sorted(set(numbers)), "an event happened twice"
    assert len({each.key for each in attempts}) <= 1
    assert owes or not attempts, "a job ran for what is not finished"
    assert all(each.size == upload.length for each in attempts)
    lives = [each.life for each in attempts if each.succeeded]
    assert len(lives) == len(set(lives)), "a job went on after its success"
    if owes and not upload.gone:
        assert lives, "finished, but no job succeeded"
