"""What jobs and hooks cost a server: `python -m benchmarks.jobs`.

`app` is the application with tasks and hooks that do nothing, `hosts` runs it and looks at its jobs. `cost` finishes
uploads with and without jobs, `queue` lets jobs be worked off, `hooks` creates uploads that somebody has to agree to.
"""
