"""Concatenation."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest

from conformance.rows import DECISION, MUST, SHOULD, expect, row
from conformance.target import Server, Upload
from conformance.wire import Answer

SECTION = "concatenation"
SPEC = "Concatenation"
NEEDS = "creation concatenation"
NAME = "Upload-Concat"
PARTIAL = {NAME: "partial"}


def parts(tus: Server) -> tuple[Upload, Upload]:
    """Make two complete partial uploads."""
    return tus.filled(b"hello ", PARTIAL), tus.filled(b"world", PARTIAL)


def join(tus: Server, *urls: str, **headers: str) -> Answer:
    """Ask for a final upload."""
    extra = {name.replace("_", "-"): value for name, value in headers.items()}
    return tus.post({NAME: f"final;{' '.join(urls)}", **extra})


@row("CAT-01", MUST, "HEAD of a partial upload has Upload-Concat: partial and Upload-Offset", spec=SPEC, needs=NEEDS)
def test_partial(tus: Server) -> None:
    tus.head(tus.create(5, PARTIAL)).is_(NAME, "partial").is_("Upload-Offset", "0")


@row(
    "CAT-02", MUST, "Complete partial uploads become a final upload, whose length is their sum", spec=SPEC, needs=NEEDS
)
def test_final(tus: Server) -> None:
    first, second = parts(tus)
    final = tus.created(join(tus, first.location, second.location).one_of(201))
    tus.head(final).is_("Upload-Length", "11").is_("Upload-Offset", "11")


@row("CAT-02", MUST, "HEAD of a final upload has Upload-Concat as it was received", spec=SPEC, needs=NEEDS)
def test_verbatim(tus: Server) -> None:
    first, second = parts(tus)
    final = tus.created(join(tus, first.location, second.location))
    tus.head(final).is_(NAME, f"final;{first.location} {second.location}")


@row("CAT-03", MUST, "Partial uploads are joined in the order of the list", spec=SPEC, needs=NEEDS)
def test_order(tus: Server) -> None:
    first, second = parts(tus)
    final = tus.created(join(tus, second.location, first.location))
    if tus.get(final).status != 200:
        pytest.skip("uploads are not served by GET, so that their content cannot be seen")
    tus.holds(final, b"worldhello ")


@row("CAT-04", MUST, "The URLs of the list may be absolute or relative", spec=SPEC, needs=NEEDS)
@pytest.mark.parametrize("kind", ["absolute", "path", "relative", "mixed"])
def test_urls(tus: Server, kind: str) -> None:
    first, second = parts(tus)
    absolute = [urljoin(f"http://{tus.authority}{tus.base}", each.location) for each in (first, second)]
    paths = [urlsplit(url).path for url in absolute]
    base = tus.base.partition("?")[0]
    if kind == "relative" and not (base.endswith("/") and all(path.startswith(base) for path in paths)):
        pytest.skip("uploads are not below the creation URL")
    urls = {
        "absolute": absolute,
        "path": paths,
        "relative": [path.removeprefix(base) for path in paths],
        "mixed": [absolute[0], paths[1]],
    }
    join(tus, *urls[kind]).one_of(201)


@row("CAT-12", SHOULD, "A final upload with Upload-Length is refused", spec=SPEC, needs=NEEDS)
def test_length(tus: Server) -> None:
    first, second = parts(tus)
    join(tus, first.location, second.location, Upload_Length="11").refused()


@row("CAT-14", MUST, "The metadata of partial uploads are not those of the final upload", spec=SPEC, needs=NEEDS)
@pytest.mark.parametrize("own", ["", "name Zmlu"], ids=["none", "its own"])
def test_metadata(tus: Server, own: str) -> None:
    first = tus.filled(b"hello", {**PARTIAL, "Upload-Metadata": "name cGFydA==,only_of_part MQ=="})
    final = tus.created(join(tus, first.location, **({"Upload_Metadata": own} if own else {})))
    seen = tus.head(final).get("Upload-Metadata") or ""
    theirs = [word for word in ("cGFydA==", "only_of_part") if word in seen]
    expect(not theirs, f"HEAD of the final upload has Upload-Metadata {seen!r}")


@row("CAT-15", MUST, "PATCH of a final upload answers 403", spec=SPEC, needs=NEEDS)
@pytest.mark.parametrize("offset", [0, 11])
def test_patch(tus: Server, offset: int) -> None:
    first, second = parts(tus)
    final = tus.created(join(tus, first.location, second.location))
    with tus.unchanged(final):
        tus.patch(final, offset, b"!").one_of(403)


@row("CAT-07", DECISION, "A partial upload may be used several times", spec=SPEC, needs=NEEDS)
def test_again(tus: Server) -> None:
    first, second = parts(tus)
    final = tus.created(join(tus, first.location, first.location).one_of(201))
    tus.head(final).is_("Upload-Length", "12")
    join(tus, first.location, second.location).one_of(201)


@row("CAT-06", DECISION, "Spaces around the URLs are tolerated", spec=SPEC, needs=NEEDS)
def test_spaces(tus: Server) -> None:
    first, second = parts(tus)
    join(tus, "", first.location, "", second.location).one_of(201)


@row("CAT-08", DECISION, "An unfinished partial upload answers 400", spec=SPEC, needs=NEEDS)
def test_unfinished(tus: Server) -> None:
    if "concatenation-unfinished" in tus.extensions:
        pytest.skip("concatenation-unfinished is advertised")
    join(tus, tus.create(5, PARTIAL).location).one_of(400)


@row(
    "CAT-23",
    MUST,
    "An unfinished partial upload is accepted where that is advertised",
    spec=SPEC,
    needs="concatenation-unfinished",
)
def test_unfinished_advertised(tus: Server) -> None:
    join(tus, tus.create(5, PARTIAL).location).one_of(201)


@row("CAT-09", DECISION, "An unknown partial upload answers 404", spec=SPEC, needs=NEEDS)
def test_unknown(tus: Server) -> None:
    join(tus, f"http://{tus.authority}{tus.unknown()}").one_of(404)


@row("CAT-10", DECISION, "An upload that is not partial answers 400", spec=SPEC, needs=NEEDS)
def test_not_partial(tus: Server) -> None:
    join(tus, tus.filled(b"hello").location).one_of(400)


@row("CAT-11", DECISION, "A malformed Upload-Concat answers 400", spec=SPEC, needs=NEEDS)
@pytest.mark.parametrize("value", ["final", "final;", "foo", "PARTIAL", "partial;x"])
def test_malformed(tus: Server, value: str) -> None:
    length = {} if value.startswith("final") else {"Upload-Length": "5"}
    tus.post({NAME: value, **length}).one_of(400)


@row("CAT-16", DECISION, "A single partial upload, also an empty one, can be made final", spec=SPEC, needs=NEEDS)
@pytest.mark.parametrize("data", [b"hello", b""], ids=["single", "empty"])
def test_single(tus: Server, data: bytes) -> None:
    final = tus.created(join(tus, tus.filled(data, PARTIAL).location).one_of(201))
    tus.head(final).is_("Upload-Offset", str(len(data))).is_("Upload-Length", str(len(data)))


@row(
    "CAT-22", DECISION, "A partial upload may have a deferred length", spec=SPEC, needs=f"{NEEDS} creation-defer-length"
)
def test_deferred(tus: Server) -> None:
    tus.head(tus.create(None, PARTIAL)).is_(NAME, "partial").is_("Upload-Defer-Length", "1")
