"""Upload a file and wait for what the server makes of it: `python client.py FILE [URL]`."""

from __future__ import annotations

import json
import mimetypes
import sys
import time

import requests
from tusclient.client import TusClient

ENDS = ("completed", "cancelled", "discarded")


def main(file: str, url: str = "http://127.0.0.1:8080/files/") -> None:
    """Print the results as JSON."""
    metadata = {"filename": file, "filetype": mimetypes.guess_type(file)[0] or "application/octet-stream"}
    uploader = TusClient(url).uploader(file, metadata=metadata, retries=10, retry_delay=1)
    uploader.upload()
    # The answer to the last PATCH has the link too; HEAD is for those who have lost it, and for tus clients without
    # a look at answers.
    head = requests.head(uploader.url, headers={"Tus-Resumable": "1.0.0"}, timeout=10)
    while True:
        document = requests.get(head.links["describedby"]["url"], timeout=10).json()
        if all(job["state"] in ENDS for job in document["jobs"]):
            break
        time.sleep(0.2)
    print(json.dumps({job["name"]: job.get("result", job["state"]) for job in document["jobs"]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
