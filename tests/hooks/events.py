"""Events as hooks are told them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tusd_py.models.hook import HookEvent, Moment, RequestInfo
from tusd_py.models.upload import UploadInfo

REQUEST = RequestInfo(
    method="PATCH",
    uri="/files/abc123?x=1",
    remote_addr="192.0.2.7:59395",
    headers=(
        ("host", "localhost:8080"),
        ("tus-resumable", "1.0.0"),
        ("X-REQUEST-ID", "r1"),
        ("Accept", "a"),
        ("accept", "b"),
    ),
)


def event(moment: Moment = Moment.POST_FINISH, *, request: RequestInfo = REQUEST, **fields: Any) -> HookEvent:
    """An event of an upload of 11 bytes."""
    known: dict[str, Any] = {"id": "abc123", "length": 11, "offset": 11, "metadata": "filename YS5wbmc=,empty"}
    return HookEvent(moment=moment, upload=UploadInfo(**(known | fields)), request=request, at=1000.0)


class Attempt:
    """One attempt of a job, which remembers the progress that was reported."""

    def __init__(self, told: HookEvent, *, on_report: Callable[[float], None] = lambda _: None) -> None:
        self.event = told
        self.attempt = 3
        self.key = "abc123:task"
        self.reports: list[float] = []
        self._on_report = on_report

    def report(self, fraction: float, /) -> None:
        self.reports.append(fraction)
        self._on_report(fraction)
