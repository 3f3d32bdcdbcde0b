"""What a server holds in memory for each client: `python -m benchmarks.memory`.

`clients` are many at once, slow and fast; `frozen` is a disk that is held up; `cases` says what is measured, `report`
tells what came out.
"""
