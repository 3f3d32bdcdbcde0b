"""Tests of the room without I/O: tables per module, and a fuzzer over all of it."""
