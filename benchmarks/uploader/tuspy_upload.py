"""Upload one file with tuspy, in chunks of a bounded size: `tuspy_upload.py FILE URL`."""

import sys

from tusclient.client import TusClient  # type: ignore[import-untyped,unused-ignore]

CHUNK = 64 * 2**20
"""By default tuspy reads the whole file into memory."""

uploader = TusClient(sys.argv[2]).uploader(sys.argv[1], chunk_size=CHUNK)
uploader.upload()
print(uploader.url)
