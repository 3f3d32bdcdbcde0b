"""What is known of a setting beside its value, and how a setting that cannot be used is reported."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from tusd_py.errors import StartupError
from tusd_py.settings.kinds import Kind


class Group(StrEnum):
    """Settings that belong together, in the order in which they are shown."""

    LISTENING = "Where it listens"
    PROXIES = "Behind a proxy"
    STORAGE = "Storage"
    LIMITS = "Limits"
    PROTOCOL = "Protocol"
    BROWSERS = "Browsers (CORS)"
    TIMES = "Times"
    HOOKS = "Hooks"
    JOBS = "Jobs"
    PROCESS = "Process"


class Doc(msgspec.Struct, frozen=True):
    """What is said of one setting where it is declared."""

    group: Group
    kind: Kind
    help: str
    """What it does, in one sentence."""
    why: str = ""
    """Why the default is what it is, and what to mind; only in the reference."""


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """One setting as everything else is generated from it."""

    name: str
    """Its name in Python and in TOML."""
    doc: Doc
    default: object

    @property
    def flag(self) -> str:
        """Its name on the command line; empty for a secret, because every user of a machine sees command lines."""
        return "" if self.doc.kind.secret else "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return "TUSD_PY_" + self.name.upper()

    def show(self, value: object) -> str:
        """Write a value so that every source reads it back; what is secret in it is hidden."""
        return self.doc.kind.show(self.doc.kind.hide(value))


class SettingsError(StartupError):
    """A setting cannot be used: one sentence that names it or where its value came from, and the value."""

    def __init__(self, setting: str, problem: str, origin: str = "") -> None:
        self.setting = setting
        self.problem = problem
        super().__init__(f"{origin or setting}: {problem}")


def suggest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return the end of a sentence that proposes the known name closest to a wrong one; empty when none is close.

    A prefix that all names have does not make them alike.
    """
    close = difflib.get_close_matches(name.removeprefix(prefix), [each.removeprefix(prefix) for each in known], n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""
