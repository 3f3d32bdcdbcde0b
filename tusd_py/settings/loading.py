"""Settings out of everything that was written down, each with its origin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from tusd_py.settings import sources
from tusd_py.settings.declared import Settings, declared
from tusd_py.settings.doc import SettingsError
from tusd_py.settings.processing import declared_tables


class Loaded(msgspec.Struct, frozen=True):
    """Settings, and where each of them comes from."""

    settings: Settings
    origins: Mapping[str, str]
    """By name of the setting: a flag, a variable, a key and its file, or `default`."""


def load(
    *,
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> Loaded:
    """Return the settings that flags, environment and file make, in this order of precedence.

    Arguments as of `sources.merge`.

    Raises:
        SettingsError: a variable or a key is unknown, or a value cannot be used.
    """
    tables = tuple(declared_tables())
    merged = sources.merge(declared(), tables, flags=flags or {}, environ=environ, config=config)
    try:
        settings = Settings.make(**merged.values)
    except SettingsError as error:
        raise SettingsError(error.setting, error.problem, merged.written(error.setting)) from None
    return Loaded(settings, merged.origins | _origins_of_secrets(settings, merged.origins))


def _origins_of_secrets(settings: Settings, origins: Mapping[str, str]) -> dict[str, str]:
    """Return where secrets that are in a file come from."""
    secrets = [setting.name for setting in declared() if setting.doc.kind.secret]
    return {name: origins[f"{name}_file"] for name in secrets if getattr(settings, f"{name}_file") is not None}
