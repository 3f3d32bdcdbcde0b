"""Arithmetic of figures: medians, ratios, and whether a target is reached, or cannot be told."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

YES, NO, SPREAD, ONCE = "yes", "no", "spread too large", "one round tells no spread"
LESS_IS_BETTER = {"cpu": True, "wall": True, "rate": False}
UNITS = {"cpu": "CPU-s/GiB", "wall": "s", "rate": "per s"}

GIB = 2**30


def figures(rounds: Sequence[Mapping[str, Any]], metric: str) -> list[float]:
    """Return one figure per round: cpu in seconds per GiB (or per 1,000 operations), wall in seconds, or a rate."""
    if metric == "wall":
        return [each["wall"] for each in rounds]
    if metric == "rate":
        return [each["operations"] / each["wall"] for each in rounds if each["operations"]]
    known = [each for each in rounds if each["cpu"] is not None]
    if known and known[0]["bytes"]:
        return [each["cpu"] / (each["bytes"] / GIB) for each in known]
    return [each["cpu"] / (each["operations"] / 1000) for each in known if each["operations"]]


def ratio(subject: Sequence[float], against: Sequence[float], metric: str) -> float:
    """Return how many times better a subject is, by medians."""
    ours, theirs = statistics.median(subject), statistics.median(against)
    return theirs / ours if LESS_IS_BETTER[metric] else ours / theirs


def verdict(subject: Sequence[float], against: Sequence[float], metric: str, target: float) -> str:
    """Say whether a subject is `target` times better: yes, no, or that it cannot be told.

    It cannot be told when the ranges of both, one scaled by the target, overlap: then the difference is within what
    the rounds differ by themselves.
    """
    if min(len(subject), len(against)) < 2:
        return ONCE
    scale = target if LESS_IS_BETTER[metric] else 1 / target
    low, high = min(subject) * scale, max(subject) * scale
    if low <= max(against) and min(against) <= high:
        return SPREAD
    return YES if (high < min(against)) == LESS_IS_BETTER[metric] else NO


def within(values: Sequence[float], bound: float) -> str:
    """Say whether values stay within a bound: yes, no, or that rounds differ in it. A bound has no spread."""
    if max(values) <= bound:
        return YES
    return NO if min(values) > bound else SPREAD
