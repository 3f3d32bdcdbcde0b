"""Every extension point: what a store, a locker, a clock, a body and a hook promise to the engine.

All coroutines run on one event loop. None may block it: work that can wait for a disk belongs on a
thread, and a loop that waits for one there does so for a few milliseconds at most, and not again and again.
"""

from tusd_py.abc.body import Body, Buffer, Digest, Rest, Transfer
from tusd_py.abc.clock import Clock
from tusd_py.abc.data import Data, DataReader, DataStore
from tusd_py.abc.hooks import Announcement, HookHandler, Hooks, OwedJobs
from tusd_py.abc.info import InfoStore
from tusd_py.abc.jobs import JobStore
from tusd_py.abc.journal import Journal
from tusd_py.abc.lock import Lock, Locker

__all__ = [
    "Announcement",
    "Body",
    "Buffer",
    "Clock",
    "Data",
    "DataReader",
    "DataStore",
    "Digest",
    "HookHandler",
    "Hooks",
    "InfoStore",
    "JobStore",
    "Journal",
    "Lock",
    "Locker",
    "OwedJobs",
    "Rest",
    "Transfer",
]
