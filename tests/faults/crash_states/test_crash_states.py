"""Whatever a power cut leaves of a data directory, the next start makes of it what was promised (T2)."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from tests.faults.crash_states.recovery import try_out
from tests.faults.crash_states.states import Recording, moments, plan, record, states
from tests.faults.crash_states.workloads import FEW, WORKLOADS
from tests.faults.figures import Figures

MANY = 1000
"""States from which on all stories are told."""
AGAIN = 0.05
"""Share of the states on which a server is started more than once."""
MEMORY = Path("/dev/shm")
"""Where a sync costs nothing."""


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for states; what is started there may be told of other boots."""
    monkeypatch.setenv("TUSD_PY_BOOT_ID", "")
    if not MEMORY.is_dir():
        yield tmp_path
        return
    place = Path(tempfile.mkdtemp(prefix="tusd-py-", dir=MEMORY))
    try:
        yield place
    finally:
        shutil.rmtree(place)


@pytest.fixture
async def recordings(
    tmp_path: Path, volume_of: Callable[[str], int], not_run: Callable[[str, str], NoReturn]
) -> Sequence[Recording]:
    """Stories, told to servers that were watched."""
    if shutil.which("strace") is None:
        not_run("crash states", "needs strace")
    return await record(WORKLOADS if volume_of("T2") >= MANY else FEW, tmp_path)


@pytest.mark.timeout(0)
async def test_crash_states(
    recordings: Sequence[Recording],
    memory: Path,
    figures: Figures,
    seeds: list[int],
    volume_of: Callable[[str], int],
) -> None:
    """A start on any crash state has all that was promised, no more, and refuses nothing (I1, I2, I7, I14, I16)."""
    broken: dict[str, str] = {}
    for seed in seeds:
        shares = plan(recordings, volume_of("T2") // len(seeds), seed)
        chance = random.Random(seed)
        for recording, share in zip(recordings, shares, strict=True):
            for state in (each for moment in moments(recording) for each in states(moment, share[moment.number], seed)):
                problems, took = await try_out(recording, state, memory / "state", again=chance.random() < AGAIN)
                figures.add("crash_states", of=recording.name)
                figures.sample("recovery_ms", took * 1000, of="crash states")
                for problem in problems:
                    where = f"seed {seed}, moment {state.moment.number}, {state.how}"
                    broken.setdefault(f"{recording.name}: {problem}", where)
    assert not broken, "\n".join(f"{problem} [{where}]" for problem, where in broken.items())
