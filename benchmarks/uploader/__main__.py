"""`python -m benchmarks.uploader`."""

import sys

from benchmarks.uploader.command import main

sys.exit(main())
