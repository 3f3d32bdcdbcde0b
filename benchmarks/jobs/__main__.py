"""`python -m benchmarks.jobs`."""

import sys

from benchmarks.jobs.command import main

sys.exit(main())
