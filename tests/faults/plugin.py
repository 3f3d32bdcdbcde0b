"""Options, marks and the closing line of the fault programme; `tests/conftest.py` loads it for every run of pytest."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.faults.figures import Figures, conditions
from tests.faults.volumes import LEVELS

DEFAULT_SEED = 20_250_713
FIGURES = pytest.StashKey[Figures]()
SEEDS = pytest.StashKey[list[int]]()
FILE = Path("build") / "faults" / "figures.json"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults", "the fault programme (tests/faults)")
    group.addoption("--volume", choices=LEVELS, default="quick", help="how much the fault tests do")
    group.addoption("--fault-seed", type=int, metavar="N", help="the only seed of the fault tests")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs_root(what): a fault test that only root can run; else it is NOT RUN")
    chosen: int | None = config.getoption("fault_seed")
    seeds: list[int] = [DEFAULT_SEED if chosen is None else chosen]
    if chosen is None and config.getoption("volume") != "quick":
        seeds.append(random.SystemRandom().randrange(2**31))
    config.stash[SEEDS] = seeds
    config.stash[FIGURES] = Figures()


def pytest_report_header(config: pytest.Config) -> str:
    seeds = ", ".join(str(seed) for seed in config.stash[SEEDS])
    return f"faults: volume {config.getoption('volume')}, seeds {seeds} (again: --fault-seed N)"


def pytest_runtest_setup(item: pytest.Item) -> None:
    mark = item.get_closest_marker("needs_root")
    if mark is not None and os.geteuid() != 0:
        item.config.stash[FIGURES].not_run(str(mark.args[0]), "needs root")
        pytest.skip("NOT RUN: needs root")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash[FIGURES]
    if not figures:
        return
    for name, value in conditions().items():
        figures.fact(name, value)
    figures.fact("volume", str(config.getoption("volume")))
    for seed in config.stash[SEEDS]:
        figures.fact("seed", str(seed))
    figures.write(config.rootpath / FILE)
    terminalreporter.section("figures of the fault programme")
    terminalreporter.line(figures.line())
