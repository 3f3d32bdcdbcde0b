"""The pytest side: checks in, outcomes out."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from conformance.outcomes import Outcome, Report, Result
from conformance.rows import MUST, Deviation, Row
from conformance.wire import Silence

MOST_SILENT = 3
"""A server that leaves so many checks in a row without any answer is not asked any more."""


class Collector:
    """A plugin that turns what pytest reports into outcomes."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.silent = 0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note what came out; what is not a MUST does not let the run fail."""
        made = yield
        mark = item.get_closest_marker("row")
        if mark is None or (call.when != "call" and made.passed):
            return made
        row: Row = mark.args[0]
        error = call.excinfo.value if call.excinfo else None
        if made.skipped:
            self._note(item, row, Result.NOT_APPLICABLE, str(error))
        elif made.passed:
            self._note(item, row, Result.PASSED)
        else:
            said = str(error) if isinstance(error, Deviation) else f"the check broke: {error!r}"
            self._note(item, row, Result.FAILED, " ".join(said.split()))
            if row.level is not MUST and isinstance(error, Deviation):
                made.outcome, made.wasxfail = "skipped", f"{row.level}: {said}"
        self.silent = self.silent + 1 if isinstance(error, Silence) else 0
        if self.silent >= MOST_SILENT:
            self.report.stopped = f"{MOST_SILENT} checks in a row got no answer in time"
            item.session.shouldstop = self.report.stopped
        return made

    def _note(self, item: pytest.Item, row: Row, result: Result, observed: str = "") -> None:
        callspec: Any = getattr(item, "callspec", None)
        module: Any = getattr(item, "module", None)
        section = module.SECTION
        self.report.outcomes.append(Outcome(row, section, callspec.id if callspec else "", result, observed))
