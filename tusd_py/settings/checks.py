"""What settings must be true of more than one value at a time, and of names."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urlsplit

from tusd_py.models.hook import Moment
from tusd_py.models.limits import EXTENSIONS
from tusd_py.settings import addresses
from tusd_py.settings.doc import SettingsError, suggest
from tusd_py.settings.kinds import MASK, SHORTEST_SECRET, quote

_BUILT_ON_CREATION = {"creation-with-upload", "creation-defer-length", "concatenation"}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def check_extension(name: str) -> str:
    """Return the name of a tus extension. Raises `ValueError` for any other."""
    if name not in EXTENSIONS:
        raise ValueError(f"{name!r} is no tus extension of this server{suggest(name, EXTENSIONS)}")
    return name


def check_moment(name: str) -> Moment:
    """Return the event of a hook. Raises `ValueError` for any other text."""
    try:
        return Moment(name)
    except ValueError:
        raise ValueError(f"{quote(name)} is no event of a hook{suggest(name, Moment)}") from None


def check_variable(name: str) -> str:
    """Return the name of an environment variable that programs may see. Raises `ValueError` for any other text."""
    if not _VARIABLE.fullmatch(name):
        raise ValueError(f"{quote(name)} is not the name of an environment variable")
    if name.startswith("TUSD_PY_"):
        raise ValueError(f"{quote(name)} is a setting of this server, and programs see none of them")
    return name


def settle_secret(name: str, secret: str | None, path: Path | None) -> str | None:
    """Return a secret that was set, or that is the text of a file.

    Raises:
        SettingsError: both are set and differ, or the file has no secret. No message has the secret.
    """
    if path is None:
        if secret == MASK:
            raise SettingsError(name, f"{quote(MASK)} is what is shown instead of a secret; write the secret itself")
        return secret
    try:
        found = path.read_text(encoding="utf-8").removesuffix("\n")
    except OSError as error:
        raise SettingsError(f"{name}_file", f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{name}_file", f"{path} is not a text in UTF-8") from None
    if len(found) < SHORTEST_SECRET:
        problem = f"has {len(found)} characters, and a secret at least {SHORTEST_SECRET}" if found else "is empty"
        raise SettingsError(f"{name}_file", f"{path} {problem}")
    # A copy of settings has both, and so has what `tusd-py config` prints, with a mask.
    if secret not in (None, MASK, found):
        raise SettingsError(name, f"there is a {name}_file as well ({path}); set one of them")
    return found


def extensions_without(off: Collection[str]) -> frozenset[str]:
    """Return the extensions that are left when some are switched off; what builds on one goes with it."""
    return frozenset(EXTENSIONS).difference(off, _BUILT_ON_CREATION if "creation" in off else ())


def settle_urls(base_path: str, public_url: str | None) -> tuple[str, str | None]:
    """Take an absolute base path apart, and complete a public URL that has no path."""
    if "://" in base_path:
        if public_url not in (None, base_path):
            raise SettingsError("base_path", f"{base_path!r} contradicts public_url {public_url!r}; set one of them")
        public_url, base_path = base_path, urlsplit(base_path).path or "/"
    if public_url and not urlsplit(public_url).path:
        public_url += base_path
    return base_path, public_url


def check_location(public_url: str | None, *, relative: bool) -> None:
    """Refuse two contradicting wishes for Location."""
    if public_url and relative:
        raise SettingsError("relative_location", f"true contradicts public_url {public_url!r}; set one of them")


def check_credentials(origins: Collection[str], *, allowed: bool) -> None:
    """Refuse credentials for origins that anybody can have (reliability: row 42)."""
    for origin in origins or (addresses.ANY_ORIGIN,):
        if allowed and not addresses.is_closed(origin):
            raise SettingsError(
                "cors_allow_credentials",
                f"true would let any page act for your users, because cors_allow_origin has {origin!r}; "
                "list the origins of your own pages there",
            )
