"""Everything that can be set: declared once (`declared.py`), read from flags, environment and TOML.

Nothing here knows the web framework or any concrete store.
"""

from tusd_py.settings.choices import EventLoop as EventLoop
from tusd_py.settings.choices import LogFormat as LogFormat
from tusd_py.settings.declared import Settings as Settings
from tusd_py.settings.declared import declared as declared
from tusd_py.settings.doc import SettingsError as SettingsError
from tusd_py.settings.loading import Loaded as Loaded
from tusd_py.settings.loading import load as load
from tusd_py.settings.tables import HookSettings as HookSettings
from tusd_py.settings.tables import JobSettings as JobSettings
