"""The wire languages, without I/O: bytes of a request in, intents out; outcomes in, replies out.

What belongs here is decided by headers, records and a given time alone. No socket, no file, no clock, no logger.
"""
