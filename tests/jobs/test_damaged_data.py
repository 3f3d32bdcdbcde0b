"""Jobs of an upload whose data is known to lack bytes."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.jobs.office import Office
from tusd_py.errors import DataLost
from tusd_py.models.hook import Moment


@pytest.mark.parametrize("moment", [Moment.POST_FINISH, Moment.POST_TERMINATE])
async def test_data_that_is_not_whole(office: Office, moment: Moment) -> None:
    """No task is handed the data of a finished upload that is damaged: each attempt fails until it is there. (I7)"""
    asked: list[str] = []

    async def check(upload_id: str) -> None:
        asked.append(upload_id)
        if len(asked) == 1:
            raise DataLost

    office.new_worker(check=check)
    office.add()
    job = office.job("a")
    async with office.open():
        await office.finish("a", replace(job, event=replace(job.event, moment=moment)))
        if moment is Moment.POST_FINISH:
            (job,) = await office.settle(retryable=1)
            assert (job.attempt, job.error, office.runs) == (1, DataLost().message, [])
            office.clock.advance(5)
            office.worker.wake()
        await office.settle(completed=1)
    assert asked == (["a", "a"] if moment is Moment.POST_FINISH else [])
    assert len(office.runs) == 1
