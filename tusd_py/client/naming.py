"""What a downloaded file is called: what the server says, and nothing that would lead elsewhere."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote, unquote_to_bytes, urlsplit

LONGEST = 255
"""Bytes in the name of a file (NAME_MAX of all that one meets)."""
NAMELESS = "download"

_LONGEST_SUFFIX = 16
# RFC 6266 4.1, leniently: name=token, or name="quoted".
_PARAMETER = re.compile(r';\s*([A-Za-z*]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s"]+))')
_ESCAPED = re.compile(r"\\(.)")
# RFC 8187 3.2.1: charset'language'value.
_EXTENDED = re.compile(r"(utf-8|iso-8859-1)'[^']*'(.*)", re.IGNORECASE)
# Names that mean a device on some system the file may be taken to, whatever their suffix.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)


def choose_name(disposition: str, url: str) -> str:
    """Return a name for what a URL leads to: of its `Content-Disposition`, else of the URL. Fit for any directory."""
    proposals = (*_names_in(disposition), unquote(urlsplit(url).path.rpartition("/")[2]))
    return next(filter(None, map(safe_name, proposals)), NAMELESS)


def safe_name(text: str) -> str:
    """Return the name that somebody else proposes, without a path, a leading dot and what cannot be seen; may be empty.

    A file that is made under it is in the directory it is made in, is not hidden and is no device.
    """
    name = text.replace("\\", "/").rpartition("/")[2]
    name = "".join(char for char in name if char.isprintable()).strip(" .")
    return shorten("_" + name if _DEVICE.fullmatch(name) else name, LONGEST)


def shorten(name: str, room: int) -> str:
    """Return a file name in at most `room` bytes; its suffix stays, if it is one."""
    if len(os.fsencode(name)) <= room:
        return name
    stem, suffix = os.path.splitext(name)
    end = os.fsencode(suffix)
    if len(end) > _LONGEST_SUFFIX:
        stem, end = name, b""
    return (os.fsencode(stem)[: room - len(end)] + end).decode("utf-8", "ignore")


def _names_in(disposition: str) -> list[str]:
    """Return what names a `Content-Disposition` has, the best first."""
    found: dict[str, str] = {}
    for name, quoted, token in _PARAMETER.findall(disposition):
        found.setdefault(name.lower(), token or _ESCAPED.sub(r"\1", quoted))
    names = [found.get("filename", "")]
    if match := _EXTENDED.fullmatch(found.get("filename*", "")):
        names.insert(0, unquote_to_bytes(match[2]).decode(match[1], "replace"))
    return names
