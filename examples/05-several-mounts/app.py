"""Several places for uploads in one application, with limits of their own."""

from __future__ import annotations

import os

from aiohttp import web

import tusd_py

app = web.Application()

# Two mounts, one service: one directory, one database, one on_finish for both.
media = tusd_py.setup(app, "/photos", data_dir="data/media", max_size="2MB")
tusd_py.setup(app, "/videos", tus=media, max_size="10GiB", disable_download=True)

# A service of its own: nothing of it is shared.
tusd_py.setup(app, "/backups", data_dir="data/backups", durability="finish", expire_after="30d")

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
