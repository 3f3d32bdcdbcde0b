"""Examples 01, 02, 05 and 06: started by the commands of their READMEs, used by a real client."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import aiohttp

from tests.examples.place import EXAMPLES, Place, commands, path_of
from tests.interop import packages
from tests.support.client import CT, Client

Session = aiohttp.ClientSession


def at(lines: list[str], url: str) -> list[str]:
    """Return commands of a README, but for a server that has another port."""
    return [line.replace("http://127.0.0.1:8080", url) for line in lines]


async def test_minimal_server(place: Place, session: Session) -> None:
    """The command takes its settings from the file, the port from the environment, and lists what it took."""
    async with place.serving("01-minimal-server") as server:
        code, said = await place.run(*at(commands("01-minimal-server", 1), server.url))
        assert code == 0, said
        url = said.strip()
        assert url.startswith(f"{server.url}/uploads/")
        original = (place.root / "big.iso").read_bytes()
        assert (await Client(session, url).get(url)).body == original
        too_large = await Client(session, f"{server.url}/uploads/").post({"Upload-Length": str(2**30 + 1)})
        assert too_large.status == 413
        code, listed = await place.run("cd examples/01-minimal-server", "tusd-py uploads ls")
        assert code == 0, listed
        assert url.rpartition("/")[2] in listed


async def test_restart(place: Place, session: Session) -> None:
    """An upload goes on after the server was stopped and started again, as the README says."""
    data = os.urandom(100_000)
    async with place.serving("01-minimal-server") as server:
        client = Client(session, f"{server.url}/uploads/")
        url = await client.create(len(data))
        assert (await client.patch(url, 0, data[:40_000])).status == 204
    async with place.serving("01-minimal-server") as server:
        client = Client(session, f"{server.url}/uploads/")
        url = client.base + url.rpartition("/")[2]
        assert await client.offset(url) == 40_000
        assert (await client.patch(url, 40_000, data[40_000:])).status == 204
        assert (await client.get(url)).body == data


async def test_embed(place: Place) -> None:
    """The application answers what it did before, and takes uploads."""
    async with place.serving("02-embed") as server:
        greet, upload = at(commands("02-embed", 1), server.url)
        code, said = await place.run(greet.replace("curl", "curl -s"))
        assert (code, said) == (0, "hello\n")
        code, said = await place.run(upload)
        assert code == 0, said
        stored = path_of(place.examples / "02-embed" / "data", said.strip())
        assert stored.read_bytes() == (place.root / "big.iso").read_bytes()


async def test_several_mounts(place: Place, session: Session) -> None:
    """Each mount has its own limits; two share what they know, the third shares nothing."""
    (place.root / "big.iso").rename(place.root / "film.mp4")
    async with place.serving("05-several-mounts") as server:
        to_videos, to_photos = at(commands("05-several-mounts", 1), server.url)
        code, said = await place.run(to_videos)
        assert code == 0, said
        url = said.strip()
        assert url.startswith(f"{server.url}/videos/")
        code, said = await place.run(to_photos)
        assert code != 0
        assert "413" in said
        client = Client(session, f"{server.url}/photos/")
        assert (await client.get(url)).status == 405
        assert (await client.head(url.replace("/videos/", "/photos/"))).status == 200
        assert (await client.head(url.replace("/videos/", "/backups/"))).status == 404
        backup = await place.upload("film.mp4", f"{server.url}/backups/")
        data = place.examples / "05-several-mounts" / "data"
        assert path_of(data / "media", url).exists()
        assert path_of(data / "backups", backup).exists()


async def test_uppy_page(place: Place, session: Session) -> None:
    """The page, its module and its style sheet come from the origin that takes the uploads."""
    enter, install, start = commands("06-uppy-page", 0)
    assert install.startswith("npm ci ")
    folder, dist = "06-uppy-page", Path("node_modules", "uppy", "dist")
    shutil.copytree(packages.installed(EXAMPLES / folder, "uppy") / dist, place.examples / folder / dist)
    async with place.running([enter, start], PORT="0") as server:
        await server.announced()
        client = Client(session, f"{server.url}/files/")
        page = await client.get(f"{server.url}/")
        assert page.headers["Content-Type"].startswith("text/html")
        links = re.findall(r'"(/uppy/[^"]+)"', page.body.decode())
        types = {link: (await client.get(server.url + link)).headers["Content-Type"] for link in links}
        assert set(types) == {"/uppy/uppy.min.css", "/uppy/uppy.min.mjs"}
        assert types["/uppy/uppy.min.css"].startswith("text/css")
        # Browsers run no module of another type.
        assert types["/uppy/uppy.min.mjs"].partition(";")[0] in ("text/javascript", "application/javascript")
        module = (await client.get(f"{server.url}/uppy/uppy.min.mjs")).body.decode()
        exported = re.findall(r"export ?\{(.*?)\}", module, re.DOTALL)
        assert all(re.search(rf"\b{name}\b", exported[-1]) for name in ("Dashboard", "Tus", "Uppy"))
        # What a page of this origin sends.
        post = {"Upload-Length": "5", "Origin": server.url, "Sec-Fetch-Site": "same-origin", **CT}
        answer = await client.post(post, b"hello")
        assert answer.status == 201
        assert (await client.get(answer.headers["Location"])).body == b"hello"
        url = await place.upload("big.iso", f"{server.url}/files/")
        assert (await client.get(url)).body == (place.root / "big.iso").read_bytes()


async def test_uppy_page_without_uppy(place: Place) -> None:
    """Who forgot `npm ci` is told so in one line."""
    code, said = await place.run("cd examples/06-uppy-page", "python app.py", PORT="0")
    assert code == 1
    assert said == "Uppy is not here yet: run npm ci in this folder first\n"
