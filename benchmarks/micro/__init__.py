"""What one request costs a server, and what a few pure functions cost: `python -m benchmarks.micro`.

`counting` counts instructions, or CPU time where the machine cannot; `cases` says of what, `report` compares with an
earlier run.
"""
