"""Options of the parts of the benchmark that cannot be used."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import benchmarks.growth.command
import benchmarks.jobs.command
import benchmarks.memory.command

GROWTH, MEMORY = benchmarks.growth.command.main, benchmarks.memory.command.main
JOBS = benchmarks.jobs.command.main


@pytest.mark.parametrize(
    ("main", "arguments", "sentence"),
    [
        (GROWTH, ["--counts", "many"], "'many' is not a number from 20 to"),
        (GROWTH, ["--counts", "3"], "'3' is not a number from 20 to"),
        (GROWTH, ["--rounds", "0"], "'0' is not a number from 1 to 1000"),
        (GROWTH, ["--place", "/nowhere"], "there is no directory /nowhere"),
        (GROWTH, ["--json", "/nowhere/file"], "there is no directory /nowhere"),
        (JOBS, ["--only", "nothing"], "invalid choice: 'nothing'"),
        (JOBS, ["--rounds", "0"], "'0' is not a number from 1 to 1000"),
        (JOBS, ["--json", "/nowhere/file"], "there is no directory /nowhere"),
        (MEMORY, ["--only", "nothing"], "invalid choice: 'nothing'"),
        (MEMORY, ["--rounds", "x"], "'x' is not a number from 1 to 1000"),
        (MEMORY, ["--json", "/nowhere/file"], "there is no directory /nowhere"),
    ],
)
def test_refused(
    main: Callable[[list[str]], object], arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence on stderr, exit code 2, nothing measured."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert sentence in (errors := capsys.readouterr().err)
    assert errors.count("\n") == 1
