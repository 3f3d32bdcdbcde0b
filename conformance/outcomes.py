"""What came out: one outcome per check, counted per section and level, as text and as JSON."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from conformance.rows import DECISION, MUST, SHOULD, Level, Row
from conformance.target import VERSION, Server


class Result(enum.StrEnum):
    """What came out of one check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Outcome:
    """One check and what came out of it."""

    row: Row
    section: str
    case: str
    """Which of several values of the row, or nothing."""
    result: Result
    observed: str = ""
    """What the server did, or why it was not asked: one sentence without a full stop."""

    @property
    def name(self) -> str:
        """The row, and which case of it."""
        return f"{self.row.id} [{self.case}]" if self.case else self.row.id


@dataclass
class Report:
    """Everything that came out of one run."""

    server: Server
    outcomes: list[Outcome] = field(default_factory=list)
    stopped: str = ""
    """Why the run ended early, if it did."""

    def of(self, *levels: Level, result: Result | None = None) -> list[Outcome]:
        """Return the outcomes of these levels."""
        return [each for each in self.outcomes if each.row.level in levels and result in (None, each.result)]

    @property
    def conforms(self) -> bool:
        """Whether everything was asked and no MUST fails."""
        return bool(self.outcomes) and not self.stopped and not self.of(MUST, result=Result.FAILED)

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "url": self.server.url,
            "protocol": VERSION,
            "extensions": self.server.extensions,
            "max_size": self.server.max_size,
            "checksum_algorithms": self.server.algorithms,
            "conforms": self.conforms,
            "stopped": self.stopped,
            "metadata": self.server.metadata,
            "notes": self.server.notes,
            "summary": {level.value: count(self.of(level)) for level in Level},
            "rows": [
                {
                    "id": each.row.id,
                    "case": each.case,
                    "level": each.row.level.value,
                    "section": each.section,
                    "spec": each.row.spec,
                    "sentence": each.row.sentence,
                    "result": each.result.value,
                    "observed": each.observed,
                }
                for each in self.outcomes
            ],
        }

    def as_text(self) -> str:
        """Return the tables and the list of failures, for people."""
        lines = [f"{self.server.url} speaks tus {VERSION}: {', '.join(self.server.extensions) or 'no extensions'}", ""]
        lines += self._table("Section", (MUST, SHOULD), ("passed", "failed", "n/a"))
        lines += self._list("What the protocol says and the server does not do", MUST, SHOULD)
        lines += ["", "Decisions of tusd-py, where the protocol is silent; to differ is no fault.", ""]
        lines += self._table("Section", (DECISION,), ("same", "differs", "n/a"))
        lines += self._list("Where this server differs", DECISION)
        lines += [f"Note: {note}" for note in self.server.notes]
        lines += ["", f"Stopped early: {self.stopped}." if self.stopped else self._verdict()]
        return "\n".join(lines)

    def _verdict(self) -> str:
        failed, advised = (len(self.of(level, result=Result.FAILED)) for level in (MUST, SHOULD))
        return f"{'Conforms' if self.conforms else 'Does not conform'}: {failed} MUST and {advised} SHOULD fail."

    def _table(self, title: str, levels: tuple[Level, ...], words: tuple[str, str, str]) -> list[str]:
        found = self.of(*levels)
        sections = list(dict.fromkeys(each.section for each in found))
        head = f"{title:<24}" + "".join(f"{level + ' ' + word:>19}" for level in levels for word in words)
        lines = [head, "-" * len(head)]
        for section in [*sections, "all"]:
            line = f"{section:<24}"
            for level in levels:
                counts = count(each for each in found if section in (each.section, "all") and each.row.level is level)
                line += "".join(f"{number:>19}" for number in counts.values())
            lines.append(line)
        return lines

    def _list(self, title: str, *levels: Level) -> list[str]:
        failed = self.of(*levels, result=Result.FAILED)
        return ["", f"{title}:", ""] + [f"  {sentence(each)}" for each in failed] if failed else []


def count(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Return how many checks came out how."""
    counts = dict.fromkeys((result.value for result in Result), 0)
    for outcome in outcomes:
        counts[outcome.result.value] += 1
    return counts


def sentence(outcome: Outcome) -> str:
    """Return one sentence about a failure: the row, what it says, where, and what was seen instead."""
    row = outcome.row
    return f"{outcome.name} {row.level}: {row.sentence} ({row.spec}), but {outcome.observed}."
