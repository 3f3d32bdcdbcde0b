"""tus-js-client 4.3 and an application that decides: what the page is told is what the application said."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.deciding import MODES, NO_CATS, Decisions, decide
from tests.interop.mounts import Member, Mount, mounted
from tests.interop.packages import installed
from tests.interop.test_tus_js import HERE, MIB, assert_said, run
from tests.support.proxy import Cut, CuttingProxy
from tests.support.state import holdings
from tusd_py.models.hook import Moment

CLIENT = "tus-js-client"

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="NOT RUN: needs node")

ways = pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="one request"),
        pytest.param({"chunkSize": MIB}, id="chunks"),
        pytest.param({"deferred": True, "chunkSize": MIB}, id="deferred length"),
        pytest.param({"uploadDataDuringCreation": True}, id="with the creation"),
    ],
)


@pytest.fixture(scope="module")
def tus_js() -> Path:
    """Return a directory that has the client installed."""
    return installed(HERE, "tus-js-client")


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """How the server runs."""
    return str(request.param)


@pytest.fixture
async def server(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Mount]:
    """A server of our own, which asks its application again soon."""
    monkeypatch.setattr("tusd_py.engine.finishing.FIRST_DELAY", 0.05)
    async with mounted(mode, tmp_path / "data") as mount:
        yield mount


@pytest.fixture
def decisions(server: Mount) -> Decisions:
    """Its application."""
    return decide(server)


def assert_told(said: dict[str, Any]) -> None:
    """The page was told of an error, in the words of the application, and not of success."""
    assert "url" not in said
    assert said["status"] == 422
    assert "No cats, please" in said["error"]


@ways
async def test_refused_at_the_end(
    server: Mount, decisions: Decisions, tus_js: Path, file: Path, options: dict[str, Any]
) -> None:
    """A file that the application refuses when it is there is an error with the application's words. (peers 5)"""
    decisions.answers = [NO_CATS]
    said = await run(tus_js, file, server, **options)
    assert_told(said)
    assert decisions.count(Moment.PRE_FINISH) == 1
    await decisions.settle()
    assert decisions.count(Moment.POST_FINISH) == 0


@ways
@pytest.mark.parametrize("how", list(Cut), ids=lambda how: how.name)
async def test_refused_and_the_answer_is_lost(
    server: Mount, decisions: Decisions, tus_js: Path, *, file: Path, how: Cut, options: dict[str, Any]
) -> None:
    """A refusal whose answer is lost is never taken for success: the client asks, begins anew if it can, and hears it.
    (peers 5)
    """
    async with CuttingProxy.open(server.url) as proxy:

        def cut_once() -> None:
            if decisions.count(Moment.PRE_FINISH) == 1:
                proxy.cut_now(how)

        decisions.before = cut_once
        decisions.answers = [NO_CATS, NO_CATS]
        said = await run(tus_js, file, server, proxy.url, **options)
    if "deferred" in options:
        # A stream cannot be read again from its beginning.
        assert "error" in said
    else:
        assert_told(said)
        assert decisions.count(Moment.PRE_FINISH) == 2
    await decisions.settle()
    assert decisions.count(Moment.POST_FINISH) == 0


@pytest.mark.parametrize("how", list(Cut), ids=lambda how: how.name)
async def test_agreed_and_the_answer_is_lost(
    session: Any, server: Mount, decisions: Decisions, tus_js: Path, *, file: Path, how: Cut
) -> None:
    """A file that was agreed to while the connection was cut has arrived, and that is told once. (I14)"""
    async with CuttingProxy.open(server.url) as proxy:
        decisions.before = lambda: proxy.cut_now(how)
        said = await run(tus_js, file, server, proxy.url)
    await assert_said(Member(session, server), server, said, file)
    await decisions.settle()
    assert [decisions.count(moment) for moment in (Moment.PRE_FINISH, Moment.POST_FINISH)] == [1, 1]


async def test_asked_again(session: Any, server: Mount, decisions: Decisions, tus_js: Path, file: Path) -> None:
    """An application that cannot be asked at first costs nothing but waiting; success is told once. (I14)"""
    decisions.answers = [RuntimeError("not yet"), RuntimeError("not yet")]
    said = await run(tus_js, file, server, retryDelays=[0, 50, 200, 500, 1000, 1000])
    await assert_said(Member(session, server), server, said, file)
    assert said["requests"].count("PATCH") == 1
    await decisions.settle()
    assert [decisions.count(moment) for moment in (Moment.PRE_FINISH, Moment.POST_FINISH)] == [3, 1]


async def test_refused_at_once(server: Mount, decisions: Decisions, tus_js: Path, file: Path) -> None:
    """A file that the application refuses beforehand is an error with its words, and is not sent. (CRE-POST-18)"""
    decisions.about, decisions.answers = Moment.PRE_CREATE, [NO_CATS]
    said = await run(tus_js, file, server)
    assert_told(said)
    assert said["requests"] == ["POST"]
    assert holdings(server) == set()
