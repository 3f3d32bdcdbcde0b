"""The suites that are shipped show values when they fail here too."""

import pytest

pytest.register_assert_rewrite("tusd_py.testing")
