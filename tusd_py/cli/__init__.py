"""The command `tusd-py`: the only place that prints."""

from tusd_py.cli.main import main as main
