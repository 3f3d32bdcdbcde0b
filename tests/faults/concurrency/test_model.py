"""T1: whatever is asked of a server in whatever order, it answers as the model allows, and keeps what it must.

A run is a seed and a list of steps. Draws never depend on answers, so the same seed makes the same steps again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.faults.actors import Cut
from tests.faults.concurrency.witness import Witness
from tests.faults.concurrency.world import World
from tests.faults.figures import Figures
from tests.faults.oracle.model import Kind

T = TypeVar("T")
STEPS = 40
MEMORY = Path("/dev/shm")
"""Nothing here depends on syncing, so it need not wait for disks either."""
PICK = st.integers(0, 1000)
SHARE = st.integers(0, 100)
SIZE = st.one_of(st.sampled_from([0, 1, 65_537, 300_000]), st.integers(2, 9000))


@dataclass(frozen=True)
class Bench:
    """Where runs take place, and what is counted of them."""

    loop: asyncio.AbstractEventLoop
    place: Path
    figures: Figures
    plane: str | int
    runs: Iterator[int]


class Uploads(RuleBasedStateMachine):
    """One client, one clock, one data directory, and a model that knows what must come of it."""

    bench: ClassVar[Bench]

    def __init__(self) -> None:
        super().__init__()
        self.sound = True

    @initialize(durability=st.sampled_from(["none", "finish", "patch"]), checkpoint=st.sampled_from([1000, 2**24]))
    def begin(self, durability: str, checkpoint: int) -> None:
        place = self.bench.place / f"run-{next(self.bench.runs)}"
        place.mkdir()
        how = {"durability": durability, "checkpoint_bytes": checkpoint, "data_plane_from": self.bench.plane}
        self.world = World(place, how)
        self.its = Witness(self.world)
        self._do(self.world.begin())
        self.create(9000, "whole", defers=False, first=0)
        self.create(3000, "partial", defers=False, first=0)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            if self.sound:
                self._do(self.its.judge())
                self.bench.figures.merge(self.its.count())
        finally:
            self.bench.loop.run_until_complete(self.world.end())
            self.world.log.close()
            shutil.rmtree(self.world.place)

    # What clients do.

    @rule(size=SIZE, kind=st.sampled_from(["whole", "whole", "partial"]), defers=st.booleans(), first=SHARE)
    def create(self, size: int, kind: Kind, defers: bool, first: int) -> None:
        """POST; in one of two cases with first bytes, and with too many of them now and then."""
        begun = size * (first - 50) * 9 // 400 if first > 50 else 0
        self._do(self.its.create(None if defers else size, kind, begun))

    @rule(size=st.integers(1, 100_000), share=SHARE)
    def create_and_vanish(self, size: int, share: int) -> None:
        """POST with upload whose client never learns of it (CWU-10)."""
        self._do(self.world.cut_creation(size, size * share // 101))

    @rule(pick=PICK, aside=st.sampled_from([0, 0, 0, 0, 1, -1, 5000]), share=st.integers(0, 104))
    def patch(self, pick: int, aside: int, share: int) -> None:
        """PATCH a whole body, perhaps at a wrong offset, perhaps too long."""
        if key := self.its.pick(pick, unfinished=True):
            self._do(self.its.patch(key, max(0, self.its.state[key].offset + aside), self.its.part(key, share)))

    @rule(pick=PICK, share=SHARE, more=st.integers(-3, 3000))
    def declare(self, pick: int, share: int, more: int) -> None:
        """PATCH that says how long the upload will be, or contradicts what was said."""
        if key := self.its.pick(pick, unfinished=True):
            at, size = self.its.state[key].offset, self.its.part(key, share)
            self._do(self.its.patch(key, at, size, length=max(0, at + size + more)))

    @rule(pick=PICK, fills=st.booleans())
    def repeat_the_end(self, pick: int, fills: bool) -> None:
        """PATCH of nothing at the end, as after a lost answer (CORE-PATCH-13)."""
        if key := self.its.pick(pick):
            if fills:
                self._do(self.its.fill(key))
            self._do(self.its.patch(key, self.its.state[key].offset, 0))

    @rule(pick=PICK, share=SHARE, sent=st.integers(0, 99), way=st.sampled_from(["fin", "rst"]))
    def cut(self, pick: int, share: int, sent: int, way: Cut) -> None:
        """PATCH whose client vanishes."""
        if key := self.its.pick(pick, unfinished=True):
            self._do(self.its.cut(key, max(1, share), sent, way))

    @rule(pick=PICK)
    def head(self, pick: int) -> None:
        """HEAD, perhaps while the server still takes in what a cut body left."""
        if key := self.its.pick(pick):
            self._do(self.its.glance(key))

    @rule(pick=PICK)
    def get(self, pick: int) -> None:
        """GET: all bytes or nothing (I6)."""
        if key := self.its.pick(pick):
            self._do(self.its.get(key))

    @rule(pick=PICK)
    def delete(self, pick: int) -> None:
        """DELETE: nothing is left (I12)."""
        if key := self.its.pick(pick):
            self._do(self.its.delete(key))

    @rule(picks=st.lists(PICK, min_size=1, max_size=3), fills=st.booleans())
    def concat(self, picks: Sequence[int], fills: bool) -> None:
        """POST of a final upload, out of parts that are fit for it or not; filled before in one of two cases."""
        parts = [key for key, each in self.its.state.items() if each.kind == "partial"]
        chosen = [parts[pick % len(parts)] for pick in picks]
        for key in chosen if fills else ():
            self._do(self.its.fill(key))
        self._do(self.its.concat(chosen))

    @rule(pick=PICK, share=SHARE, by=st.sampled_from(["patch", "rival", "delete", "head", "sweep", "stop", "kill"]))
    def disturb(self, pick: int, share: int, by: str) -> None:
        """Something happens in the middle of a PATCH whose client is silent (I10, I13)."""
        if key := self.its.pick(pick, unfinished=True):
            self._do(self.its.disturb(key, share, by))

    # What else happens.

    @rule(seconds=st.sampled_from([1, 600, 1100, 4000]), jumps=st.sampled_from([0, 0, 1, -1, 100, -100]))
    def pass_time(self, seconds: int, jumps: int) -> None:
        """Time passes; or only the wall clock is set, forward or back."""
        self._do(self.its.move(seconds, jumps * seconds))

    @rule()
    def sweep(self) -> None:
        """The sweeper comes (I13)."""
        self._do(self.its.sweep())

    @rule(kills=st.booleans())
    def restart(self, kills: bool) -> None:
        """A new service takes over, after a clean end or a kill (I1)."""
        self._do(self.its.restart(kills))

    @rule(fail=st.booleans())
    def jobs_fail(self, fail: bool) -> None:
        """From now on jobs fail, or succeed again (I14)."""
        self.world.failing = fail

    def _do(self, step: Coroutine[Any, Any, T]) -> T:
        try:
            return self.bench.loop.run_until_complete(asyncio.wait_for(step, 60))
        except BaseException:
            self.sound = False
            raise


@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("plane", ["none", 1])
def test_model(
    plane: str | int,
    seeds: list[int],
    volume_of: Callable[[str], int],
    figures: Figures,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The server does what the model does, read in Python or moved by the kernel (I1-I7, I12-I14, I20)."""
    caplog.set_level(logging.CRITICAL, "tusd_py")
    runs, examples = itertools.count(), max(1, volume_of("T1") // 2 // len(seeds))
    memory = MEMORY if MEMORY.is_dir() else None
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory(dir=memory) as place:
        for seed in seeds:
            bench = Bench(runner.get_loop(), Path(place), figures, plane, runs)
            machine = type("Uploads", (Uploads,), {"bench": bench})
            try:
                run_state_machine_as_test(
                    hypothesis.seed(seed)(machine),
                    settings=settings(
                        max_examples=examples,
                        stateful_step_count=STEPS,
                        deadline=None,
                        database=None,
                        print_blob=True,
                        phases=[Phase.generate, Phase.shrink],
                        suppress_health_check=list(HealthCheck),
                    ),
                )
            except BaseException as error:
                error.add_note(f"again: pytest {__file__} -k {plane} --fault-seed {seed}, EXAMPLES={2 * examples}")
                raise
