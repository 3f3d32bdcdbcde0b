"""Where values come from: flag, then `TUSD_PY_*` environment, then TOML file, then default."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from tusd_py.settings.doc import Declared, SettingsError, suggest
from tusd_py.stores.sqlite.boot import BOOT_ID_VARIABLE

PREFIX = "TUSD_PY_"
CONFIG_FLAG = "--config"
CONFIG_VARIABLE = "TUSD_PY_CONFIG"
DEFAULT = "default"

_NO_SETTINGS = (CONFIG_VARIABLE, BOOT_ID_VARIABLE, "TUSD_PY_IDEMPOTENCY_KEY", "TUSD_PY_ATTEMPT")
"""Names that begin like settings. The last two are what programs run by hooks find, and they may run `tusd-py`."""


class Merged(msgspec.Struct, frozen=True):
    """Values as they were written, and where each was."""

    values: Mapping[str, object]
    origins: dict[str, str]
    """By name of every setting: a flag, a variable, a key and its file, or `default`."""
    config: Path | None

    def written(self, name: str) -> str:
        """Return where somebody wrote a setting, or a key of a table, down; empty when nobody did."""
        if name.startswith("["):
            return f"{name} in {self.config}"
        origin = self.origins.get(name, DEFAULT)
        return "" if origin == DEFAULT else origin


def merge(
    declared: Sequence[Declared],
    tables: Sequence[str],
    *,
    flags: Mapping[str, object],
    environ: Mapping[str, str] | None,
    config: Path | None,
) -> Merged:
    """Collect what was set, the strongest source last.

    Args:
        declared: settings that are one value.
        tables: names of those that are tables; only the file has them.
        flags: values by setting name; only those that were given.
        environ: None = that of the process.
        config: a TOML file; without one, `TUSD_PY_CONFIG` may name it.

    Raises:
        SettingsError: a variable or a key is unknown, or the file cannot be read.
    """
    environ = os.environ if environ is None else environ
    by_variable = _from_environ(declared, environ)
    named_by_variable = not config and bool(environ.get(CONFIG_VARIABLE))
    config = config or (Path(environ[CONFIG_VARIABLE]) if named_by_variable else None)
    names = [*(setting.name for setting in declared), *tables]
    by_file = _from_toml(names, config, CONFIG_VARIABLE if named_by_variable else CONFIG_FLAG) if config else {}
    origins = dict.fromkeys(names, DEFAULT)
    origins |= {name: f"{name} in {config}" for name in by_file}
    origins |= {setting.name: setting.variable for setting in declared if setting.name in by_variable}
    origins |= {setting.name: setting.flag for setting in declared if setting.name in flags}
    return Merged(values={**by_file, **by_variable, **flags}, origins=origins, config=config)


def _from_environ(declared: Sequence[Declared], environ: Mapping[str, str]) -> dict[str, object]:
    """Return what the environment sets. An empty variable counts as not set: that is how templates leave one out."""
    names = {setting.variable: setting.name for setting in declared}
    found: dict[str, object] = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable in _NO_SETTINGS:
            continue
        if variable not in names:
            proposal = suggest(variable, [*names, CONFIG_VARIABLE], PREFIX)
            raise SettingsError(variable, f"there is no such setting{proposal}")
        if value:
            found[names[variable]] = value
    return found


def _from_toml(names: Sequence[str], path: Path, origin: str) -> dict[str, object]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError("config", f"{path} cannot be read: {error.strerror}", origin) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError("config", f"{path} is not a TOML file: {error}", origin) from None
    for key in content:
        if key not in names:
            raise SettingsError(key, f"there is no such setting{suggest(key, names)}", f"{key!r} in {path}")
    return content
