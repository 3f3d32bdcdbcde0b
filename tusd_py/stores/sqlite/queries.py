"""The statements of `queries.sql`, by name."""

from __future__ import annotations

import re
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_COMMENTS = re.compile(r"\A(?:--.*\n)*")


def load_queries() -> dict[str, str]:
    """Return all statements in the order of the file, which is the order in which a group runs them."""
    text = files("tusd_py.stores.sqlite").joinpath("queries.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return {
        # Without the comment in front `sqlite3` sees at the first word whether a statement writes.
        name: _COMMENTS.sub("", body).strip()
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


QUERIES = load_queries()
