"""What settings must be true of more than one value at a time, and of names."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from tusd_py.models.limits import EXTENSIONS
from tusd_py.settings import addresses
from tusd_py.settings.doc import SettingsError, suggest

_BUILT_ON_CREATION = {"creation-with-upload", "creation-defer-length", "concatenation"}


def check_extension(name: str) -> str:
    """Return the name of a tus extension. Raises `ValueError` for any other."""
    if name not in EXTENSIONS:
        raise ValueError(f"{name!r} is no tus extension of this server{suggest(name, EXTENSIONS)}")
    return name


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
