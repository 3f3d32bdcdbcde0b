"""The checker is checked: every fault of a broken server is found under its name, a right server is not accused."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.broken import Fault, broken
from tests.faults.check import Plan, judge, main
from tests.faults.oracle.checker import Job, Violation, check, check_jobs
from tests.faults.oracle.history import Event, Op
from tests.faults.oracle.payload import payload
from tests.faults.oracle.search import possible
from tests.support.servers import process

PLAN = Plan(clients=6, uploads=12, ops=250, largest=4000)

FOUND: list[tuple[Fault, str, str]] = [
    ("loses the last byte", "lost", "had acknowledged"),
    ("stores zeros", "zeros", "are zeros, expected writer"),
    ("goes back after HEAD", "regression", "had shown"),
    ("lets two writers win", "overlap", "were both acknowledged"),
    ("mixes two writers", "corrupt", "'s"),
    ("acknowledges nothing", "lost", "instead of"),
    ("lives after DELETE", "undead", "after DELETE (204)"),
    ("forgets an upload", "lost", "nobody had deleted"),
    ("stores something else with an error", "corrupt", "are nobody's"),
    ("stores behind an error", "corrupt", "no requests can have led to it"),
    ("moves bytes", "corrupt", "'s bytes of offset"),
    ("answers another upload's bytes", "corrupt", "of upload"),
    ("cuts the download", "lost", "GET shows offset"),
]


@pytest.mark.parametrize(("fault", "kind", "words"), FOUND, ids=lambda each: each if " " in each else "")
async def test_fault_is_found_by_its_name(
    fault: Fault, kind: str, words: str, seeds: list[int], tmp_path: Path
) -> None:
    """A server with one fault is accused of that one (I1, I3, I4, I5, I12)."""
    async with broken(fault) as url:
        report = await judge(url, Plan(**{**vars(PLAN), "seed": seeds[0]}), tmp_path)
    sentences = [each.sentence for each in report.violations if each.kind == kind]
    assert [] != [each for each in sentences if words in each], report.violations[:20]


async def test_right_server_is_not_accused(seeds: list[int], tmp_path: Path) -> None:
    """Without a fault there is nothing to find, and something was done."""
    async with broken("none") as url:
        for seed in {*seeds, 1, 2}:
            report = await judge(url, Plan(**{**vars(PLAN), "seed": seed, "cut": 0.3}), tmp_path)
            assert [] == report.violations
            assert report.figures.total("acknowledged_patches") > 20
            assert {"patch 409", "patch unknown", "delete 204", "get 200", "head 404"} <= set(report.statuses)


async def test_our_server_is_not_accused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command judges a server by its URL: nothing is broken (I1, I3-I6, I12)."""
    arguments = ["--ops", "300", "--uploads", "10", "--cut", "0.2"]
    async with process(tmp_path / "data") as server:
        assert 0 == await asyncio.to_thread(main, [server.url, *arguments]), capsys.readouterr().out
    assert "lost 0 · corrupt 0 · zeros 0 · offset regressions 0" in capsys.readouterr().out


async def test_command_leaves_with_a_code(capsys: pytest.CaptureFixture[str]) -> None:
    """1 for a broken server, with a report that machines can read, 2 where there is none."""
    async with broken("stores zeros") as url:
        assert 1 == await asyncio.to_thread(main, [url, "--ops", "120", "--json"])
        assert '"kind": "zeros"' in capsys.readouterr().out
    assert 2 == await asyncio.to_thread(main, [url])
    assert "no tus server" in capsys.readouterr().err


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Few requests that overlap in time, with answers that may be right or wrong."""
    small = st.integers(0, 4)
    events = [Event(op="create", upload="u", start=0, end=draw(st.sampled_from([0.5, 3])), status=201)]
    for number in range(draw(st.integers(1, 7))):
        op: Op = draw(st.sampled_from(["patch", "patch", "patch", "head", "delete"]))
        status: int | None = draw(st.sampled_from(ANSWERS[op]))
        at, size = (draw(small), draw(small)) if op == "patch" else (0, 0)
        shows = status in (200, 409)
        offset = draw(small) if shows else at + size if op == "patch" and status == 204 else None
        start = draw(st.integers(1, 8))
        end = math.inf if status is None else start + draw(st.integers(0, 6))
        events.append(
            Event(
                op=op, upload="u", start=start, end=end, status=status, offset=offset, writer=number, at=at, size=size
            )
        )
    return events


ANSWERS: dict[Op, list[int | None]] = {
    "patch": [204, 204, 204, None, 500, 409, 404],
    "head": [200, 200, 200, 404],
    "delete": [204, None, 404, 500],
}


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(histories())
def test_checker_and_search_agree(events: list[Event]) -> None:
    """What the checker says in n log n is what trying every order says."""
    assert possible(events) == (check(events) == []), check(events)


def patched(writer: int, at: int, size: int, status: int | None = 204, offset: int | None = None) -> Event:
    """A PATCH that ran in the second of its writer; one without a status was cut."""
    shown = at + size if status == 204 else offset
    end = math.inf if status is None else writer + 0.5
    return Event(
        op="patch", upload="u", start=writer, end=end, status=status, offset=shown, writer=writer, at=at, size=size
    )


def sentences(found: list[Violation]) -> list[tuple[str, str]]:
    return [(each.kind, each.sentence) for each in found]


def test_cut_body_may_have_left_any_prefix() -> None:
    """After a cut body, the file is explained by a prefix of it and by whoever went on from there (I5)."""
    created = Event(op="create", upload="u", start=0, end=0.5, status=201, length=300)
    events = [created, patched(1, 0, 200, status=None), patched(2, 120, 180)]
    data = payload("u", 1, 0, 120) + payload("u", 2, 120, 300)
    assert [] == check(events, data)
    wrong = payload("u", 1, 0, 119) + b"\0" + payload("u", 2, 120, 300)
    assert [("zeros", "bytes 119-119 are zeros")] == sentences(check(events, wrong))
    longer = payload("u", 1, 0, 150) + payload("u", 2, 150, 300)
    assert [("corrupt", "bytes 120-149 are writer 1's, expected writer 2")] == sentences(check(events, longer))
    assert [("lost", "299 bytes are stored, but offset 300 was acknowledged or shown")] == sentences(
        check(events, data[:-1])
    )


def test_loser_of_a_race_stores_nothing() -> None:
    """Bytes of a PATCH that was answered 409 are nowhere (I4)."""
    created = Event(op="create", upload="u", start=0, end=0.5, status=201, length=100)
    lost = patched(2, 0, 100, status=409, offset=100)
    assert [] == check([created, patched(1, 0, 100), lost], payload("u", 1, 0, 100))
    mixed = payload("u", 1, 0, 50) + payload("u", 2, 50, 100)
    found = check([created, patched(1, 0, 100), lost], mixed)
    assert [("corrupt", "bytes 50-99 are writer 2's, expected writer 1")] == sentences(found)


def test_jobs_of_finished_uploads() -> None:
    """A finished upload has jobs of exactly one event; attempts may be many (I14)."""
    jobs = [Job("a", "1", 1), Job("a", "1", 2), Job("b", "2", 1), Job("b", "3", 1)]
    assert [("job_missing", "c"), ("job_twice", "b")] == [(v.kind, v.upload) for v in check_jobs("abc", jobs)]
