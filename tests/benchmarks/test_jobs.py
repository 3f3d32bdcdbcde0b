"""Jobs and hooks: a small run from end to end, what is claimed of it, and the page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks import options, page
from benchmarks.client import Failed
from benchmarks.jobs import command, cost, hooks, queue, report
from benchmarks.jobs.app import NOOPS
from benchmarks.jobs.hosts import completed, look

TINY = command.Sizes(cost.Sizes(3, 6, 2), queue.Sizes(20, 10, 10), hooks.Sizes(6, 4, 2))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run with tiny sizes says, and that it leaves nothing behind."""
    place, file = tmp_path_factory.mktemp("place"), tmp_path_factory.mktemp("results") / "jobs.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "QUICK", TINY)
        patch.setattr(cost, "WARM", TINY.cost)
        patch.setattr(command, "more_files", lambda: None)
        patch.setattr(options.signal, "signal", lambda *_: None)
        assert 0 == command.main(["--quick", "--place", str(place), "--json", str(file)])
    assert [] == list(place.iterdir())
    return dict(json.loads(file.read_text()))


def test_run_says_where_it_was(results: dict[str, Any]) -> None:
    """Versions and levels stand beside the figures."""
    assert {"commit", "cpu", "file system", "python", "SQLite", "tusd-py"} <= set(results["about"])
    assert "patch" == results["queue"]["level"]
    for part in ("cost", "hooks"):
        assert {"none", "patch"} == {row["level"] for row in results[part]["rows"]}


def test_finishes_are_measured_with_and_without_jobs(results: dict[str, Any]) -> None:
    """Each application in each round and way; only where a worker does jobs is there something afterwards."""
    rows = results["cost"]["rows"]
    assert [each.name for each in cost.HOSTS] * 2 == [row["subject"] for row in rows]
    for row in rows:
        assert 2 == len(row["rounds"])
        for one in row["rounds"]:
            assert {"alone": 3, "posts": 6, "patches": 6} == {name: one[name]["operations"] for name in one}
            assert all(each["wall"] > 0 < each["cpu"] for each in one.values())
            assert 3 == one["alone"]["latency"]["count"]
            assert (row["subject"] in (cost.NONE, cost.ROW)) == (one["posts"]["after"] == 0)


def test_queues_are_worked_off(results: dict[str, Any]) -> None:
    """Every kind of task with few and with many places, and no job is counted twice."""
    rows = results["queue"]["rows"]
    assert [4, 32] * 3 == [row["places"] for row in rows]
    assert [20, 20, 10, 10, 10, 10] == [sum(each["operations"] for each in row["rounds"]) for row in rows]
    assert all(each["wall"] > 0 for row in rows for each in row["rounds"])


def test_creations_are_measured_with_and_without_hooks(results: dict[str, Any]) -> None:
    """Each kind of hook at each level, fewer where a program is started."""
    rows = results["hooks"]["rows"]
    assert [hooks.NONE, "Python", "HTTP", "command `true`"] * 2 == [row["subject"] for row in rows]
    assert all((6 if row["subject"][:7] != "command" else 4) == row["rounds"][0]["operations"] for row in rows)
    assert all(row["rounds"][0]["latency"]["count"] == row["count"] for row in rows)


def test_report_compares_with_nothing(results: dict[str, Any]) -> None:
    """A difference is called one only where the ranges of the rounds do not touch."""
    base, _, one, _ = results["cost"]["rows"][:4]
    clear = [each | {"posts": each["posts"] | {"wall": 2.0, "operations": 100}} for each in one["rounds"]]
    level = [each | {"posts": each["posts"] | {"wall": 1.0, "operations": 100}} for each in one["rounds"]]
    rows = [base | {"rounds": level}, one | {"rounds": clear}]
    text = report.as_text({**results, "cost": results["cost"] | {"rows": rows}})
    assert "| none | one task | no task | POST per s | 0.50x | worse |" in text
    rows = [base | {"rounds": level}, one | {"rounds": [clear[0], level[1]]}]
    text = report.as_text({**results, "cost": results["cost"] | {"rows": rows}})
    assert "| none | one task | no task | POST per s | 0.75x | spread too large |" in text


def test_parts_can_be_left_out(results: dict[str, Any]) -> None:
    """What was not asked for has no table."""
    text = report.as_text({name: results[name] for name in ("about", "quick", "count", "queue")})
    assert "| Python task | 20 | 4 |" in text
    assert "no hook" not in text


def test_queue_that_is_not_done_is_no_figure(tmp_path: Path) -> None:
    """Filled jobs wait, each for its finished upload; a server that did none of them has no rate."""
    queue.fill(tmp_path / "data", 3)
    due = look(tmp_path / "data", lambda store: store.due_jobs(1e12, limit=10))
    assert [NOOPS[0]] * 3 == [job.task for job in due]
    assert all(job.event.upload.is_finished for job in due)
    with pytest.raises(Failed, match="of 3 jobs, 0 were completed"):
        completed(tmp_path / "data", 3)


def test_page_is_the_generated_one(tmp_path: Path) -> None:
    """The page and its chart say what the files of results do, no more and no less."""
    for name in ("performance.md", "performance.svg"):
        shutil.copy(page.TOPICS / name, tmp_path)
    page.write_page(json.loads((page.RESULTS / "latest.json").read_text(encoding="utf-8")), tmp_path)
    for name in ("performance.md", "performance.svg"):
        assert (page.TOPICS / name).read_text(encoding="utf-8") == (tmp_path / name).read_text(encoding="utf-8")
