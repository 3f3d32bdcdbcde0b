"""The command: what it refuses, and a small run from end to end."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import command, options, summary
from benchmarks.rounds import Stage, play
from benchmarks.subjects import EMPTY, NAIVE, Choice, find
from benchmarks.workloads import KIB, WORKLOADS, Sizes
from tests.conformance import asking

OURS = "tusd-py none"
TINY = {
    "one-big-body": Sizes(3 * 2**20),
    "checksum": Sizes(2**20),
    "chunks-8": Sizes(2**20, connections=4, piece=300 * KIB),
    "small-files": Sizes(KIB, 30, 4),
    "join": Sizes(KIB, 3),
    "tiny-chunks": Sizes(20 * KIB, piece=KIB),
    "heads-64": Sizes(0, 40, 8),
    "creations-64": Sizes(0, 40, 8),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run with tiny sizes says, and that it leaves nothing behind."""
    place, file = tmp_path_factory.mktemp("place"), tmp_path_factory.mktemp("results") / "results.json"
    tiny = tuple(replace(each, quick=TINY[each.name]) for each in WORKLOADS if each.name in TINY)
    subjects = ["--subjects", OURS, NAIVE, EMPTY, "tusd", "sha256", "copy_file_range"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "WORKLOADS", tiny)
        patch.setattr(command, "more_files", lambda: None)
        patch.setattr(options.signal, "signal", lambda *_: None)
        patch.setenv("PATH", os.defpath.replace("/usr/local/bin", "/nowhere"))
        where = ["--place", str(place), "--peers-dir", str(file.parent / "peers"), "--json", str(file)]
        assert 0 == command.main(["--quick", *where, *subjects])
    assert [] == list(place.iterdir())
    return dict(json.loads(file.read_text()))


def rows_of(results: dict[str, Any], name: str) -> dict[str, Any]:
    return {row["subject"]: row for each in results["workloads"] if each["name"] == name for row in each["rows"]}


def test_run_measures_every_workload(results: dict[str, Any]) -> None:
    """Each subject that takes part has its rounds, with time and CPU seconds."""
    assert list(TINY) == [each["name"] for each in results["workloads"]]
    for name in TINY:
        for subject, row in rows_of(results, name).items():
            assert subject == "tusd" or 2 == len(row["rounds"]), row["reason"]
            assert all(each["wall"] > 0 and each["cpu"] >= 0 for each in row["rounds"])
    assert {OURS, NAIVE, "tusd"} == set(rows_of(results, "one-big-body"))
    assert {OURS, EMPTY, "tusd"} == set(rows_of(results, "small-files"))
    assert {OURS, "tusd", "copy_file_range"} == set(rows_of(results, "join"))


def test_run_says_where_it_was(results: dict[str, Any]) -> None:
    """Versions, levels and the file system stand beside the figures."""
    assert {"date", "commit", "cpu", "cores", "kernel", "file system", "python", "aiohttp", "SQLite"} <= set(
        results["about"]
    )
    assert "durability none" == rows_of(results, "chunks-8")[OURS]["note"]
    assert "unknown" != results["about"]["file system"]


def test_round_has_everything(results: dict[str, Any]) -> None:
    """Memory, latency, and what another client felt."""
    one = rows_of(results, "chunks-8")[OURS]["rounds"][0]
    assert 4 * 2**20 == one["bytes"]
    assert 16 == one["operations"] == one["latency"]["count"]
    assert one["peak"] >= one["idle"] > 2**20
    assert one["head"] == {} or one["head"]["p50"] <= one["head"]["p99"] <= one["head"]["max"]


def test_missing_is_named(results: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """A peer that is not there has its reason and no figure."""
    assert {"tusd": "tusd is not on PATH"} == results["missing"]
    assert [] == rows_of(results, "one-big-body")["tusd"]["rounds"]
    text = command.report.as_text(results)
    assert "| tusd | – | – | – | – | – | missing: tusd is not on PATH |" in text  # noqa: RUF001
    assert "- tusd: missing: tusd is not on PATH" in text


def test_server_that_drops_bytes_does_not_win(tmp_path: Path) -> None:
    """It answers as it should, and nothing is on disk: no figure, but a reason."""
    liar = replace(find(EMPTY, Choice(tmp_path, {})), stores=True, heads=False)
    workload = next(each for each in WORKLOADS if each.name == "one-big-body")
    stage = Stage(2, {NAIVE: liar}, (), tmp_path, lambda _: None)
    [row] = play(workload, Sizes(500 * KIB), stage)
    assert [] == row.rounds
    assert "512000 of 512000 bytes are not on disk" == row.reason


def test_page_is_written(results: dict[str, Any], tmp_path: Path) -> None:
    """Only what is between the marks changes, and the chart is an SVG with a bar for each subject."""
    page = tmp_path / "performance.md"
    page.write_text(f"# Before\n\n{command.page.BEGIN}\nold\n{command.page.END}\n\nAfter\n")
    command.page.write_page(results, tmp_path, tmp_path)
    text = page.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("\n\nAfter\n")
    assert "\nold\n" not in text
    assert "### small-files" in text
    assert 4 == (tmp_path / "performance.svg").read_text().count("<rect")


def test_page_has_more_blocks_where_there_are_results(results: dict[str, Any], tmp_path: Path) -> None:
    """Each between marks of its own; a page that lacks them is not touched."""
    page, (begin, end) = tmp_path / "performance.md", command.page.marks("memory")
    begun = f"{command.page.BEGIN}\n{command.page.END}\n"
    page.write_text(f"{begun}## Memory\n{begin}\nold\n{end}\nAfter\n")
    kept = {"about": results["about"], "quick": True, "count": 7, "rows": []}
    (tmp_path / "memory.json").write_text(json.dumps(kept))
    command.page.write_page(results, tmp_path, tmp_path)
    text = page.read_text()
    assert "7 rounds, " in text.partition(begin)[2].partition(end)[0]
    assert "\nold\n" not in text
    page.write_text(begun)
    with pytest.raises(ValueError, match="has lost its mark"):
        command.page.write_page(results, tmp_path, tmp_path)
    assert begun == page.read_text()


def test_readme_has_a_summary(results: dict[str, Any], tmp_path: Path) -> None:
    """Of the results on one core: each ratio between its marks, and a dash where somebody is missing."""
    page, readme, (begin, end) = tmp_path / "performance.md", tmp_path / "README.md", command.page.marks("one-core")
    page.write_text(f"{command.page.BEGIN}\n{command.page.END}\n{begin}\n{end}\n")
    readme.write_text(f"# Before\n{begin}\nold\n{end}\nAfter\n")
    (tmp_path / "one-core.json").write_text(json.dumps(results))
    command.page.write_page(results, tmp_path, tmp_path, readme)
    text = readme.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("\nAfter\n")
    assert "\nold\n" not in text
    assert "| files of 10 KiB, 16 clients |" + " \u2013 |" * 6 in text
    assert "## small-files" in page.read_text()


def test_summary() -> None:
    """A ratio is of medians of wall time or rate, and more than one where ours is faster."""
    took = {"tusd-py none": 2.0, "tusd-py patch": 3.0, "tusd": 4.0, "rustus": 1.0, "rustus, every write synced": 30.0}
    rows = [{"subject": name, "rounds": [{"wall": wall, "operations": 10}]} for name, wall in took.items()]
    run = {"workloads": [{"name": "chunks", "metric": metric, "rows": rows} for metric in ("cpu", "rate")]}
    line = "| PATCHes of 1 MiB, one client | 2 | 0.5 | \u2013 | 10 | \u2013 | 1.3 |"
    assert [line, line] == summary.as_text(run).splitlines()[2:]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rounds", "0"], "'0' is not a number from 1 to 1000"),
        (["--only", "nothing"], "invalid choice: 'nothing'"),
        (["--subjects", "apache"], "invalid choice: 'apache'"),
        (["--peer", "nginx=/bin/true"], "'nginx=/bin/true' is not tusd=PATH or rustus=PATH"),
        (["--peer", "tusd=/nowhere"], "there is no program /nowhere"),
        (["--tusd-py", "/nowhere"], "'/nowhere' is neither a python nor a work tree"),
        (["--place", "/nowhere"], "there is no directory /nowhere"),
        (["--remount", "--place", "/"], "--remount: "),
        (["--processors", "0"], "'0' is not a number from 1 to "),
        (["--processors", "all"], "'all' is not a number from 1 to "),
        (["--json", "/nowhere/file"], "there is no directory /nowhere"),
        (["--docs", "/nowhere"], "/nowhere is no file of results"),
    ],
)
def test_bad_options(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence on stderr, exit code 2, nothing measured."""
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert 2 == ended.value.code
    out, errors = capsys.readouterr()
    assert "" == out
    assert sentence in errors
    assert 1 == errors.count("\n")


async def test_list_as_a_command() -> None:
    """`python -m benchmarks --list` names what there is."""
    code, out, _ = await asyncio.wait_for(asking.command("--list", module="benchmarks"), 20)
    assert 0 == code
    assert all(f"  {each.name} " in out for each in WORKLOADS)
