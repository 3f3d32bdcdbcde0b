"""What tests of tuspy need: it leaves files to the garbage collector, which our warnings do not forgive."""

import pytest

LEAVES_FILES_OPEN = [
    pytest.mark.usefixtures("collected_here"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
