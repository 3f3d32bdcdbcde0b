"""tusd-py: a tus-compatible resumable upload server, as a command and as a library for aiohttp applications.

Everything that is public is named here; whatever else can be imported may change without notice.
"""

from tusd_py.assembly import Tus, build
from tusd_py.embed import setup
from tusd_py.errors import StartupError, TusError
from tusd_py.hooks.signature import verify_signature
from tusd_py.models.condition import Condition
from tusd_py.models.finished import FinishedUpload
from tusd_py.models.hook import HookEvent, HookReply, Moment, RequestInfo
from tusd_py.models.upload import UploadInfo, UploadKind, UploadState
from tusd_py.protocol.metadata import read_metadata
from tusd_py.settings import Settings

__all__ = [
    "Condition",
    "FinishedUpload",
    "HookEvent",
    "HookReply",
    "Moment",
    "RequestInfo",
    "Settings",
    "StartupError",
    "Tus",
    "TusError",
    "UploadInfo",
    "UploadKind",
    "UploadState",
    "build",
    "read_metadata",
    "setup",
    "verify_signature",
]
__version__ = "0.1.0"
