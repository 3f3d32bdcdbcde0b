"""A conformance suite for any tus 1.0.0 server, by its URL: `python -m conformance http://127.0.0.1:8080/files/`.

It needs Python, pytest and nothing else, and knows no server. One file per section of the protocol; every check says
which sentence of which section it is about, and how binding that sentence is. README.md has the rest.
"""
