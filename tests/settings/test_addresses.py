"""URLs, base paths, origins and networks in settings."""

import pytest

from tusd_py.settings import addresses


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/files/", "/files/"),
        ("/files", "/files/"),
        ("files", "/files/"),
        ("/a/b/", "/a/b/"),
        ("/", "/"),
        ("https://buy.art/files", "https://buy.art/files/"),
    ],
)
def test_base_path_has_a_slash_at_both_ends(path: str, expected: str) -> None:
    """However it is written, the base path begins and ends with a slash; absolute URLs are kept (FWD-11)."""
    assert expected == addresses.check_base_path(path)


@pytest.mark.parametrize("path", ["/a//b", "/a/../b", "/a?b", "/a#b", "/a b", "/{x}", "/%2e", "/é/", "/a\n"])
def test_odd_base_path_is_refused(path: str) -> None:
    """Whatever means something else to a router, a proxy or a header is refused."""
    with pytest.raises(ValueError, match="is not a plain URL path"):
        addresses.check_base_path(path)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example", "https://a.example"),
        ("https://a.example/", "https://a.example/"),
        ("HTTP://a.example:8080/x", "http://a.example:8080/x/"),
        ("http://[::1]:80/x/", "http://[::1]:80/x/"),
    ],
)
def test_public_url_is_absolute(url: str, expected: str) -> None:
    """A path, where there is one, ends with a slash."""
    assert expected == addresses.check_url(url)


@pytest.mark.parametrize(
    "url",
    ["/files", "a.example", "ftp://a.example/", "http://", "http://a:b/", "http://a:99999/", "http://a/?q", "http://a/#f",
     "http://u:p@a/", "http://a b/", "http://a/\n"],
)  # fmt: skip
def test_other_urls_are_refused(url: str) -> None:
    """Relative URLs, other schemes, queries, fragments and user names are no public URL."""
    with pytest.raises(ValueError):
        addresses.check_url(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example", "https://a.example"),
        ("http://[::1]:80/x?y=1&z=@", "http://[::1]:80/x?y=1&z=@"),
        ("https://me:pass@a.example:81/x/@y", "https://********@a.example:81/x/@y"),
        ("https://token@a.example/", "https://********@a.example/"),
    ],
)
def test_hook_url_is_shown_without_user(url: str, shown: str) -> None:
    """A hook may have a query, a user name and a password; nobody is shown the last two."""
    assert url == addresses.check_hook_url(url)
    assert shown == addresses.hide_user(url)


@pytest.mark.parametrize(
    "url",
    ["/x", "a.example", "ftp://u:hush@a.example/", "http://", "http://u:hush@a:b/", "http://u:hush@a/#f", "http://a b/",
     "http://u:hu/hush@a/", "http://u:1#hush@a/", "http://********@a/", "http://é/"],
)  # fmt: skip
def test_other_hook_urls_are_refused(url: str) -> None:
    """What is no URL for requests is refused, and so is one with a mask. No message tells a password."""
    with pytest.raises(ValueError) as caught:
        addresses.check_hook_url(url)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("*", "*"),
        ("null", "null"),
        ("https://Example.COM", "https://example.com"),
        ("https://example.com:443", "https://example.com"),
        ("http://example.com:443", "http://example.com:443"),
        ("http://localhost:*", "http://localhost:*"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://*.example.com", "https://*.example.com"),
        ("https://*-preview.example.com", "https://*-preview.example.com"),
        ("capacitor://localhost", "capacitor://localhost"),
    ],
)
def test_origin_takes_the_form_browsers_use(origin: str, expected: str) -> None:
    """Lower case, without the default port."""
    assert expected == addresses.check_origin(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "example.com",
        "https://example.com/",
        "https://exa mple.com",
        "https?://tus.io",
        "https://",
        "//a.com",
        "https://é.com",
    ],
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    """Hosts without a scheme, URLs with a path and regular expressions are refused with an example."""
    with pytest.raises(ValueError, match="is not an origin; write scheme://host"):
        addresses.check_origin(origin)


@pytest.mark.parametrize(
    "origin",
    ["https://*", "https://example.*", "https://*example.com", "https://*-example.com"[:-4] + "*", "https://*-x"],
)
def test_unanchored_origin_is_refused(origin: str) -> None:
    """Row 42: a pattern that a stranger's domain can match is refused."""
    with pytest.raises(ValueError, match="would let in foreign domains"):
        addresses.check_origin(origin)


@pytest.mark.parametrize(
    ("origin", "closed"),
    [
        ("https://a.com", True),
        ("https://*.a.com", True),
        ("http://localhost:*", True),
        ("https://*.com", False),
        ("null", False),
        ("*", False),
    ],
)
def test_closed_origins_belong_to_one_owner(origin: str, closed: bool) -> None:
    """Only these may be combined with credentials."""
    assert closed is addresses.is_closed(origin)


@pytest.mark.parametrize(
    ("network", "expected"),
    [("10.0.0.0/8", "10.0.0.0/8"), ("10.1.2.3/8", "10.0.0.0/8"), ("10.0.0.7", "10.0.0.7/32"), ("::1", "::1/128")],
)
def test_network_is_written_as_cidr(network: str, expected: str) -> None:
    """An address is a network of one; host bits are dropped."""
    assert expected == addresses.check_network(network)


@pytest.mark.parametrize("network", ["localhost", "10.0.0.0/33", "10.0.0", "*"])
def test_what_is_no_network_is_refused(network: str) -> None:
    """Names and malformed networks are refused."""
    with pytest.raises(ValueError, match="is not an IP address or network"):
        addresses.check_network(network)
