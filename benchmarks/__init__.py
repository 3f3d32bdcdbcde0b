"""tusd-py side by side with other servers and with limits, in one run: `python -m benchmarks`.

`command` reads the command line, `subjects` says who takes part, `workloads` what they are asked to do, `rounds` goes
round in turns. `client` sends, `measure` and `prober` look at the servers meanwhile, `report` tells what came out.
"""
