"""`when`: the uploads that a table is for, as people write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tusd_py.models.condition import Condition
from tusd_py.settings import kinds
from tusd_py.settings.doc import suggest

_SIZE = kinds.optional(kinds.size(low=0))


def _accept(value: object) -> Condition:
    given: Any = msgspec.structs.asdict(value) if isinstance(value, Condition) else value
    if not isinstance(given, Mapping):
        raise ValueError(f"{kinds.quote(value)} is not a table like {{ min_size = '1MB' }}")
    checked: dict[str, Any] = {}
    for key, written in given.items():
        if key not in _KEYS:
            raise ValueError(f"there is no such key as {kinds.quote(key)}{suggest(str(key), _KEYS)}")
        try:
            checked[key] = _KEYS[key].accept(written)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    condition = Condition(**checked)
    if condition.max_size is not None and condition.max_size < (condition.min_size or 0):
        raise ValueError(f"max_size: {kinds.quote(given['max_size'])} is less than min_size, so no upload fits")
    return condition


def _accept_patterns(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{kinds.quote(value)} is not a table like {{ filetype = 'image/*' }}")
    for key, pattern in value.items():
        if not isinstance(key, str) or not isinstance(pattern, str):
            raise ValueError(f"{kinds.quote(key)} = {kinds.quote(pattern)} is not a text")
    return dict(value)


def _show(value: object) -> str:
    """Write a condition as an inline table of TOML, without what is as by default."""
    assert isinstance(value, Condition)
    parts = {
        "metadata": _inline({kinds.toml_string(key): kinds.toml_string(glob) for key, glob in value.metadata.items()}),
        "min_size": kinds.toml_string(_SIZE.show(value.min_size)),
        "max_size": kinds.toml_string(_SIZE.show(value.max_size)),
        "partial": kinds.SWITCH.show(value.partial),
    }
    default = Condition()
    return _inline({key: text for key, text in parts.items() if getattr(value, key) != getattr(default, key)})


def _inline(parts: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f"{key} = {text}" for key, text in parts.items()) + " }" if parts else "{}"


_KEYS = {
    "metadata": kinds.Kind(metavar="TABLE", accept=_accept_patterns),
    "min_size": _SIZE,
    "max_size": _SIZE,
    "partial": kinds.SWITCH,
}

CONDITION = kinds.Kind(metavar="TABLE", accept=_accept, show=_show)
