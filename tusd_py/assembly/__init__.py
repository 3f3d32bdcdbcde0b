"""The only place where concrete rooms meet: settings in, a running service out."""

from tusd_py.assembly.service import Tus, build, mount_options

__all__ = ["Tus", "build", "mount_options"]
