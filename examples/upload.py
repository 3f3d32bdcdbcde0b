"""Upload one file with tuspy and print its URL: `python examples/upload.py FILE [URL] [--header 'NAME: VALUE']`."""

from __future__ import annotations

import argparse
from pathlib import Path

from tusclient.client import TusClient


def main() -> None:
    """Upload in chunks; after a broken connection, ask how far the upload is and go on there."""
    parser = argparse.ArgumentParser(description="Upload one file with tuspy.")
    parser.add_argument("file", type=Path)
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8080/files/")
    parser.add_argument("--header", action="append", default=[], help="sent with every request, such as 'Cookie: a=b'")
    options = parser.parse_args()
    headers = dict(header.split(": ", 1) for header in options.header)
    uploader = TusClient(options.url, headers=headers).uploader(
        str(options.file),
        chunk_size=4 * 1024 * 1024,
        metadata={"filename": options.file.name},
        retries=10,
        retry_delay=1,
    )
    uploader.upload()
    print(uploader.url)


if __name__ == "__main__":
    main()
