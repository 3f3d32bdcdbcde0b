"""The Upload-Checksum header."""

from __future__ import annotations

import base64
import hashlib

import pytest

from tusd_py.errors import InvalidChecksum, UnsupportedChecksumAlgorithm
from tusd_py.protocol.checksum import ALGORITHMS, matches, new_digest, parse_checksum
from tusd_py.protocol.intents import Checksum


def test_the_example_of_the_specification() -> None:
    """CSUM-01: `sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=` is that of 'hello world'."""
    checksum = parse_checksum("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=")
    digest = new_digest("sha1")
    digest.update(b"hello ")
    digest.update(memoryview(b"world"))

    assert Checksum("sha1", hashlib.sha1(b"hello world").digest()) == checksum
    assert matches(checksum, digest.digest())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_offered_works(algorithm: str) -> None:
    """CORE-OPT-05, CSUM-02, CSUM-08: right digests match, wrong ones do not, also of no bytes."""
    right = hashlib.new(algorithm, b"").digest()
    checksum = parse_checksum(f"{algorithm} {base64.b64encode(right).decode()}")

    assert matches(checksum, new_digest(algorithm).digest())
    assert not matches(checksum, hashlib.new(algorithm, b"x").digest())


def test_the_mandatory_algorithm_comes_first() -> None:
    """CORE-OPT-05: sha1 is a MUST; clients pick the first."""
    assert ("sha1", "sha256", "sha512", "md5") == ALGORITHMS


@pytest.mark.parametrize(
    "value",
    [
        "", "sha1", "sha1 ", "sha1  x", "sha1  Kq5sNclPz7QV2+lfQIuc6R7oRu0=", "sha1 !!!", "sha1 AAAA\n",
        "SHA1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0", "sha1 YR==", "sha1\tYQ==",
        "sha1 YQ== YQ==", "sha1 _-8=", " sha1 YQ==", "sha1,YQ==", "sha1 A", "shá1 YQ==", "sha1 =",
    ],
)  # fmt: skip
def test_malformed(value: str) -> None:
    """CSUM-05: whatever is not the grammar is refused."""
    with pytest.raises(InvalidChecksum):
        parse_checksum(value)


@pytest.mark.parametrize("value", ["unknownalgo AAAA", "crc32 AAAA", "sha-1 AAAA", "blake2b AAAA"])
def test_unsupported(value: str) -> None:
    """CSUM-04: an algorithm that is not offered, though Python has it."""
    with pytest.raises(UnsupportedChecksumAlgorithm):
        parse_checksum(value)


def test_a_digest_of_the_wrong_size_is_well_formed_and_never_matches() -> None:
    """CSUM-06: 460, not 400."""
    checksum = parse_checksum("sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAAA")

    assert 21 == len(checksum.digest)
    assert not matches(checksum, bytes(20))


def test_hexadecimal_digests_match() -> None:
    """CSUM-18: tusc.sh and tus-php encode the hexadecimal digest."""
    digest = hashlib.sha1(b"hello world").digest()
    checksum = parse_checksum("sha1 " + base64.b64encode(digest.hex().encode()).decode())

    assert matches(checksum, digest)
    assert not matches(checksum, bytes(20))
