"""What it costs a client to upload one large file: `python -m benchmarks.uploader`.

`runs` has the commands that are compared, and runs them against servers that stay up; `tuspy_upload` is a program of
its own. `report` says what came out.
"""
