"""Memory for each client: a small run from end to end, the clients, the disk that is held up, and the report."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import options
from benchmarks.memory import cases, command, report
from benchmarks.memory.clients import Body
from benchmarks.memory.frozen import disk, freezing
from conformance.peers import NotRun

KIB = 2**10
TINY = cases.Sizes(((3, 400 * KIB),), 0.3, 3, 20, (100 * KIB, 600 * KIB), 20)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run with tiny sizes says, and that it leaves nothing behind."""
    place, file = tmp_path_factory.mktemp("place"), tmp_path_factory.mktemp("results") / "memory.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "QUICK", TINY)
        patch.setattr(cases, "WAYS", cases.WAYS[2:])
        patch.setattr(cases, "LEVELS", ("patch",))
        patch.setattr(command, "more_files", lambda: None)
        patch.setattr(options.signal, "signal", lambda *_: None)
        parts = ["--only", "connections", "finished", "slow", "fast", "sizes"]
        assert 0 == command.main(["--quick", "--place", str(place), "--json", str(file), *parts])
    assert [] == list(place.iterdir())
    return dict(json.loads(file.read_text()))


def test_every_part_is_measured(results: dict[str, Any]) -> None:
    """Base and peak are there, and the peak is not below."""
    assert ["rest", "rest", "crowd", "crowd", "body", "body"] == [row["table"] for row in results["rows"]]
    for row in results["rows"]:
        assert 1 == len(row["rounds"]), row["reason"]
        assert row["rounds"][0]["base"] > 2**20
        assert row["table"] == "rest" or row["rounds"][0]["peak"] >= row["rounds"][0]["base"]


def test_verdicts(results: dict[str, Any]) -> None:
    """300 KiB for each upload, and a peak that does not follow the size of a body."""
    rows = {row["what"] if row["table"] != "body" else row["size"]: row for row in results["rows"]}
    few = {"base": 2**20, "peak": 2**20 + 3 * 200 * KIB, "head": {}}
    much = {"base": 2**20, "peak": 2**20 + 3 * 400 * KIB, "head": {"p99": 1.0}}
    rows["slow"]["rounds"], rows["fast"]["rounds"] = [few, few], [much, much]
    rows[100 * KIB]["rounds"], rows[600 * KIB]["rounds"] = [few], [much | {"peak": 2**23}]
    text = report.as_text(results)
    assert "| slow | 3 | 400 KiB | portable, chunked body | patch |" in text
    assert "| 200 [200..200] | at most 300 | yes |" in text
    assert "| 400 [400..400] | at most 300 | no |" in text
    assert "| at most 1,024 KiB more than 100 KiB | no |" in text


def test_what_did_not_run_says_so(results: dict[str, Any]) -> None:
    """A reason and no figure, never silence."""
    row = results["rows"][2] | {"rounds": [], "reason": "a disk can be held up by root only"}
    text = report.as_text(results | {"rows": [row]})
    assert "- slow, 3, portable, chunked body, patch: NOT RUN: a disk can be held up by root only" in text


def test_bodies_on_the_wire() -> None:
    """Chunks carry as many bytes as were asked for; only a whole body ends."""
    content = memoryview(bytes(100 * KIB))
    chunked = b"".join(Body(200 * KIB, chunked=True, content=content).pieces(70 * KIB, ends=False))
    assert chunked == b"10000\r\n" + bytes(64 * KIB) + b"\r\n1800\r\n" + bytes(6 * KIB) + b"\r\n"
    assert b"".join(Body(1, chunked=True, content=content).pieces(1, ends=True)) == b"1\r\n\0\r\n0\r\n\r\n"
    assert 70 * KIB == sum(map(len, Body(200 * KIB, chunked=False, content=content).pieces(70 * KIB, ends=True)))


def test_disk_is_held_up_and_let_go(tmp_path: Path) -> None:
    """Who writes waits until the block ends; nothing stays mounted."""
    try:
        with disk(tmp_path) as point:
            (point / "before").write_text("x")
            writer = threading.Thread(target=(point / "meanwhile").write_text, args=("x",))
            with contextlib.suppress(KeyError), freezing(point):
                writer.start()
                time.sleep(0.1)
                assert writer.is_alive()
                raise KeyError
            writer.join(10)
            assert not writer.is_alive()
    except NotRun as reason:
        pytest.skip(f"NOT RUN: {reason}")
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    assert ["disk"] == [each.name for each in tmp_path.iterdir()]
