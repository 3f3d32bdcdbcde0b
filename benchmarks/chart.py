"""The figures that are asked for most, as bars: an SVG that is readable on light and on dark pages."""

from __future__ import annotations

import html
import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.report import digits
from benchmarks.verdicts import figures

SHOWN = (
    ("one-big-body", "cpu", "CPU seconds of the server for 1 GiB in one PATCH (shorter is better)"),
    ("small-files", "rate", "files of 10 KiB per second (longer is better)"),
)
WIDTH, LABEL, VALUE, STEP, BAR, TITLE = 720, 150, 60, 26, 18, 40
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600 }
  .bar { fill: #8c959f }
  .ours { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .bar { fill: #6e7681 }
    .ours { fill: #2f81f7 }
  }
"""


def chart(results: Mapping[str, Any]) -> str:
    """Return the chart of the workloads that were measured."""
    lines: list[str] = []
    top = 0
    for name, metric, title in SHOWN:
        for workload in results["workloads"]:
            if workload["name"] == name:
                bars = _medians(workload, metric)
                lines += _group(title, bars, top)
                top += TITLE + STEP * len(bars) + STEP // 2
    size = f'width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>'
    return "\n".join([head, f"<style>{STYLE}</style>", *lines, "</svg>"]) + "\n"


def _medians(workload: Mapping[str, Any], metric: str) -> dict[str, float]:
    values = {row["subject"]: figures(row["rounds"], metric) for row in workload["rows"]}
    return {name: statistics.median(each) for name, each in values.items() if each}


def _group(title: str, bars: Mapping[str, float], top: int) -> Iterator[str]:
    longest = max(bars.values(), default=1)
    yield f'<text class="title" x="0" y="{top + TITLE - 16}">{html.escape(title)}</text>'
    for number, (name, value) in enumerate(bars.items()):
        y = top + TITLE + STEP * number
        width = max(1.0, (WIDTH - LABEL - VALUE) * value / longest)
        kind = "bar ours" if name.startswith("tusd-py") else "bar"
        yield f'<text x="{LABEL - 8}" y="{y + BAR - 5}" text-anchor="end">{html.escape(name)}</text>'
        yield f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>'
        yield f'<text x="{LABEL + width + 6:.1f}" y="{y + BAR - 5}">{digits(value)}</text>'
