"""The parts of the oracle one by one: bytes, log, model, figures."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.figures import Figures
from tests.faults.oracle import model
from tests.faults.oracle.history import History, read
from tests.faults.oracle.model import Upload, choose
from tests.faults.oracle.payload import (
    ZEROS,
    Found,
    Segment,
    agreement,
    describe,
    find_writer,
    first_difference,
    payload,
)
from tests.faults.volumes import VOLUMES, volume


def test_bytes_are_the_same_however_they_are_cut() -> None:
    """A byte depends on upload, writer and offset, and on nothing else."""
    whole = payload("u", 1, 0, 20_000)
    assert len(whole) == 20_000
    for start, end in [(0, 1), (4095, 4097), (4096, 8192), (777, 19_999), (5, 5)]:
        assert whole[start:end] == payload("u", 1, start, end)
    assert 20_000 - 200 < sum(a != b for a, b in zip(whole, payload("u", 2, 0, 20_000), strict=True))
    assert payload("v", 1, 0, 100) != whole[:100]


def test_first_difference_is_exact() -> None:
    """Wherever a byte is wrong, that one is named."""
    data = bytearray(payload("u", 1, 100, 200_100))
    assert first_difference("u", 1, bytes(data), 100) is None
    for wrong in (199_999, 65_536, 4096, 17, 0):
        data[wrong] ^= 1
        assert 100 + wrong == first_difference("u", 1, bytes(data), 100)
        assert wrong == agreement("u", 1, bytes(data), 100)


def test_whoever_wrote_is_found() -> None:
    """Zeros, another writer, another upload, the same writer elsewhere, nobody: each is told from the others."""
    mine, theirs = payload("u", 1, 100, 164), payload("u", 2, 100, 164)
    assert find_writer("u", theirs + mine, 100, [1, 2]) == Found("writer", 64, "u", 2, 100)
    assert find_writer("u", bytes(9) + mine, 100, [1, 2]).kind == ZEROS
    said = [
        describe("u", data, 100, expected=1, candidates=[1, 2], others=[("v", 7)])
        for data in (bytes(64), theirs, payload("v", 7, 100, 164), payload("u", 1, 0, 64), b"\xff" * 64)
    ]
    assert [
        "bytes 100-163 are zeros, expected writer 1",
        "bytes 100-163 are writer 2's, expected writer 1",
        "bytes 100-163 are writer 7 of upload v's, expected writer 1",
        "writer 1's bytes of offset 0 at offset 100, expected writer 1",
        "bytes 100-163 are nobody's, expected writer 1",
    ] == [sentence for _, sentence in said]


WRITE = """
import os, signal, sys
from pathlib import Path
from tests.faults.oracle.history import History
log = History(Path(sys.argv[1]))
log.begin("head", "u").end(200, 7)
log.begin("patch", "u", writer=3, at=7, size=10)
os.write(log._fd, b'{"id":2,"event":{"op":"pa')
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_log_outlives_its_client(tmp_path: Path) -> None:
    """A client that is killed leaves what it did; a request under way has an unknown outcome and no end."""
    path = tmp_path / "log"
    done = subprocess.run([sys.executable, "-c", WRITE, path], check=False, env={**os.environ, "PYTHONPATH": "."})
    assert -signal.SIGKILL == done.returncode
    head, patch = read(path)
    assert ("head", 200, 7) == (head.op, head.status, head.offset)
    assert head.start <= head.end < patch.start
    assert (None, math.inf, 3, 7, 10, 10) == (
        patch.status, patch.end, patch.writer, patch.at, patch.size, patch.brought
    )  # fmt: skip


def test_log_reads_what_was_written(tmp_path: Path) -> None:
    """What is read is what the client itself knows."""
    log = History(tmp_path / "log")
    log.begin("create", "u", length=10).end(201, note="/files/1")
    log.begin("patch", "u", writer=1, at=0, size=10, sent=4).end(None, sent=4)
    assert read(tmp_path / "log") == log.events()
    log.close()


def test_model_of_an_upload() -> None:
    """Creation, PATCH, wrong offsets, too much, the end, an empty PATCH behind it, DELETE (CORE-PATCH-06, 10-13)."""
    state = choose(model.create({}, "u", 10), 201)
    state = choose(model.patch(state, "u", 0, 4, writer=1), 204, 4)
    for at, size, status, offset in [(0, 4, 409, 4), (5, 5, 409, 4), (4, 7, 413, None)]:
        assert state == choose(model.patch(state, "u", at, size, writer=9), status, offset)
    assert state == choose(model.get(state, "u"), 404)
    state = choose(model.patch(state, "u", 4, 6, writer=2), 204, 10)
    assert state["u"].finished
    assert state == choose(model.patch(state, "u", 10, 0, writer=3), 204, 10)
    assert state == choose(model.patch(state, "u", 10, 1, writer=3), 413)
    assert state == choose(model.get(model.restart(state), "u"), 200, 10) == model.expire(state, "u")
    assert model.content(state["u"]) == payload("u", 1, 0, 4) + payload("u", 2, 4, 10)
    state = choose(model.delete(state, "u"), 204)
    for outcomes in (model.head(state, "u"), model.get(state, "u"), model.patch(state, "u", 10, 0, writer=1)):
        assert state == choose(outcomes, 404)
    with pytest.raises(AssertionError, match="answered 200"):
        choose(model.head(state, "u"), 200, 10)


def test_model_of_a_cut_body() -> None:
    """Any prefix may be stored until somebody is shown which; a checksum lets nothing be stored (CSUM-09)."""
    begun = choose(model.create({}, "u", 10), 201)
    state = model.cut(begun, "u", 0, 6, writer=1)
    assert state["u"].offset == 0
    seen = choose(model.head(state, "u"), 200, 4)
    assert (Segment("u", 1, 0, 4),) == seen["u"].segments
    assert 7 == choose(model.patch(state, "u", 4, 3, writer=2), 204, 7)["u"].offset
    assert 6 == choose(model.patch(state, "u", 4, 3, writer=2), 409, 6)["u"].offset
    for offset in (-1, 7):
        with pytest.raises(AssertionError):
            choose(model.head(state, "u"), 200, offset)
    assert 0 == choose(model.head(model.cut(begun, "u", 0, 6, writer=1, checksum=True), "u"), 200, 0)["u"].offset
    whole = model.cut(begun, "u", 0, 10, writer=1)
    assert not choose(model.get(whole, "u"), 404)["u"].finished
    assert choose(model.get(whole, "u"), 200, 10)["u"].finished


def test_model_of_a_deferred_length() -> None:
    """The length comes with a PATCH, once, and not when it is refused (DEF-01, DEF-04, DEF-05, DEF-06, DEF-08)."""
    state = choose(model.create({}, "u", None), 201)
    state = choose(model.patch(state, "u", 0, 5, writer=1), 204, 5)
    assert state == choose(model.patch(state, "u", 5, 0, writer=1, length=4), 400)
    assert state == choose(model.patch(state, "u", 5, 2, writer=1, length=6), 413)
    state = choose(model.patch(state, "u", 5, 0, writer=1, length=6), 204, 5)
    assert state == choose(model.patch(state, "u", 5, 0, writer=1, length=7), 400)
    state = choose(model.patch(state, "u", 5, 2, writer=2, length=6, chunked=True), 413)
    assert (6, True) == (state["u"].offset, state["u"].finished)


def test_model_of_concatenation_and_expiry() -> None:
    """A final is the bytes of its parts, which may go; it takes no PATCH (CAT-02, CAT-08, CAT-09, CAT-15, EXP-09)."""
    state = choose(model.create({}, "whole", 0), 201)
    for part in ("a", "b"):
        state = choose(model.create(state, part, 3, kind="partial"), 201)
        assert state == choose(model.concat(state, "f", [part]), 400)
        state = choose(model.patch(state, part, 0, 3, writer=1), 204, 3)
    assert state == choose(model.concat(state, "f", ["a", "whole"]), 400)
    assert state == choose(model.concat(state, "f", ["a", "missing"]), 404)
    assert state == choose(model.concat(state, "f", ["a", "b"], max_size=5), 413)
    state = choose(model.concat(state, "f", ["b", "a"]), 201)
    state = model.expire(state, "a")
    assert state == choose(model.head(state, "a"), 410) == choose(model.delete(state, "a"), 404)
    assert state == choose(model.patch(state, "f", 6, 0, writer=1), 403)
    assert model.content(state["f"]) == payload("b", 1, 0, 3) + payload("a", 1, 0, 3)
    assert Upload(key="whole", length=0) == choose(model.head(state, "whole"), 200, 0)["whole"]


def test_figures_add_up(tmp_path: Path) -> None:
    """What several tests counted is one line, what was left out is in it, and it is read as it was written."""
    figures, more = Figures(), Figures()
    assert not figures
    more.add("power_cuts", 3, of="ext4")
    more.add("power_cuts", 2, of="XFS")
    more.not_run("full disks", "needs root")
    more.fact("seed", "2")
    figures.add("kills", 1200)
    figures.add("acknowledged_patches", 7)
    figures.fact("seed", "1")
    for value in (1, 2, 30):
        figures.sample("recovery_ms", value)
    more.sample("loop_lag_p99_ms", 12.5, of="test_kill")
    figures.merge(more)
    line = figures.line().split(" · ")
    assert "kills 1,200" == line[0]
    assert {
        "power cuts 5 (ext4, XFS)", "acknowledged PATCHes 7", "lost 0", "corrupt 0", "recovery p50/p99 2/30 ms",
        "loop lag p99 at most 12.5 ms (test_kill)", "full disks NOT RUN (needs root)", "seed 1/2",
    } <= set(line)  # fmt: skip
    figures.write(tmp_path / "x" / "figures.json")
    assert Figures.read(tmp_path / "x" / "figures.json").line() == figures.line()


def test_volumes_can_be_set_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the environment goes before the table."""
    monkeypatch.delenv("KILLS", raising=False)
    assert 500 == volume("T5", "ci")
    monkeypatch.setenv("KILLS", "7")
    assert 7 == volume("T5", "ci")
    assert len(VOLUMES) == len({row.variable for row in VOLUMES.values()})
