"""tuspy 1.1 and an application that decides: what it refuses is an error."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

pytest.importorskip("tusclient.client", reason="NOT RUN: needs tuspy")

from tests.interop.deciding import MODES, NO_CATS, Decisions, decide
from tests.interop.leftovers import LEAVES_FILES_OPEN
from tests.interop.mounts import Mount, mounted
from tests.interop.test_tuspy import MIB, exceptions, upload
from tests.support.proxy import CuttingProxy
from tests.support.state import holdings
from tusd_py.models.hook import Moment

pytestmark = LEAVES_FILES_OPEN

CLIENT = "tuspy"


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """How the server runs."""
    return str(request.param)


@pytest.fixture
async def server(mode: str, tmp_path: Path) -> AsyncIterator[Mount]:
    """A server of our own."""
    async with mounted(mode, tmp_path / "data") as mount:
        yield mount


@pytest.fixture
def decisions(server: Mount) -> Decisions:
    """Its application."""
    return decide(server)


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("is_lost", [False, True], ids=["heard", "lost"])
async def test_refused_at_the_end(
    server: Mount, decisions: Decisions, file: Path, *, retries: int, is_lost: bool
) -> None:
    """A file that the application refuses when it is there is an error, also where the answer is lost. (peers 5)"""
    decisions.answers = [NO_CATS]
    async with CuttingProxy.open(server.url) as proxy:
        if is_lost:
            decisions.before = proxy.cut_now
        with pytest.raises((exceptions.TusUploadFailed, exceptions.TusCommunicationError)) as caught:
            await upload(server, file, proxy.url, chunk_size=MIB, retries=retries, retry_delay=0)
    if not (retries or is_lost):
        assert caught.value.status_code == 422
        assert b"No cats, please" in caught.value.response_content
    await decisions.settle()
    assert [decisions.count(moment) for moment in (Moment.PRE_FINISH, Moment.POST_FINISH)] == [1, 0]


async def test_refused_at_once(server: Mount, decisions: Decisions, file: Path) -> None:
    """A file that the application refuses beforehand is an error with its words. (CRE-POST-18)"""
    decisions.about, decisions.answers = Moment.PRE_CREATE, [NO_CATS]
    with pytest.raises(exceptions.TusCommunicationError) as caught:
        await upload(server, file)
    assert caught.value.status_code == 422
    assert b"No cats, please" in caught.value.response_content
    assert holdings(server) == set()
