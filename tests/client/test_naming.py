"""What a downloaded file is called, whatever a server proposes."""

from __future__ import annotations

import os

import pytest

from tusd_py.client.naming import choose_name, safe_name, shorten

URL = "https://example.org/files/0123abcd"


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('inline;filename="pet.png"', "pet.png"),
        ("attachment; filename=pet.png", "pet.png"),
        ("attachment ; FileName = pet.png ; size=7", "pet.png"),
        ('attachment; filename="a;b=\\"c\\".txt"', 'a;b="c".txt'),
        ("attachment;filename=\"s_o.txt\";filename*=UTF-8''s%C5%82o.txt", "sło.txt"),
        ("attachment; filename*=iso-8859-1'en'%A3.txt; filename=x", "£.txt"),
        ("attachment; filename*=UTF-8''%FF%FE.txt", "��.txt"),
        ("attachment; filename*=utf-16''%FF.txt; filename=plain.txt", "plain.txt"),
        ("attachment; filename*=UTF-8''..; filename=plain.txt", "plain.txt"),
        ('attachment; filename="snow ☃.txt"', "snow ☃.txt"),
        ("attachment", "0123abcd"),
        ("", "0123abcd"),
        ('attachment; filename="', "0123abcd"),
        ('attachment; filename=""', "0123abcd"),
        ("attachment; filename*=UTF-8''", "0123abcd"),
        ('attachment; filename=".."', "0123abcd"),
    ],
)
def test_names_of_servers(disposition: str, name: str) -> None:
    """The name of the header counts, the extended one before the plain one; without a usable one, that of the URL."""
    assert name == choose_name(disposition, URL)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.org/a/b%20c.txt?token=x/y#z", "b c.txt"),
        ("https://example.org/a/..%2f..%2fpasswd", "passwd"),
        ("https://example.org/a/", "download"),
        ("https://example.org", "download"),
        ("https://example.org/%2e%2e", "download"),
        ("https://example.org/%ff.txt", "�.txt"),
    ],
)
def test_names_of_urls(url: str, name: str) -> None:
    """Without a name the last part of the path is one; there is always one."""
    assert name == choose_name("", url)


@pytest.mark.parametrize(
    ("proposed", "name"),
    [
        ("../../x", "x"),
        ("/etc/passwd", "passwd"),
        ("C:\\temp\\x.txt", "x.txt"),
        ("..\\..\\x", "x"),
        ("a/", ""),
        ("", ""),
        (".", ""),
        ("..", ""),
        ("...", ""),
        (" . . ", ""),
        (".bashrc", "bashrc"),
        ("x. ", "x"),
        ("a\0b", "ab"),
        ("\0", ""),
        ("a\nb\x1b[2J\u202egpj.exe", "ab[2Jgpj.exe"),
        ("\udcff.txt", "txt"),
        ("CON", "_CON"),
        ("nul.tar.gz", "_nul.tar.gz"),
        ("com7", "_com7"),
        ("console", "console"),
        ("-rf", "-rf"),
        ("~", "~"),
    ],
)
def test_hostile_names(proposed: str, name: str) -> None:
    """No name leads elsewhere, hides the file, is a device, or has in it what cannot be seen."""
    assert name == safe_name(proposed)


@pytest.mark.parametrize("proposed", ["x" * 10_000, "x" * 10_000 + ".mp4", "ł" * 10_000 + ".mp4", "a." + "b" * 10_000])
def test_long_names(proposed: str) -> None:
    """A long name is cut so that every file system takes it, and a suffix stays."""
    name = safe_name(proposed)
    assert 250 < len(os.fsencode(name)) <= 255
    assert name.endswith(".mp4") == proposed.endswith(".mp4")
    assert name[:1] == proposed[:1]


def test_shortened() -> None:
    """What fits is left as it is, names that are no text too."""
    assert os.fsdecode(b"\xff.txt") == shorten(os.fsdecode(b"\xff.txt"), 5)
    assert "ab.txt" == shorten("abcd.txt", 6)
