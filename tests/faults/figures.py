"""What a run counted, and the line that is published of it (reliability 6.5)."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.about import about

COUNTED = {
    "acknowledged_patches": "acknowledged PATCHes",
    "acknowledged_bytes": "acknowledged bytes",
    "lost": "lost",
    "corrupt": "corrupt",
    "zeros": "zeros",
    "regressions": "offset regressions",
    "overlaps": "overlaps",
    "undead": "undead",
    "finished_uploads": "finished uploads",
    "jobs_missing": "jobs missing",
    "jobs_twice": "jobs twice",
    "jobs_early": "jobs of unfinished uploads",
    "duplicate_job_attempts": "duplicate job attempts (same key)",
    "crash_states": "crash states",
    "syscall_faults": "syscall faults",
    "operations": "operations",
    "fuzz_inputs": "fuzz inputs",
    "unhandled_500s": "unhandled 500s",
    "uploader_kills": "kills of the uploader",
    "uploader_faults": "faults between it and its server",
    "uploads_asked": "files to upload",
    "uploads_arrived": "files arrived",
    "uploads_finished_twice": "files finished twice",
}
"""Counters by the words they are published with, in this order; `kills` and `power_cuts` come before them."""

BY_PART = ("uploader_faults",)
"""Counters whose parts are said as well."""

PROMISES = ("lost", "corrupt", "zeros", "regressions")
"""Said even when nothing happened: that it is 0 is the point."""

OF_VIOLATIONS = {
    "lost": "lost",
    "corrupt": "corrupt",
    "zeros": "zeros",
    "regression": "regressions",
    "overlap": "overlaps",
    "undead": "undead",
    "job_missing": "jobs_missing",
    "job_twice": "jobs_twice",
    "job_early": "jobs_early",
}
"""Counters by the kinds of the checker."""


class Figures:
    """Counters, samples and facts of a run; parts of a counter (`of`) say where or how."""

    def __init__(self) -> None:
        self.counters: dict[str, Counter[str]] = {}
        self.samples: dict[str, dict[str, list[float]]] = {}
        self.skipped: dict[str, str] = {}
        self.facts: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self.counters or self.samples or self.skipped)

    def add(self, name: str, count: int = 1, *, of: str = "") -> None:
        """Count: `add("power_cuts", of="XFS")`. Counting 0 says that it was looked for."""
        counter = self.counters.setdefault(name, Counter())
        counter[of] += count

    def sample(self, name: str, value: float, *, of: str = "") -> None:
        """Keep one value of many: `sample("loop_lag_p99_ms", 3.1, of="test_kill")`."""
        self.samples.setdefault(name, {}).setdefault(of, []).append(value)

    def not_run(self, what: str, reason: str) -> None:
        """Say that something was left out, and why."""
        self.skipped[what] = reason

    def fact(self, name: str, value: str) -> None:
        """Say under which conditions: `fact("durability", "patch")`; several values stand beside one another."""
        known = self.facts.get(name, "").split("/") if name in self.facts else []
        self.facts[name] = "/".join(dict.fromkeys([*known, value]))

    def total(self, name: str) -> int:
        """Return a counter with all its parts."""
        return sum(self.counters.get(name, Counter()).values())

    def merge(self, other: Figures) -> None:
        """Take over what another test or process counted."""
        for name, counter in other.counters.items():
            for of, count in counter.items():
                self.add(name, count, of=of)
        for name, parts in other.samples.items():
            for of, values in parts.items():
                self.samples.setdefault(name, {}).setdefault(of, []).extend(values)
        self.skipped |= other.skipped
        for name, joined in other.facts.items():
            for value in joined.split("/"):
                self.fact(name, value)

    def write(self, path: Path) -> None:
        """Write everything as JSON, with the line."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"line": self.line(), **vars(self)}, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Figures:
        """Read what `write` wrote."""
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        figures = cls()
        figures.counters = {name: Counter(counter) for name, counter in raw["counters"].items()}
        figures.samples, figures.skipped, figures.facts = raw["samples"], raw["skipped"], raw["facts"]
        return figures

    def line(self) -> str:
        """Return the published line: what was done, what was found, what was left out, and where."""
        return " · ".join([*self._done(), *self._sampled(), *self._left_out(), *self._conditions()])

    def _done(self) -> Iterator[str]:
        if "kills" in self.counters:
            yield f"kills {self.total('kills'):,}"
        if "power_cuts" in self.counters:
            systems = ", ".join(of for of in self.counters["power_cuts"] if of)
            yield f"power cuts {self.total('power_cuts'):,}" + (f" ({systems})" if systems else "")
        for name, words in COUNTED.items():
            if name in self.counters or (name in PROMISES and "acknowledged_patches" in self.counters):
                yield f"{words} {self.total(name):,}{self._parts(name)}"
        for name in sorted(set(self.counters) - set(COUNTED) - {"kills", "power_cuts"}):
            yield f"{name.replace('_', ' ')} {self.total(name):,}"

    def _parts(self, name: str) -> str:
        parts = sorted(self.counters[name].items()) if name in BY_PART else []
        return f" ({', '.join(f'{of} {count:,}' for of, count in parts)})" if parts else ""

    def _sampled(self) -> Iterator[str]:
        for name, parts in sorted(self.samples.items()):
            words, unit = _unit(name)
            if set(parts) == {""}:
                yield f"{words} p50/p99 {quantile(parts[''], 0.5):.3g}/{quantile(parts[''], 0.99):.3g} {unit}".strip()
            else:
                worst, value = max(((of, max(values)) for of, values in parts.items()), key=lambda each: each[1])
                yield f"{words} at most {value:.3g} {unit} ({worst})".replace("  ", " ")

    def _left_out(self) -> Iterator[str]:
        for what, reason in sorted(self.skipped.items()):
            yield f"{what} NOT RUN ({reason})"

    def _conditions(self) -> Iterator[str]:
        for name, value in (conditions() | self.facts).items():
            yield f"{name} {value}"


def conditions() -> dict[str, str]:
    """Return what the figures of this tree on this machine depend on."""
    here = about(Path())
    return {name: here[name] for name in ("commit", "kernel", "SQLite", "aiohttp")} | {"Python": here["python"]}


UNITS = {"ms": "ms", "s": "s", "kib": "KiB"}


def _unit(name: str) -> tuple[str, str]:
    words, _, unit = name.rpartition("_")
    return (words.replace("_", " "), UNITS[unit]) if unit in UNITS else (name.replace("_", " "), "")


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that is not below this share of all."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
