"""A file descriptor that coroutines and threads share: opened once and late, closed once and last."""

from __future__ import annotations

import errno
import gc
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.stores.moving import PATIENCE, descriptors
from tusd_py.stores.descriptor import Descriptor


class Opener:
    """Opens a file, counts how often, and can be made to wait or to fail."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls = 0
        self.numbers: list[int] = []
        self.entered = threading.Event()
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.error: Exception | None = None

    def __call__(self) -> int:
        self.calls += 1
        self.entered.set()
        assert self.goes_on.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        self.numbers.append(os.open(self.path, os.O_RDWR | os.O_CREAT))
        return self.numbers[-1]


@pytest.fixture
def opener(tmp_path: Path) -> Opener:
    return Opener(tmp_path / "file")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(20) as pool:
        yield pool


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def is_waiting(work: Future[None]) -> bool:
    """Whether work on a thread does not end by itself."""
    with pytest.raises(TimeoutError):
        work.result(timeout=0.05)
    return True


def test_opens_late(opener: Opener) -> None:
    """A file is opened by its first user, not before; nobody who only comes and goes costs a descriptor (I19)."""
    data = Descriptor(opens=opener)
    assert (opener.calls, data.number) == (0, -1)
    with data.use() as fd:
        assert (opener.calls, data.number) == (1, fd)
        assert is_open(fd)
    data.close()
    assert not is_open(fd)


def test_rests(opener: Opener) -> None:
    """Between two uses it may be closed, but not under anybody; whoever comes next opens it again (I12, I19)."""
    data = Descriptor(opens=opener)
    data.rest()
    with data.use() as fd:
        data.rest()
        assert is_open(fd)
    data.rest()
    assert (opener.calls, data.number, is_open(fd)) == (1, -1, False)
    with data.use():
        assert opener.calls == 2
    data.close()
    data.rest()
    with pytest.raises(OSError, match="closed"):
        data.acquire()


def test_never_used(opener: Opener) -> None:
    """What nobody has used is closed without being opened, and stays closed (I12)."""
    data = Descriptor(opens=opener)
    data.close()
    data.close()
    with pytest.raises(OSError, match="closed") as caught:
        data.acquire()
    assert (caught.value.errno, opener.calls) == (errno.EBADF, 0)


def test_opens_once(opener: Opener, pool: ThreadPoolExecutor) -> None:
    """Users who come at the same time share one descriptor, also with those who come while it is opened (I12)."""
    data = Descriptor(opens=opener)
    opener.goes_on.clear()
    users = [pool.submit(data.acquire) for _ in range(20)]
    assert opener.entered.wait(PATIENCE)
    opener.goes_on.set()
    assert {user.result(PATIENCE) for user in users} == set(opener.numbers)
    assert opener.calls == 1
    for _ in users:
        assert data.retire() is None
        data.release()
    assert data.retire() == opener.numbers[0]
    os.close(opener.numbers[0])


def test_failed_opening(opener: Opener) -> None:
    """Whoever could not open it does not use it: the next one may try again, and closing waits for nobody (I11)."""
    data = Descriptor(opens=opener)
    opener.error = OSError(errno.EMFILE, "none left")
    for _ in range(2):
        with pytest.raises(OSError, match="none left"), data.use():
            raise AssertionError("not reached")
    opener.error = ValueError()
    with pytest.raises(ValueError):
        data.acquire()
    opener.error = None
    with data.use() as fd:
        assert is_open(fd)
    assert opener.calls == 4
    assert data.retire() == fd
    os.close(fd)


def test_an_error_of_a_user(opener: Opener) -> None:
    """A user that fails is a user no longer (I11)."""
    data = Descriptor(opens=opener)
    with pytest.raises(ValueError), data.use():
        raise ValueError
    data.close()
    assert not is_open(opener.numbers[0])


def test_retire(opener: Opener) -> None:
    """Retiring hands an unused descriptor out, once, and from then on there is none for anybody (I10)."""
    data = Descriptor(opens=opener)
    with data.use() as fd:
        pass
    assert data.retire() == fd
    assert is_open(fd)
    assert data.retire() == -1
    with pytest.raises(OSError, match="closed"):
        data.acquire()
    data.close()
    assert is_open(fd)
    os.close(fd)


def test_retire_never_opened(opener: Opener) -> None:
    """There is nothing to hand out of what was never opened (I12)."""
    data = Descriptor(opens=opener)
    assert data.retire() == -1
    assert opener.calls == 0


def test_retire_while_used(opener: Opener) -> None:
    """What is used is not handed out, but its users stay the last ones (I10)."""
    data = Descriptor(opens=opener)
    with data.use() as fd:
        assert data.retire() is None
        with pytest.raises(OSError, match="closed"):
            data.acquire()
        assert is_open(fd)
    data.close()
    assert not is_open(fd)


def test_retire_never_waits(opener: Opener, pool: ThreadPoolExecutor) -> None:
    """A disk that hangs while a file is opened holds up no event loop that wants to be rid of it (I11)."""
    data = Descriptor(opens=opener)
    opener.goes_on.clear()
    user = pool.submit(data.acquire)
    assert opener.entered.wait(PATIENCE)
    assert pool.submit(data.retire).result(PATIENCE) is None
    opener.goes_on.set()
    assert is_open(user.result(PATIENCE))
    data.release()
    data.close()
    assert not is_open(opener.numbers[0])


def test_close_waits(opener: Opener, pool: ThreadPoolExecutor) -> None:
    """Closing waits for every user and lets in no more: nobody writes to a file that got the number next (I10)."""
    data = Descriptor(opens=opener)
    fd = data.acquire()
    data.acquire()
    closings = [pool.submit(data.close) for _ in range(3)]
    assert is_waiting(closings[0])
    with pytest.raises(OSError, match="closed"):
        data.acquire()
    data.release()
    assert is_waiting(closings[1])
    assert is_open(fd)
    data.release()
    for closing in closings:
        closing.result(PATIENCE)
    assert not is_open(fd)


def test_close_waits_for_an_opening(opener: Opener, pool: ThreadPoolExecutor) -> None:
    """A file that is just being opened is not forgotten by who closes it (I12)."""
    data = Descriptor(opens=opener)
    opener.goes_on.clear()
    user = pool.submit(data.acquire)
    assert opener.entered.wait(PATIENCE)
    closing = pool.submit(data.close)
    assert is_waiting(closing)
    opener.goes_on.set()
    fd = user.result(PATIENCE)
    assert is_waiting(closing)
    assert is_open(fd)
    data.release()
    closing.result(PATIENCE)
    assert not is_open(fd)


def test_closed_once(opener: Opener) -> None:
    """A number is closed once: the second time it would be somebody else's file (I10)."""
    data = Descriptor(opens=opener)
    with data.use() as fd:
        pass
    data.close()
    os.dup2(1, fd)
    data.close()
    del data
    gc.collect()
    assert is_open(fd)
    os.close(fd)


def test_taken_over(tmp_path: Path) -> None:
    """A descriptor that was open before is used and closed as one that was opened here (I12)."""
    given = os.open(tmp_path, os.O_RDONLY)
    data = Descriptor(given)
    with data.use() as fd:
        assert fd == given == data.number
    data.close()
    assert not is_open(given)


def test_forgotten(opener: Opener) -> None:
    """One that nobody can close any more, because whoever opened it was cancelled, closes itself (I12)."""
    before = descriptors()
    data = Descriptor(opens=opener)
    with data.use():
        assert descriptors() != before
    del data
    gc.collect()
    assert descriptors() == before
