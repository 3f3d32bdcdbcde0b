"""What many uploads cost a server that is asked for few: `python -m benchmarks.growth`.

`fill` makes data directories with many uploads, `rounds` starts servers on them and asks, `sweep` watches what ran out
of time go, `report` tells what came out.
"""
