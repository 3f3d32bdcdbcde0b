"""The engine owns the promises: bytes before offset, offset before answer, finish exactly once.

One verb per file. It knows no HTTP, no SQL and no file system; it speaks to the doors in `tusd_py.abc`.
"""
